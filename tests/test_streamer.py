"""Streamer: whatever is read, in whatever order and budget, is what the object holds."""

import random
from collections.abc import Awaitable, Callable
from functools import lru_cache

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from modelfs.blocks import BLOCK_BYTES, ObjectInfo
from modelfs.cache import BlockCache
from modelfs.connections import Connections, Ticket
from modelfs.errors import StoreUnavailableError
from modelfs.extents import STRAY_STALE_S
from modelfs.push import Pusher
from modelfs.pushing import PAGE_BYTES
from modelfs.streamer import SECOND_LOOK_S, Streamer

B = BLOCK_BYTES
PATIENCE_S = 10_000  # of virtual time


@lru_cache(maxsize=8)
def content(size: int) -> bytes:
    return random.Random(size).randbytes(size)


class Source:
    """Answers fetches from ``content`` after a random delay, and logs how many bytes of them were asked early."""

    def __init__(self) -> None:
        self.prefetched: list[range] = []
        self.demanded: list[range] = []
        self.fails = 0
        self._delays = random.Random(0)

    async def fetch(self, info: ObjectInfo, offset: int, length: int, ticket: Ticket) -> memoryview:
        (self.demanded if ticket.is_urgent else self.prefetched).append(range(offset, offset + length))
        async with ticket:
            await trio.sleep(self._delays.random())
        if self.fails:
            self.fails -= 1
            raise StoreUnavailableError("away")
        return memoryview(content(info.size))[offset : offset + length]


def file(size: int) -> ObjectInfo:
    return ObjectInfo("m/1/x", size, "v1", 0)


def read_all(
    size: int,
    readers: list[list[tuple[int, int]]],
    *,
    budget_blocks: int = 64,
    window_blocks: int = 16,
    streamers: int = 1,
) -> Source:
    """Let every reader make its reads, check each byte, and return what was asked of the source."""
    source = Source()

    async def reader(streamer: Streamer, reads: list[tuple[int, int]]) -> None:
        for offset, length in reads:
            answer = await streamer.read(offset, length)
            assert bytes(answer) == content(size)[offset : offset + length]

    async def main() -> None:
        with trio.fail_after(PATIENCE_S):
            async with trio.open_nursery() as loads:
                cache = BlockCache(
                    budget_bytes=budget_blocks * B,
                    fetch=source.fetch,
                    connections=Connections(most=1000),
                    nursery=loads,
                )
                opened = [Streamer(file(size), cache, window_bytes=window_blocks * B) for _ in range(streamers)]
                async with trio.open_nursery() as nursery:
                    for number, reads in enumerate(readers):
                        nursery.start_soon(reader, opened[number % streamers], reads)
                for streamer in opened:
                    streamer.close()
            assert cache.statistics().peak_bytes <= budget_blocks * B

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return source


sizes = st.sampled_from([0, 1, 4095, 4096, 4097, B - 1, B, B + 1, 9 * B - 1, 9 * B, 9 * B + 1, 40 * B + 77])
reads = st.tuples(st.integers(0, 42 * B), st.integers(1, 12 * B) | st.integers(1, 5000))


@settings(deadline=None, max_examples=200)
@given(sizes, st.lists(st.lists(reads, max_size=6), max_size=6), st.integers(1, 80), st.integers(0, 70))
def test_every_read_is_exact_in_any_budget_and_window(
    size: int, readers: list[list[tuple[int, int]]], budget_blocks: int, window_blocks: int
) -> None:
    read_all(size, readers, budget_blocks=budget_blocks, window_blocks=window_blocks)


def sequential(start: int, stop: int, step: int) -> list[tuple[int, int]]:
    return [(offset, step) for offset in range(start, stop, step)]


def test_a_sequential_reader_fetches_each_byte_once_and_mostly_early() -> None:
    size = 200 * B + 5
    source = read_all(size, [sequential(0, size, B)], budget_blocks=256, window_blocks=64)
    assert sum(len(piece) for piece in source.demanded + source.prefetched) == size
    assert sum(len(piece) for piece in source.prefetched) > size * 0.5  # 0.76 to 0.96: tasks begin in any order


