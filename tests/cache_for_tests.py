"""A BlockCache in virtual time: what its tests work with."""

import math
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import trio
import trio.testing
from cache_invariants import check_cache, check_cache_at_rest

from modelfs.blocks import BLOCK_BYTES, ObjectInfo
from modelfs.cache import BlockCache
from modelfs.connections import Connections, Ticket
from modelfs.extents import Landed

B = BLOCK_BYTES
PATIENCE_S = 10_000  # of virtual time


def info(key: str = "m/1/x", blocks: int = 64, tail: int = 0) -> ObjectInfo:
    return ObjectInfo(key, blocks * B + tail, "v1", 0)


class Source:
    """Answers fetches after ``delay_s`` or when told to, and logs them. A block's bytes are its index."""

    def __init__(self) -> None:
        self.delay_s = 1.0
        self.asked: list[tuple[str, int, int, bool]] = []
        self.begun: list[tuple[str, int, int, bool]] = []  # those that got a connection
        self.fails: list[BaseException] = []  # taken by the next fetches
        self.cut = 0  # bytes missing from each answer

    async def fetch(self, info: ObjectInfo, offset: int, length: int, ticket: Ticket) -> memoryview:
        self.asked.append((info.key, offset // B, -(-length // B), not ticket.is_urgent))
        failure = self.fails.pop(0) if self.fails else None
        async with ticket:
            self.begun.append((info.key, offset // B, -(-length // B), not ticket.is_urgent))
            await trio.sleep(self.delay_s)
        if failure:
            raise failure
        return memoryview(content(info)[offset : offset + length - self.cut])


def content(info: ObjectInfo) -> bytes:
    return b"".join(bytes([index % 256]) * B for index in range(-(-info.size // B)))[: info.size]


class Lab(NamedTuple):
    """What a test works with. The nursery's tasks must end before the test does."""

    cache: BlockCache
    source: Source
    nursery: trio.Nursery
    pushes: trio.Nursery


def identity(file: ObjectInfo) -> tuple[str, str]:
    return file.key, file.version


def run(
    body: Callable[[Lab], Awaitable[None]],
    *,
    budget_blocks: int = 16,
    connections: int = 1000,
    deadline_s: float = math.inf,
) -> None:
    """Run ``body`` within bounded virtual time, and check that it leaves no waiter and no debt behind."""

    async def main() -> None:
        source = Source()
        with trio.fail_after(PATIENCE_S):
            async with trio.open_nursery() as pushes, trio.open_nursery() as loads:
                cache = BlockCache(
                    budget_bytes=budget_blocks * B,
                    fetch=source.fetch,
                    connections=Connections(most=connections),
                    nursery=loads,
                    deadline_s=deadline_s,
                )
                async with trio.open_nursery() as nursery:
                    await body(Lab(cache, source, nursery, pushes))
            check_cache_at_rest(cache)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def check_read(
    cache: BlockCache, info: ObjectInfo, index: int, unit: int = 1, on_landed: Landed | None = None
) -> None:
    view, base = await cache.read(info, index, unit, on_landed)
    start = index * B - base
    assert 0 <= start < len(view)
    assert view[start] == index % 256
    check_cache(cache)
