"""The read path under a model of the kernel's page cache: exact bytes, no deadlock, and no byte fetched in vain."""

import errno
import random
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from page_cache_model import KIB, MIB, Machine, Reader, run

from modelfs.pushing import PAGE_BYTES, STEP_BYTES

P = PAGE_BYTES


async def go_through(machine: Machine, start: int, stop: int, step: int, *, bytes_per_s: float = float("inf")) -> None:
    reader = Reader(expects_page=start // P)
    for offset in range(start, stop, step):
        await machine.pages.read(reader, offset, min(step, stop - offset))
        await trio.sleep(step / bytes_per_s)


@pytest.mark.parametrize("step", [128 * KIB, MIB, 5 * MIB + 77])
@pytest.mark.parametrize("size", [120 * MIB, 100 * MIB + 1, 99 * MIB - 1, 5 * MIB + P, 3 * P - 1, 1])
def test_a_sequential_pass_fetches_each_byte_once_and_is_answered_by_few_reads(size: int, step: int) -> None:
    machine = run(lambda machine: go_through(machine, 0, size, step), size=size)
    assert size <= machine.source.fetched <= 1.02 * size
    if size > 50 * MIB:
        # this reader takes no time at all, so it also asks for what would have been pushed a moment later
        assert machine.pages.pushed > 0.25 * size
        assert machine.pages.pushed + machine.pages.answered < 1.5 * size
        assert machine.pages.reads < 0.95 * size / MIB


def test_a_reader_slower_than_the_store_sends_a_read_for_each_step_and_few_others() -> None:
    size = 120 * MIB
    machine = run(lambda machine: go_through(machine, 0, size, MIB, bytes_per_s=200e6), size=size)
    assert machine.source.fetched == size
    assert machine.pages.pushed > 0.9 * size
    assert machine.pages.pushed + machine.pages.answered < 1.02 * size
    assert machine.pages.reads < 0.3 * size / MIB


@pytest.mark.parametrize("step", [128 * KIB, MIB, 2 * MIB])
def test_a_reader_that_catches_up_with_the_pushes_is_not_taken_for_another(step: int) -> None:
    """It passes what was pushed unseen, and its next READ lies behind that."""
    size = 150 * MIB
    machine = run(
        lambda machine: go_through(machine, 0, size, step), size=size, budget_bytes=128 * MIB, window_bytes=64 * MIB
    )
    assert len(machine.streamer._policy._streams) <= 2


def test_a_second_pass_asks_nothing() -> None:
    size = 50 * MIB + 5

    async def body(machine: Machine) -> None:
        await go_through(machine, 0, size, MIB)
        await trio.sleep(100)  # what is on its way to the page cache arrives
        reads, fetched = machine.pages.reads, machine.source.fetched
        await go_through(machine, 0, size, MIB)
        assert (machine.pages.reads, machine.source.fetched) == (reads, fetched)

    run(body, size=size)


@pytest.mark.parametrize("ranks", [2, 4, 8])
def test_readers_of_interleaved_pieces_fetch_each_byte_once(ranks: int) -> None:
    piece, size = 8 * MIB, 128 * MIB

    async def rank(machine: Machine, number: int) -> None:
        for start in range(number * piece, size, ranks * piece):
            await go_through(machine, start, start + piece, 128 * KIB)

    async def body(machine: Machine) -> None:
        async with trio.open_nursery() as readers:
            for number in range(ranks):
                readers.start_soon(rank, machine, number)

    assert run(body, size=size, budget_bytes=256 * MIB, window_bytes=128 * MIB).source.fetched <= 1.05 * size


def test_readers_that_follow_each_other_share_one_download() -> None:
    size = 100 * MIB

    async def late(machine: Machine, number: int) -> None:
        await trio.sleep(number * 0.05)
        await go_through(machine, 0, size, MIB)

    async def body(machine: Machine) -> None:
        async with trio.open_nursery() as readers:
            for number in range(4):
                readers.start_soon(late, machine, number)

    assert run(body, size=size).source.fetched <= 1.02 * size


@pytest.mark.parametrize("head", [1, MIB, 20 * MIB, 50 * MIB])
@pytest.mark.parametrize("window", [8 * MIB, 32 * MIB])
def test_a_reader_that_stops_stops_the_download(head: int, window: int) -> None:
    async def body(machine: Machine) -> None:
        await go_through(machine, 0, head, 128 * KIB)
        await trio.sleep(1000)
        # the head has passed at most one step unseen, and the kernel reads 2 MiB ahead of it
        assert machine.source.fetched <= head + window + STEP_BYTES + 2 * MIB

    run(body, size=150 * MIB, window_bytes=window)


def test_a_file_that_is_closed_is_downloaded_no_further() -> None:
    async def body(machine: Machine) -> None:
        await go_through(machine, 0, 20 * MIB, MIB)
        await trio.testing.wait_all_tasks_blocked()
        machine.streamer.close()
        running = machine.source.fetched
        await trio.sleep(1000)
        assert machine.source.fetched == running

    run(body, size=150 * MIB)


@pytest.mark.parametrize("length", [4 * KIB, 100 * KIB, MIB])
def test_a_backward_pass_is_exact_and_fetches_little_more_than_it_reads(length: int) -> None:
    size = 24 * MIB

    async def body(machine: Machine) -> None:
        for offset in range(size - length, -1, -length):
            await machine.pages.read(Reader(expects_page=1 << 40), offset, length)

    assert run(body, size=size).source.fetched <= 1.3 * size


def test_a_backward_pass_waits_for_a_round_trip_only_until_it_is_seen_to_go_back() -> None:
    size, piece, took_s = 120 * MIB, 512 * KIB, []

    async def body(machine: Machine) -> None:
        began_s = trio.current_time()
        for offset in range(size - piece, -1, -piece):
            await machine.pages.read(Reader(expects_page=1 << 40), offset, piece)
        took_s.append(trio.current_time() - began_s)

    machine = run(body, size=size)
    assert machine.source.fetched <= 1.01 * size
    assert took_s[0] < 240 * 0.030 / 4, "in virtual time; each of 240 reads would else take 30 ms and more"
    assert machine.pages.pushed > size // 2


@pytest.mark.parametrize("budget", [8 * MIB, 16 * MIB, 64 * MIB])
@pytest.mark.parametrize("piece", [128 * KIB, 516 * KIB, MIB])
def test_a_backward_pass_without_pushes_fetches_each_byte_once(piece: int, budget: int) -> None:
    size = 60 * MIB

    async def body(machine: Machine) -> None:
        for stop in range(size, 0, -piece):
            await machine.pages.read(Reader(expects_page=1 << 40), max(0, stop - piece), min(piece, stop))

    assert run(body, size=size, budget_bytes=budget, memory_limit_bytes=1).source.fetched <= 1.01 * size


@pytest.mark.parametrize("piece", [16 * MIB, 24 * MIB + 4 * KIB])
def test_a_loader_that_looks_at_the_end_of_each_tensor_first_fetches_each_byte_once(piece: int) -> None:
    """As memcpy does out of a mapping, with the kernel's megabyte around the page."""
    size = 150 * MIB

    async def body(machine: Machine) -> None:
        for start in range(5000, size, piece):
            stop = min(start + piece, size)
            around = max(0, stop - 512 * KIB) // P * P
            await machine.pages.read(Reader(expects_page=1 << 40), around, MIB)
            await go_through(machine, start, stop, MIB, bytes_per_s=2e9)

    machine = run(body, size=size)
    assert machine.source.fetched == size
    assert machine.pages.reads < 150


@pytest.mark.parametrize("size", [100 * MIB, 40 * MIB + 3 * P, 20 * MIB + 77, 3 * P, 5])
def test_a_file_that_is_brought_is_read_without_a_request_but_for_its_last_part_page(size: int) -> None:
    async def body(machine: Machine) -> None:
        await machine.streamer.bring(size)
        fetched = machine.source.fetched
        assert machine.pages.reads == 0
        await go_through(machine, 0, size, MIB)
        assert machine.source.fetched - fetched <= 128 * KIB
        assert machine.pages.reads <= 1

    assert run(body, size=size).source.fetched <= size + 128 * KIB


def test_a_file_that_is_read_while_it_is_brought_is_fetched_once() -> None:
    size = 120 * MIB

    async def body(machine: Machine) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(machine.streamer.bring, size)
            await trio.sleep(0.2)
            nursery.start_soon(go_through, machine, 0, size // 2, MIB)
            nursery.start_soon(go_through, machine, size // 2, size, MIB)

    assert run(body, size=size, budget_bytes=256 * MIB, window_bytes=256 * MIB).source.fetched == size


def test_what_was_brought_of_a_file_is_followed_by_its_readers_look_ahead() -> None:
    size = 150 * MIB

    async def body(machine: Machine) -> None:
        await machine.streamer.bring(50 * MIB)
        await go_through(machine, 0, size, MIB)

    machine = run(body, size=size)
    assert machine.source.fetched == size
    assert machine.pages.reads < 80


def test_bringing_ends_with_the_file_and_where_the_kernel_takes_no_pushes() -> None:
    async def closed(machine: Machine) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(machine.streamer.bring, 150 * MIB)
            await trio.sleep(0.1)
            machine.streamer.close()

    assert run(closed, size=150 * MIB).source.fetched < 100 * MIB

    async def refused(machine: Machine) -> None:
        machine.pusher._is_on = False
        await machine.streamer.bring(150 * MIB)

    assert run(refused, size=150 * MIB).source.fetched < 100 * MIB


def test_random_small_reads_fetch_a_block_or_two_each() -> None:
    size, chance = 150 * MIB, random.Random(5)

    async def body(machine: Machine) -> None:
        for _ in range(400):
            await machine.pages.read(Reader(expects_page=1 << 40), chance.randrange(1, size // 4096) * 4096, 4096)

    assert run(body, size=size).source.fetched <= 2 * 400 * 128 * KIB


def test_small_reads_out_of_nowhere_push_nothing_and_leave_what_is_pushed_to_streams() -> None:
    size = 150 * MIB

    async def body(machine: Machine) -> None:
        for place in range(MIB, size, 3 * MIB):
            await machine.pages.read(Reader(expects_page=1 << 40), place, 4 * KIB)
        assert machine.pusher.statistics().pushed_bytes == 0
        await go_through(machine, 10 * MIB, size, MIB)

    machine = run(body, size=size)
    assert machine.pages.pushed > 30 * MIB
    assert machine.source.fetched <= 1.05 * size


def test_what_the_kernel_has_dropped_is_fetched_again_and_no_more_than_that() -> None:
    size = 60 * MIB

    async def body(machine: Machine) -> None:
        for _ in range(3):
            await go_through(machine, 0, size, MIB)
            await trio.sleep(100)
            machine.pages.evict(1)
            machine.cache.drop_idle()

    assert run(body, size=size).source.fetched <= 3 * 1.05 * size


def test_a_file_that_does_not_fit_into_half_the_daemons_memory_is_charged_to_its_reader() -> None:
    size = 40 * MIB

    def passed(memory_limit_bytes: int) -> Machine:
        return run(
            lambda machine: go_through(machine, 0, size, MIB),
            size=size,
            budget_bytes=16 * MIB,
            window_bytes=8 * MIB,
            memory_limit_bytes=memory_limit_bytes,
        )

    small = passed(2 * size - 1)
    assert small.pages.pushed == 0
    assert set(small.pages.charged.values()) == {"reader"}
    assert passed(2 * size).pages.pushed > 0


async def never(*_arguments: Any) -> None:
    await trio.sleep_forever()


def refusing(number: int, *, often: int) -> Callable[..., Awaitable[None]]:
    """Return a push that fails each ``often``-th time, else takes nothing."""
    count = 0

    async def notify(*_arguments: Any) -> None:
        nonlocal count
        count += 1
        if count % often == 0:
            raise OSError(number, "on purpose")

    return notify


def test_reads_go_on_beside_pushes_that_are_stuck_for_ever() -> None:
    """The kernel holds a page's lock until its READ is answered, so a READ must never wait for a push."""
    size = 100 * MIB

    async def body(machine: Machine) -> None:
        machine.pusher._notify = cast("Any", never)
        with trio.fail_after(1000):
            await go_through(machine, 0, size, MIB)
        assert machine.cache.statistics().used_bytes <= 32 * MIB
        machine.pages.nursery.cancel_scope.cancel()

    run(body, size=size, budget_bytes=32 * MIB, checks_rest=False)


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EINVAL, errno.ENOSYS])
@pytest.mark.parametrize("often", [1, 2, 5])
def test_reads_are_exact_beside_pushes_that_fail(number: int, often: int) -> None:
    """What a push said it took and did not keep is as if the kernel had dropped it at once."""
    size = 60 * MIB + 9

    async def body(machine: Machine) -> None:
        machine.pusher._notify = cast("Any", refusing(number, often=often))
        await go_through(machine, 0, size, MIB)

    run(body, size=size)


SIZES = st.sampled_from([0, 1, P - 1, P, P + 1, MIB, 5 * MIB + 1, 12 * MIB - P, 20 * MIB + P - 1, 24 * MIB])
HABITS = st.sampled_from(["forward", "backward", "strided", "random", "mapped", "evict", "all gone"])
ERRANDS = st.tuples(HABITS, st.integers(0, 100), st.sampled_from([P, 128 * KIB, MIB, 3 * MIB + 5]), st.integers(1, 20))


@settings(deadline=None, max_examples=150)
@given(
    size=SIZES,
    errands=st.lists(ERRANDS, max_size=6),
    window=st.sampled_from([0, MIB, 4 * MIB, 16 * MIB]),
    budget=st.sampled_from([MIB, 4 * MIB, 16 * MIB]),
    connections=st.sampled_from([1, 3, 32]),
    seed=st.integers(0, 9),
    closes=st.booleans(),
)
def test_whatever_is_read_and_evicted_is_exact_and_ends(
    *,
    size: int,
    errands: list[tuple[str, int, int, int]],
    window: int,
    budget: int,
    connections: int,
    seed: int,
    closes: bool,
) -> None:
    async def errand(machine: Machine, habit: str, start: int, length: int, count: int) -> None:
        chance, reader = random.Random(start * 31 + count), Reader()
        offset = size * start // 100
        for number in range(count):
            match habit:
                case "evict" | "all gone":
                    await trio.sleep(chance.random())
                    machine.pages.evict(1.0 if habit == "all gone" else 0.2)
                case "mapped":
                    await machine.pages.fault(reader, chance.randrange(size) if size else 0) if size else None
                case _:
                    moves = {"forward": 1, "backward": -1, "strided": 3}
                    here = chance.randrange(size + 1) if habit == "random" else offset + moves[habit] * number * length
                    await machine.pages.read(reader, max(0, here), length)

    async def body(machine: Machine) -> None:
        async with trio.open_nursery() as readers:
            for each in errands:
                readers.start_soon(errand, machine, *each)
            if closes:
                await trio.sleep(0.3)
                machine.streamer.close()  # reads that were sent before it may come after it

    run(body, size=size, window_bytes=window, budget_bytes=budget, seed=seed, connections=connections)
