"""Pusher: hands blocks to the kernel's page cache, from threads of its own.

Law: a push may wait for as long as the kernel keeps one of its pages locked, which is until the READ of that page is
answered. So pushes have threads of their own, hold at most a quarter of the budget, are awaited by nobody, and are left
behind at the end. Where the kernel refuses one, pushing ends for good, with one line in the log; reads go on without.

Pushed pages are charged to this process's control group, and those that answer a READ to the reader's. So only a file
that fits into half of what we may use is pushed: more could not stay.
"""

import errno
import logging
from collections.abc import Callable
from typing import NamedTuple

import trio

from modelfs.extents import Extent

log = logging.getLogger(__name__)

Parts = list[tuple[int, int]]

THREADS = 2
"""One keeps up with 2.8 GB/s and two with 5.3 (measured): the second is for one that waits for a page."""


class Statistics(NamedTuple):
    """What was pushed so far, and whether pushing goes on."""

    pushed_bytes: int
    is_on: bool


class Pusher:
    """Pushes with ``notify(inode, offset, data)``, which blocks, in tasks of ``nursery``."""

    def __init__(
        self,
        notify: Callable[[int, int, memoryview], None],
        *,
        nursery: trio.Nursery,
        most_held_bytes: int,
        memory_limit_bytes: int | None,
    ) -> None:
        """``memory_limit_bytes`` is that of the control group, None without one."""
        self._notify = notify
        self._nursery = nursery
        self._most_held_bytes = most_held_bytes
        self._most_file_bytes = None if memory_limit_bytes is None else memory_limit_bytes // 2
        self._limiter = trio.CapacityLimiter(THREADS)
        self._held_bytes = self._pushed_bytes = 0
        self._is_on = True

    def statistics(self) -> Statistics:
        """Return the figures of this moment."""
        return Statistics(self._pushed_bytes, self._is_on)

    def may_hold(self, size: int) -> bool:
        """Tell whether a file of ``size`` bytes should be pushed at all."""
        return self._is_on and (self._most_file_bytes is None or size <= self._most_file_bytes)

    def has_room(self, length: int) -> bool:
        """Tell whether one more extent may be pushed now."""
        return self._is_on and self._held_bytes + length <= self._most_held_bytes

    def push(self, inode: int, extent: Extent, parts: Parts, done: Callable[[Extent, Parts], None]) -> None:
        """Begin to push ``parts`` of a held extent, (start, stop) in the file; ``done`` is told which were taken."""
        self._held_bytes += extent.length
        self._nursery.start_soon(self._push, inode, extent, parts, done)

    async def _push(self, inode: int, extent: Extent, parts: Parts, done: Callable[[Extent, Parts], None]) -> None:
        taken: Parts = []
        try:
            async with self._limiter:
                for start, stop in parts:
                    assert extent.data is not None  # noqa: S101  it is held
                    data = extent.data[start - extent.offset : stop - extent.offset]
                    await trio.to_thread.run_sync(
                        self._notify, inode, start, data, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1)
                    )
                    taken.append((start, stop))
                    self._pushed_bytes += stop - start
        except OSError as error:
            if error.errno != errno.ENOENT:  # the kernel has just forgotten the inode
                self._end(error)
        except Exception:  # the root of a task: a bug in a push must not end the mount
            log.exception("unexpected error in a push key=%r", extent.info.key)
        finally:
            self._held_bytes -= extent.length
            self._tell(done, extent, taken)

    @staticmethod
    def _tell(done: Callable[[Extent, Parts], None], extent: Extent, taken: Parts) -> None:
        try:
            done(extent, taken)
        except Exception:  # the root of a task, as above
            log.exception("unexpected error behind a push key=%r", extent.info.key)

    def _end(self, error: OSError) -> None:
        if self._is_on:
            self._is_on = False
            log.warning("the kernel takes no pushes, so cold reads are slower error=%s", error.strerror)
