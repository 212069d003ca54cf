"""Files that will be opened soon, brought into the kernel's page cache before that.

Law: one file at a time, in the order in which they were announced, and never more than ``most_bytes`` that nobody has
opened yet. So a model that is loaded finds its weights there, and the link is busy while Triton starts, makes instances
or copies to a GPU; and a wrong guess costs a bounded number of bytes. What nobody opens in time is forgotten.

A file that was brought or opened once is not brought again: what the page cache still has of it would be fetched anew,
each time that its model is loaded.

Only a file that the kernel knows can be brought. Triton looks at all files of a model before it opens the config (for
their times); who just reads configs does not, and starts nothing.
"""

import logging
import math
from collections import OrderedDict
from collections.abc import Callable

import trio
from cachetools import LRUCache

from modelfs.inodes import Inode, Inodes
from modelfs.open_files import OpenFiles
from modelfs.tree import File

log = logging.getLogger(__name__)

PATIENCE_S = 300.0
"""When nobody has opened any of the announced files for so long, none is expected any more."""

_MET_MOST = 20_000


class Announced:
    """The files that are to come. ``most_bytes()`` is asked when there is something to bring."""

    def __init__(
        self, inodes: Inodes, files: OpenFiles, *, nursery: trio.Nursery, most_bytes: Callable[[], int]
    ) -> None:
        self._inodes = inodes
        self._files = files
        self._nursery = nursery
        self._most_bytes = most_bytes
        self._waiting: OrderedDict[int, Inode] = OrderedDict()
        self._ahead: dict[int, int] = {}  # brought or being brought, and not opened yet: bytes
        self._met: LRUCache[int, None] = LRUCache(_MET_MOST)  # brought or opened
        self._is_running = False
        self._opened_s = -math.inf  # of trio's clock
        self._fewer = trio.Event()  # that are ahead

    def announce(self, path: str, file: File) -> None:
        """Expect that the file at ``path`` will be opened."""
        inode = self._inodes.known(path, file)
        if inode is None or inode.number in self._met:
            return
        self._waiting[inode.number] = inode
        if not self._is_running:
            self._is_running = True
            self._nursery.start_soon(self._run)

    def opened(self, number: int) -> None:
        """Take note that a file is opened: its reader sees to it from now on."""
        self._waiting.pop(number, None)
        self._met[number] = None
        if number in self._ahead:
            self._opened_s = trio.current_time()
            self._is_no_longer_ahead(number)

    def _is_no_longer_ahead(self, number: int) -> None:
        del self._ahead[number]
        self._fewer.set()
        self._fewer = trio.Event()

    async def _run(self) -> None:
        try:
            while self._waiting:
                if (room := self._most_bytes() - sum(self._ahead.values())) <= 0:
                    await self._fewer.wait()
                    continue
                number, inode = self._waiting.popitem(last=False)
                assert inode.file is not None  # noqa: S101  only files are announced
                if self._inodes.get(number) is inode:
                    await self._bring(number, inode.file, room)
        finally:
            self._is_running = False

    async def _bring(self, number: int, file: File, room: int) -> None:
        streamer = self._files.announce(number, file.info)
        if not streamer.is_pushing:
            self._files.give_up(number)
            return
        self._met[number] = None
        self._ahead[number] = min(file.info.size, room)
        self._nursery.start_soon(self._forget_later, number)
        try:
            await streamer.bring(room)
        except Exception:  # the root of a guess: a bug in it must not end the mount
            log.exception("unexpected error in bringing a file key=%r", file.info.key)

    async def _forget_later(self, number: int) -> None:
        while True:
            await trio.sleep(PATIENCE_S)
            if number not in self._ahead:
                break
            if trio.current_time() - self._opened_s >= PATIENCE_S:
                self._waiting.clear()  # the guess was wrong
                self._is_no_longer_ahead(number)
                break
        self._files.give_up(number)