def test_eight_interleaved_readers_of_one_file_fetch_each_byte_once() -> None:
    size = 160 * B
    ranks = [sequential(rank * 20 * B, (rank + 1) * 20 * B, B // 2) for rank in range(8)]
    source = read_all(size, ranks, budget_blocks=256, window_blocks=8)
    assert sum(len(piece) for piece in source.demanded + source.prefetched) == size


def test_random_small_reads_fetch_a_block_or_two_each() -> None:
    size = 800 * B  # 100 MiB
    chooser = random.Random(1)
    many = [(chooser.randrange(size // 4096) * 4096, 4096) for _ in range(300)]
    source = read_all(size, [many], budget_blocks=512, window_blocks=512)
    assert sum(len(piece) for piece in source.demanded + source.prefetched) <= 2 * 300 * B


@pytest.mark.parametrize("budget_blocks", [1, 2, 3])
def test_twenty_readers_get_on_with_a_tiny_budget(budget_blocks: int) -> None:
    size = 30 * B + 1
    chooser = random.Random(budget_blocks)
    readers = [[(chooser.randrange(size), chooser.randrange(1, 5 * B)) for _ in range(5)] for _ in range(20)]
    read_all(size, readers, budget_blocks=budget_blocks)


def test_two_streamers_of_one_version_are_exact() -> None:
    size = 20 * B
    read_all(size, [sequential(0, size, 3 * B)] * 4, streamers=2, budget_blocks=5)


def test_a_read_inside_one_extent_is_a_view_without_a_copy() -> None:
    size = 8 * B

    async def body(streamer: Streamer, _source: Source) -> None:
        for offset, length in [(0, B), (5, 100), (0, 8 * B), (7 * B, 99 * B)]:
            answer = await streamer.read(offset, length)
            assert isinstance(answer, memoryview), (offset, length)
            assert answer.obj is content(size), (offset, length)  # the very bytes that the source answered with

    with_streamer(size, body)


@pytest.mark.parametrize(
    "come", [[(16 * B, PAGE_BYTES)], [(16 * B, B), (31 * B, B)]], ids=["a tripwire's", "the end's before the middle's"]
)
def test_what_is_still_to_be_read_of_an_extent_stays_for_its_reader(come: list[tuple[int, int]]) -> None:
    async def main() -> None:
        async with trio.open_nursery() as loads:
            cache = BlockCache(
                budget_bytes=24 * B, fetch=Source().fetch, connections=Connections(most=1000), nursery=loads
            )
            has_no_time = Pusher(lambda *_: None, nursery=loads, most_held_bytes=0, memory_limit_bytes=None)
            info = file(64 * B)
            streamer = Streamer(info, cache, window_bytes=64 * B, pusher=has_no_time)  # a tripwire each 16 blocks
            assert cache.prefetch(info, range(16, 32), 16)
            await trio.testing.wait_all_tasks_blocked()
            await trio.sleep(1)
            for offset, length in come:
                await streamer.read(offset, length)
            assert not cache.prefetch(info, range(40, 48), 8), "there was room, and so nothing was at stake"
            assert cache.landed(info, 17) is not None

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_blocks_of_small_reads_out_of_nowhere_give_way_to_the_look_ahead_of_a_reader() -> None:
    async def main() -> None:
        async with trio.open_nursery() as loads:
            cache = BlockCache(
                budget_bytes=24 * B, fetch=Source().fetch, connections=Connections(most=1000), nursery=loads
            )
            streamer = Streamer(file(512 * B), cache, window_bytes=64 * B)
            async with trio.open_nursery() as nursery:
                for block in range(5, 505, 20):
                    nursery.start_soon(streamer.read, block * B, PAGE_BYTES)
            assert cache.statistics().used_bytes > 20 * B, "there was room, and so nothing was at stake"
            assert not cache.prefetch(file(64 * B), range(16), 16), "the next small reads may be of the same blocks"
            await trio.sleep(STRAY_STALE_S + 0.1)
            assert cache.prefetch(file(64 * B), range(16), 16)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_read_at_or_behind_the_end_is_empty_and_costs_nothing() -> None:
    async def body(streamer: Streamer, source: Source) -> None:
        for offset in (10, 11, 10**15):
            assert await streamer.read(offset, 4096) == b""
        assert not source.demanded
        assert not source.prefetched

    with_streamer(10, body)


def test_a_read_that_fails_answers_no_byte_and_the_next_one_succeeds() -> None:
    size = 5 * B

    async def body(streamer: Streamer, source: Source) -> None:
        source.fails = 99
        with pytest.raises(StoreUnavailableError):
            await streamer.read(0, size)
        await trio.sleep(5)  # also what was asked early has failed now
        source.fails = 0
        assert bytes(await streamer.read(0, size)) == content(size)

    with_streamer(size, body)


def with_streamer(size: int, body: Callable[[Streamer, Source], Awaitable[None]]) -> None:
    """Run ``body`` with the Streamer of a file of ``size`` bytes, in virtual time."""
    source = Source()

    async def main() -> None:
        async with trio.open_nursery() as loads:
            cache = BlockCache(
                budget_bytes=256 * B, fetch=source.fetch, connections=Connections(most=1000), nursery=loads
            )
            await body(Streamer(file(size), cache, window_bytes=48 * B), source)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_the_kernels_second_look_at_a_page_that_failed_is_answered_at_once() -> None:
    size = 20 * B

    async def body(streamer: Streamer, source: Source) -> None:
        source.fails = 99
        with pytest.raises(StoreUnavailableError) as first:
            await streamer.read(2 * B, B)
        asked = len(source.demanded)
        failed_s = trio.current_time()
        with pytest.raises(StoreUnavailableError, match=str(first.value)):
            await streamer.read(2 * B, PAGE_BYTES)
        assert trio.current_time() == failed_s
        assert len(source.demanded) == asked
        source.fails = 0
        # but not the next one of the same page
        assert bytes(await streamer.read(2 * B, PAGE_BYTES)) == content(size)[2 * B : 2 * B + PAGE_BYTES]

    with_streamer(size, body)


def test_a_page_that_failed_is_asked_for_again_by_who_comes_later() -> None:
    size = 20 * B

    async def body(streamer: Streamer, source: Source) -> None:
        source.fails = 99
        with pytest.raises(StoreUnavailableError):
            await streamer.read(2 * B, B)
        source.fails = 0
        await trio.sleep(SECOND_LOOK_S + 0.1)
        assert bytes(await streamer.read(2 * B, PAGE_BYTES)) == content(size)[2 * B : 2 * B + PAGE_BYTES]

    with_streamer(size, body)
