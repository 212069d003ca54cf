"""The read path of one mount, put together: budget, cache, connections, pushes, foresight.

Law: plain values in, parts out; what each part does is its own module's. Everything that a read needs is made here and
nowhere else, so that a test or a benchmark has the same parts as a mount.
"""

import logging
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict
from functools import partial
from typing import Any

import trio

from modelfs.blocks import ObjectInfo
from modelfs.buffers import Buffers
from modelfs.cache import BlockCache, Fetch
from modelfs.connections import Connections
from modelfs.disk import DiskTier
from modelfs.disk_reading import DiskReading
from modelfs.errors import PASSING
from modelfs.failing import FailingReads
from modelfs.foresight import Foresight
from modelfs.priority import Priority
from modelfs.push import Pusher
from modelfs.store import RetryPolicy, Store, in_thread_with_retries
from modelfs.streamer import Streamer
from modelfs.view import View

log = logging.getLogger(__name__)

WINDOW_BYTES_MAX = 512 * 1024 * 1024
"""How far one stream looks ahead at most, on a link that is worth it: what is pushed needs no budget."""

LEAST_BUDGET_BYTES = 16 * 1024 * 1024

IDLE_LOOK_S = 5.0
"""Memory is given back after 5 to 10 s without a read: what was fetched early for a reader that thinks must live on."""

SLOWEST_BYTES_PER_S = 8 * 1024
"""A GET below this is given up and made anew. Answers that drip, a byte in every stall time-out, would else hold every
connection for hours (seen); 32 GETs that share a line of 2 Mbit/s still get through."""


class Reading:
    """The parts that read for one mount of ``store``, whose tree is ``view``.

    ``notify(inode, offset, data)`` hands data to the kernel's page cache, and blocks. ``memory_limit_bytes`` is that of
    the control group, None without one. ``fastest_answer_s`` is what the store took at least for a page of a listing.
    """

    def __init__(
        self,
        store: Store,
        view: View,
        *,
        buffers: Buffers,
        nursery: trio.Nursery,
        notify: Callable[[int, int, memoryview], None],
        priority: Priority,
        memory_bytes: int,
        memory_limit_bytes: int | None,
        max_connections: int,
        max_bytes_per_s: float | None,
        fastest_answer_s: float,
        deadline_s: float,
        stall_timeout_s: float,
        disk: DiskTier | None = None,
    ) -> None:
        self._buffers = buffers
        self._disk: DiskTier | None = None
        self.failing = FailingReads()
        budget_bytes = _budget(memory_bytes, memory_limit_bytes)
        buffers.most_bytes = budget_bytes
        self._connections = Connections(
            most=max_connections, max_bytes_per_s=max_bytes_per_s, fastest_answer_s=fastest_answer_s
        )
        self._fetching = partial(
            fetching,
            store,
            deadline_s=deadline_s,
            stall_timeout_s=stall_timeout_s,
            failing=self.failing,
            before=priority.work,
        )
        self._cache = BlockCache(
            budget_bytes=budget_bytes,
            fetch=self._fetching(),
            connections=self._connections,
            nursery=nursery,
            deadline_s=deadline_s,
        )

        def notify_behind(inode: int, offset: int, data: memoryview) -> None:
            priority.work()
            notify(inode, offset, data)

        self._pusher = Pusher(
            notify_behind, nursery=nursery, most_held_bytes=budget_bytes // 4, memory_limit_bytes=memory_limit_bytes
        )
        self._window_bytes = min(WINDOW_BYTES_MAX, budget_bytes)
        if disk is not None:
            self.use_disk(disk)
        self.foresight = Foresight(view, self._cache, nursery=nursery, budget_bytes=budget_bytes // 4)

    def use_disk(self, tier: DiskTier) -> None:
        """Read through ``tier`` from now on."""
        self._disk = tier
        self._cache.fetch = self._fetching(disk=tier)

    def open_streamer(self, info: ObjectInfo, inode: int) -> Streamer:
        """Return the Streamer of a file that is opened."""
        return Streamer(info, self._cache, window_bytes=self._window_bytes, inode=inode, pusher=self._pusher)

    async def count_cached(self, files: Iterable[ObjectInfo]) -> int:
        """Return how many bytes of ``files`` need not be fetched: those on the disk, or else in our memory.

        The page cache tells nobody. In a thread, since a folder may have a million files.
        """
        in_memory = self._cache.held_bytes()
        disk = self._disk

        def count() -> int:
            if disk is None:
                return sum(in_memory.get((info.key, info.version), 0) for info in files) if in_memory else 0
            kept = disk.kept_bytes(files)
            return sum(max(on_disk, in_memory.get((info.key, info.version), 0)) for info, on_disk in kept)

        return await trio.to_thread.run_sync(count)

    def statistics(self) -> dict[str, Any]:
        """Return the figures of this moment, for ``modelfs status``."""
        return {
            "pushed_bytes": self._pusher.statistics().pushed_bytes,
            "connections": self._connections.pace.limit,
            "cache": asdict(self._cache.statistics()),
            "disk": self._disk.statistics() if self._disk is not None else None,
        }

    async def keep_lean(self, count_reads: Callable[[], int]) -> None:
        """Hold nothing while nobody reads, for ever."""
        seen = -1
        while True:
            await trio.sleep(IDLE_LOOK_S)
            reads = count_reads()
            if reads == seen:
                self._cache.drop_idle()
                self._buffers.trim()
            seen = reads


def _budget(memory_bytes: int, memory_limit_bytes: int | None) -> int:
    if memory_limit_bytes is None or memory_limit_bytes // 4 >= memory_bytes:
        return memory_bytes
    budget_bytes = max(LEAST_BUDGET_BYTES, memory_limit_bytes // 4)
    log.info("less memory than --memory budget_bytes=%d group_limit_bytes=%d", budget_bytes, memory_limit_bytes)
    return budget_bytes


def fetching(
    store: Store,
    *,
    deadline_s: float,
    stall_timeout_s: float,
    failing: FailingReads | None = None,
    before: Callable[[], None] = lambda: None,
    disk: DiskTier | None = None,
) -> Fetch:
    """Return the cache's way to the store, through ``disk``; ``before`` is called in the thread of each request.

    All but a version that is gone and an archived object is tried again: Triton takes an error for the end of the file.
    """
    failures = failing or FailingReads()

    def read(info: ObjectInfo, offset: int, length: int) -> memoryview:
        before()
        if disk is not None:
            return disk.read_through(info, offset, length, partial(store.read, info))
        return store.read(info, offset, length)

    async def fetch(
        info: ObjectInfo, offset: int, length: int, ticket: AbstractAsyncContextManager[object]
    ) -> memoryview:
        with failures.watch() as note:
            return await in_thread_with_retries(
                partial(read, info, offset, length),
                what=f"read {info.key}",
                policy=RetryPolicy(deadline_s, attempt_s=stall_timeout_s + length / SLOWEST_BYTES_PER_S),
                limiter=ticket,
                retry_on=PASSING,
                on_failure=note,
            )

    return fetch if disk is None else DiskReading(disk, fetch).fetch
