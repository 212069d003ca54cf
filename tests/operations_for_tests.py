"""Operations without FUSE: a kernel that calls the handlers, over a store in memory.

Law: nothing here mounts. ``pyfuse3.readdir_reply`` is the one call back into pyfuse3, and it is replaced by a page
that takes so many entries and then says that it is full, as the kernel's buffer does.
"""

import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, cast

import pyfuse3
import pytest
import trio
from pyfuse3 import FileHandleT, FileNameT, FlagT, InodeT, RequestContext
from stores.memory_store import MemoryStore

from modelfs.blocks import ObjectInfo
from modelfs.cache import BlockCache, Fetch
from modelfs.connections import Connections, Ticket
from modelfs.foresight import Foresight
from modelfs.journal import Journal
from modelfs.listings import Listings
from modelfs.looks import Looks
from modelfs.operations import Operations, Ownership
from modelfs.remembered import Memory
from modelfs.store import RetryPolicy
from modelfs.streamer import Streamer
from modelfs.view import View
from modelfs.xattrs import Xattrs

NO_CONTEXT = cast("RequestContext", None)
"""No handler of ours looks at who asks."""


class Listed(NamedTuple):
    """An entry of a readdir, as the kernel is given it."""

    name: str
    attributes: pyfuse3.EntryAttributes
    next_id: int


class DirectoryPage:
    """Stands for the kernel's buffer of one readdir: takes ``room`` entries."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.entries: list[Listed] = []


def reply_to_page(page: DirectoryPage, name: bytes, attributes: pyfuse3.EntryAttributes, next_id: int) -> bool:
    """Stand for ``pyfuse3.readdir_reply``: False when the entry does not fit and was not taken."""
    assert 0 < next_id < 2**63
    if len(page.entries) == page.room:
        return False
    page.entries.append(Listed(name.decode(), attributes, next_id))
    return True


class Kernel:
    """Calls the handlers of ``operations`` as pyfuse3 does."""

    def __init__(self, operations: Operations) -> None:
        self.operations = operations

    async def lookup(self, path: str) -> pyfuse3.EntryAttributes:
        """Look every name of ``path`` up, and return the attributes of the last."""
        number = InodeT(pyfuse3.ROOT_INODE)
        for name in path.split("/"):
            attributes = await self.operations.lookup(number, FileNameT(name.encode()), NO_CONTEXT)
            number = attributes.st_ino
        return attributes

    async def readdir_page(self, number: int, start: int, room: int) -> list[Listed]:
        """Return the entries of one page."""
        page = DirectoryPage(room)
        await self.operations.readdir(FileHandleT(number), start, cast("Any", page))
        return page.entries

    async def readdir(self, number: int, room: int = 7) -> list[Listed]:
        """Return all the entries of a folder, ``room`` of them a page."""
        handle = await self.operations.opendir(InodeT(number), NO_CONTEXT)
        found: list[Listed] = []
        while page := await self.readdir_page(handle, found[-1].next_id if found else 0, room):
            found += page
        await self.operations.releasedir(handle)
        return found

    async def open(self, number: int, flags: int = os.O_RDONLY) -> FileHandleT:
        """Open an inode and return the handle."""
        info = await self.operations.open(InodeT(number), FlagT(flags), NO_CONTEXT)
        return FileHandleT(info.fh)

    async def read_whole(self, path: str, step: int = 100_000) -> bytes:
        """Look a path up, open it, read it to its end, release it."""
        attributes = await self.lookup(path)
        handle = await self.open(attributes.st_ino)
        data = b""
        while piece := bytes(await self.operations.read(handle, len(data), step)):
            data += piece
        await self.operations.release(handle)
        return data


class Mounted(NamedTuple):
    """A file system without a mount."""

    store: MemoryStore
    view: View
    cache: BlockCache
    operations: Operations
    kernel: Kernel


def fetching_from(store: MemoryStore) -> Fetch:
    """Return a fetch that asks ``store`` once, without a thread."""

    async def fetch(info: ObjectInfo, offset: int, length: int, ticket: Ticket) -> memoryview:
        async with ticket:
            await trio.lowlevel.checkpoint()
        return store.read(info, offset, length)

    return fetch


def counting(cache: BlockCache) -> Callable[[Iterable[ObjectInfo]], Awaitable[int]]:
    """Return what counts the bytes of files that ``cache`` holds."""

    async def count(files: Iterable[ObjectInfo]) -> int:
        held = cache.held_bytes()
        await trio.lowlevel.checkpoint()
        return sum(held.get((info.key, info.version), 0) for info in files)

    return count


def assemble(
    store: MemoryStore,
    nursery: trio.Nursery,
    *,
    fetch: Fetch | None = None,
    budget_bytes: int = 2**26,
    window_bytes: int = 2**22,
    foreseen_bytes: int | None = None,
    settle_s: float = 0.0,
    look_s: float | None = None,
    url: str | None = None,
    memory: Memory | None = None,
    is_on_open: bool = False,
    most_objects: int | None = None,
    journal: Journal | None = None,
    takes_over: bool = False,
) -> Mounted:
    """Put the parts together as the worker does.

    ``foreseen_bytes`` and ``look_s`` None do without those parts; ``url`` None tells no extended attributes.
    ``is_on_open`` and ``most_objects`` are those of ``Listings``. ``takes_over``: as a worker does that goes on from
    what ``journal`` holds.
    """
    policy = RetryPolicy(deadline_s=30, first_pause_s=0.001, longest_pause_s=0.002)
    limiter = trio.CapacityLimiter(2)
    view = View(
        store,
        policy=policy,
        limiter=limiter,
        show_hidden=False,
        settle_s=settle_s,
        memory=memory,
        listings=Listings(store, policy=policy, limiter=limiter, is_on_open=is_on_open, most_objects=most_objects),
        journal=journal,
    )
    if takes_over and journal is not None and (shown := journal.recall()) is not None:
        view.take_over(shown)
    cache = BlockCache(
        budget_bytes=budget_bytes,
        fetch=fetch or fetching_from(store),
        connections=Connections(most=32),
        nursery=nursery,
    )
    operations = Operations(
        view,
        ownership=Ownership(uid=1001, gid=1002),
        open_streamer=lambda info, _inode: Streamer(info, cache, window_bytes=window_bytes),
        foresight=None
        if foreseen_bytes is None
        else Foresight(view, cache, nursery=nursery, budget_bytes=foreseen_bytes),
        xattrs=None if url is None else Xattrs(view, url=url, count_cached=counting(cache)),
        takes_over=journal if takes_over else None,
    )
    if look_s is not None:
        operations.looks = Looks(view, wait_s=look_s, nursery=nursery, tell=operations.invalidate)
    return Mounted(store, view, cache, operations, Kernel(operations))


@asynccontextmanager
async def mounted(store: MemoryStore, **options: Any) -> AsyncIterator[Mounted]:
    """Yield the file system of ``store``, listed once, or taken over."""
    with pytest.MonkeyPatch.context() as patch, trio.fail_after(60):
        patch.setattr("modelfs.operations.pyfuse3.readdir_reply", reply_to_page)
        async with trio.open_nursery() as nursery:
            parts = assemble(store, nursery, **options)
            if not options.get("takes_over"):
                await parts.view.refresh()
            yield parts
            nursery.cancel_scope.cancel()


def is_folder(attributes: pyfuse3.EntryAttributes) -> bool:
    """Tell whether attributes are those of a folder."""
    return stat.S_ISDIR(attributes.st_mode)
