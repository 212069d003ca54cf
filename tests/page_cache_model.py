"""A model of the kernel's page cache over a Streamer, so dumb that it is obviously right.

Law: it asks what the kernel asks. A READ goes out only for pages that are absent, of at most 1 MiB, and read-ahead
sends two at a time, in any order; pages are locked while a READ for them is on its way, and a push waits for them. It
checks each byte that it is given, by an answer or by a push, and that no push reaches the last part page of the file or
goes behind it. Pages may be evicted at any time, but for those that are locked.

A push blocks its thread in the kernel; here it waits in virtual time, so the one call that makes a thread for it is
replaced.
"""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, cast

import pytest
import trio
import trio.testing
from cache_invariants import check_cache, check_cache_at_rest

from modelfs.blocks import ObjectInfo
from modelfs.cache import BlockCache
from modelfs.connections import Connections, Ticket
from modelfs.push import Pusher
from modelfs.pushing import PAGE_BYTES
from modelfs.streamer import Streamer

KIB, MIB = 2**10, 2**20
READ_PAGES = MIB // PAGE_BYTES
PATIENCE_S = 100_000  # of virtual time
INODE = 4711


@lru_cache(maxsize=1)
def noise() -> bytes:
    return random.Random(0).randbytes(160 * MIB)


@dataclass
class Reader:
    """What the kernel remembers of one open file (struct file_ra_state)."""

    expects_page: int = 0
    window_pages: int = 4


@dataclass
class PageCache:
    """The pages of one file. ``answered`` and ``pushed`` count bytes, ``charged`` tells who brought each page."""

    size: int
    nursery: trio.Nursery
    chance: random.Random
    answered: int = 0
    reads: int = 0
    pushed: int = 0
    pushed_again: int = 0
    charged: dict[int, str] = field(default_factory=dict, repr=False)
    locked: dict[int, trio.Event] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.streamer: Streamer
        self.pages = -(-self.size // PAGE_BYTES)
        self.data = bytearray(self.pages * PAGE_BYTES)
        self.present = bytearray(self.pages)

    # what the application does

    async def read(self, reader: Reader, offset: int, length: int) -> None:
        """Read as pread does, and check every byte."""
        stop = min(offset + length, self.size)
        page = offset // PAGE_BYTES
        last = -(-stop // PAGE_BYTES)
        while page < last:
            page = await self._present_from(reader, page, last)
            upto = self.present.find(0, page, last)
            upto = last if upto < 0 else upto
            begin, end = max(offset, page * PAGE_BYTES), min(stop, upto * PAGE_BYTES)
            assert self.data[begin:end] == noise()[begin:end], f"wrong bytes in {begin}..{end}"
            page = upto

    async def fault(self, reader: Reader, offset: int) -> None:
        """Touch a page of a mapping: what lies behind the end of the file reads as zeros."""
        page = offset // PAGE_BYTES
        await self._present_from(reader, page, page + 1)
        begin = page * PAGE_BYTES
        there = noise()[begin : min(begin + PAGE_BYTES, self.size)]
        assert self.data[begin : begin + PAGE_BYTES] == there.ljust(PAGE_BYTES, b"\0")

    def evict(self, share: float) -> None:
        """Drop some pages, as under pressure: whole runs of them."""
        if share >= 1:
            doomed = range(self.pages)
        else:
            first = self.chance.randrange(self.pages) if self.pages else 0
            doomed = range(first, min(self.pages, first + int(self.pages * share) + 1))
        for page in doomed:
            if page not in self.locked:
                self.present[page] = 0
                self.charged.pop(page, None)

    async def _present_from(self, reader: Reader, page: int, stop: int) -> int:
        """Wait until ``page`` is present, and return it."""
        while not self.present[page]:
            if (event := self.locked.get(page)) is None:
                self._read_ahead(reader, page, stop)
                event = self.locked[page]
            await event.wait()
        reader.expects_page = max(reader.expects_page, page + 1) if page + 1 >= reader.expects_page else page + 1
        return page

    def _read_ahead(self, reader: Reader, page: int, stop: int) -> None:
        """Ask for the absent pages from ``page`` on: what is wanted, and more of it the longer it goes on in order."""
        goes_on = page == 0 or 0 <= page - reader.expects_page <= READ_PAGES
        reader.window_pages = min(READ_PAGES, reader.window_pages * 2) if goes_on else 1
        wanted = max(stop - page, reader.window_pages)
        parts = [self._absent(page, wanted)]
        if goes_on and reader.window_pages == READ_PAGES:
            parts.append(self._absent(parts[0].stop, READ_PAGES))
        requests = [
            range(first, min(first + READ_PAGES, part.stop))
            for part in parts
            for first in range(part.start, part.stop, READ_PAGES)
        ]
        for request in requests:
            unlocked = trio.Event()
            self.locked |= dict.fromkeys(request, unlocked)
        self.chance.shuffle(requests)
        for request in requests:
            self.nursery.start_soon(self._request, request)

    def _absent(self, page: int, most: int) -> range:
        stop = page
        while stop < min(self.pages, page + most) and not self.present[stop] and stop not in self.locked:
            stop += 1
        return range(page, stop)

    async def _request(self, request: range) -> None:
        """Send a READ and take its answer."""
        offset = request.start * PAGE_BYTES
        answer = await self.streamer.read(offset, len(request) * PAGE_BYTES)
        expected = noise()[offset : min(request.stop * PAGE_BYTES, self.size)]
        assert bytes(answer) == expected, f"wrong answer for {offset}"
        self.reads += 1
        self.answered += len(expected)
        self._fill(offset, expected, by="reader")
        for page in request:
            self.locked.pop(page).set()

    def _fill(self, offset: int, data: bytes, *, by: str) -> None:
        pages = -(-len(data) // PAGE_BYTES)
        first = offset // PAGE_BYTES
        self.data[offset : offset + len(data)] = data
        self.present[first : first + pages] = b"\1" * pages
        for page in range(first, first + pages):
            self.charged.setdefault(page, by)

    # what the daemon does

    async def notify(self, inode: int, offset: int, data: memoryview) -> None:
        """Take a push, as ``notify_store`` does: waiting for the lock of each page."""
        assert inode == INODE
        assert offset % PAGE_BYTES == 0
        assert len(data) > 0
        assert len(data) % PAGE_BYTES == 0
        assert offset + len(data) <= self.size - self.size % PAGE_BYTES, "a push reaches the last part page"
        assert bytes(data) == noise()[offset : offset + len(data)], f"wrong bytes are pushed to {offset}"
        first = offset // PAGE_BYTES
        for page in range(first, first + len(data) // PAGE_BYTES):
            while (event := self.locked.get(page)) is not None:
                await event.wait()
            self.pushed_again += self.present[page]
            begin = page * PAGE_BYTES
            self._fill(begin, bytes(data[begin - offset : begin - offset + PAGE_BYTES]), by="daemon")
        self.pushed += len(data)


class Source:
    """A store with a delay, which counts what it is asked for."""

    def __init__(self, seed: int, *, latency_s: float = 0.03, connection_bytes_per_s: float = 90e6) -> None:
        self.fetched = 0
        self.requests = 0
        self._latency_s = latency_s
        self._bytes_per_s = connection_bytes_per_s
        self._chance = random.Random(seed)

    async def fetch(self, info: ObjectInfo, offset: int, length: int, ticket: Ticket) -> memoryview:
        async with ticket:
            self.requests += 1
            self.fetched += length
            await trio.sleep(self._latency_s * (0.5 + self._chance.random()) + length / self._bytes_per_s)
        assert offset + length <= info.size
        return memoryview(noise())[offset : offset + length]


@dataclass
class Machine:
    """A file that is open, its page cache and all behind it."""

    pages: PageCache
    source: Source
    cache: BlockCache
    streamer: Streamer
    pusher: Pusher


def run(
    body: Callable[[Machine], Awaitable[None]],
    *,
    size: int,
    window_bytes: int = 32 * MIB,
    budget_bytes: int = 64 * MIB,
    seed: int = 0,
    connections: int = 32,
    memory_limit_bytes: int | None = None,
    checks_rest: bool = True,
) -> Machine:
    """Run ``body`` in virtual time, check what it leaves behind, and return the machine for a look at its figures."""
    made: list[Machine] = []

    async def main() -> None:
        with trio.fail_after(PATIENCE_S):
            async with trio.open_nursery() as loads:
                machine = assemble(
                    loads,
                    size=size,
                    window_bytes=window_bytes,
                    budget_bytes=budget_bytes,
                    seed=seed,
                    connections=connections,
                    memory_limit_bytes=memory_limit_bytes,
                )
                made.append(machine)
                await body(machine)
                check_cache(machine.cache)
            machine.streamer.close()
            if not checks_rest:
                return
            check_cache_at_rest(machine.cache)
            assert not machine.pages.locked

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("modelfs.push.trio.to_thread.run_sync", _without_a_thread)
        # the order of tasks is trio's own chance, which repeats like this (pytest-trio and hypothesis do the same)
        patch.setattr("trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING", True)
        trio._core._run._r.seed(seed)
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return made[0]


async def _without_a_thread(call: Callable[..., Awaitable[None]], *arguments: Any, **_options: Any) -> None:
    await trio.lowlevel.checkpoint()
    await call(*arguments)


def assemble(
    nursery: trio.Nursery,
    *,
    size: int,
    window_bytes: int,
    budget_bytes: int,
    seed: int,
    connections: int,
    memory_limit_bytes: int | None,
) -> Machine:
    """Put the parts together as the worker does."""
    source = Source(seed)
    cache = BlockCache(
        budget_bytes=budget_bytes, fetch=source.fetch, connections=Connections(most=connections), nursery=nursery
    )
    pages = PageCache(size, nursery, random.Random(seed))
    pusher = Pusher(
        cast("Any", pages.notify),
        nursery=nursery,
        most_held_bytes=budget_bytes // 4,
        memory_limit_bytes=memory_limit_bytes,
    )
    info = ObjectInfo("m/1/x", size, "v1", 0)
    pages.streamer = Streamer(info, cache, window_bytes=window_bytes, inode=INODE, pusher=pusher)
    return Machine(pages, source, cache, pages.streamer, pusher)
