"""BlockCache: one load for each block, an exact budget, no lost reader."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing
from cache_for_tests import B, Lab, Source, check_read, info, run
from cache_invariants import check_cache
from hypothesis import given, settings
from hypothesis import strategies as st

from modelfs.blocks import ObjectInfo, block_count
from modelfs.cache import BlockCache
from modelfs.connections import Connections
from modelfs.errors import CorruptAnswerError, ModelfsError, StoreUnavailableError
from modelfs.extents import UNREAD_STALE_S, Extent


def test_concurrent_readers_share_one_load() -> None:
    async def body(lab: Lab) -> None:
        for index in [0, 1, 2, 3] * 10:
            lab.nursery.start_soon(check_read, lab.cache, info(), index, 4)
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(
            {index for _, start, count, _ in lab.source.asked for index in range(start, start + count)}
        ) == sorted(index for _, start, count, _ in lab.source.asked for index in range(start, start + count))

    run(body)


def test_a_second_read_costs_no_load() -> None:
    async def body(lab: Lab) -> None:
        for _ in range(3):
            for index in range(4):
                await check_read(lab.cache, info(), index, 4)
        assert lab.source.asked == [("m/1/x", 0, 4, False)]

    run(body)


def test_two_versions_of_a_key_share_nothing() -> None:
    async def body(lab: Lab) -> None:
        await lab.cache.read(info(), 0, 1)
        await lab.cache.read(info()._replace(version="v2"), 0, 1)
        assert len(lab.source.asked) == 2

    run(body)


def test_the_last_block_is_as_short_as_the_object() -> None:
    async def body(lab: Lab) -> None:
        view, base = await lab.cache.read(info(blocks=2, tail=5), 2, 8)
        assert (len(view), base) == (5, 2 * B)
        assert lab.cache.statistics().used_bytes == 5

    run(body)


def test_a_failed_load_is_told_to_every_reader_and_tried_again_by_the_next() -> None:
    async def failing(cache: BlockCache, failures: list[BaseException]) -> None:
        try:
            await cache.read(info(), 0, 2)
        except StoreUnavailableError as error:
            failures.append(error)

    async def body(lab: Lab) -> None:
        lab.source.fails.append(StoreUnavailableError("away"))
        failures: list[BaseException] = []
        async with trio.open_nursery() as readers:
            for _ in range(5):
                readers.start_soon(failing, lab.cache, failures)
        assert len(failures) == 5
        assert lab.cache.statistics().used_bytes == 0
        await check_read(lab.cache, info(), 0)
        assert len(lab.source.asked) == 2

    run(body)


def test_a_reader_does_not_inherit_the_failure_of_a_prefetch_that_began_before_it_came() -> None:
    async def body(lab: Lab) -> None:
        lab.source.fails.append(StoreUnavailableError("away, and the deadline has passed"))
        assert lab.cache.prefetch(info(), range(4), 4)
        await trio.sleep(0.5)
        await check_read(lab.cache, info(), 0, 4)

    run(body)


def test_a_read_that_has_waited_for_most_of_the_deadline_is_not_begun_anew() -> None:
    async def body(lab: Lab) -> None:
        lab.source.fails += [StoreUnavailableError("away")] * 2
        assert lab.cache.prefetch(info(), range(4), 4)
        await trio.sleep(0.1)
        with pytest.raises(StoreUnavailableError):
            await lab.cache.read(info(), 0, 4)
        assert len(lab.source.asked) == 1

    run(body, deadline_s=1.0)


def test_nothing_is_dropped_as_idle_while_a_reader_waits() -> None:
    async def body(lab: Lab) -> None:
        assert lab.cache.prefetch(info(), range(4), 4)
        await trio.sleep(2)
        lab.nursery.start_soon(check_read, lab.cache, info(), 8, 1)
        await trio.testing.wait_all_tasks_blocked()
        lab.cache.drop_idle()
        assert lab.cache.holds(info(), 0)
        await trio.sleep(2)
        lab.cache.drop_idle()
        assert not lab.cache.holds(info(), 0)

    run(body)


def test_an_unexpected_exception_in_a_fetch_is_an_error_of_ours_and_ends_nothing() -> None:
    async def body(lab: Lab) -> None:
        lab.source.fails.append(KeyError("a bug"))
        with pytest.raises(ModelfsError):
            await lab.cache.read(info(), 0, 1)
        await check_read(lab.cache, info(), 0)

    run(body)


@pytest.mark.parametrize("cut", [1, B, -1])
def test_an_answer_of_another_length_is_never_shown(cut: int) -> None:
    async def body(lab: Lab) -> None:
        lab.source.cut = cut
        with pytest.raises(CorruptAnswerError):
            await lab.cache.read(info(), 0, 2)
        lab.source.cut = 0
        await check_read(lab.cache, info(), 0)

    run(body)


def test_a_prefetch_is_joined_by_a_reader() -> None:
    async def body(lab: Lab) -> None:
        lab.cache.prefetch(info(), range(4), 4)
        for index in range(4):
            await check_read(lab.cache, info(), index)
        assert [asked[:3] for asked in lab.source.asked] == [("m/1/x", 0, 4)]

    run(body)


def test_a_prefetch_asks_only_for_what_is_not_on_its_way() -> None:
    async def body(lab: Lab) -> None:
        lab.cache.start(info(), 3, 2)
        lab.cache.prefetch(info(), range(9), 4)
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(asked[1:3] for asked in lab.source.asked) == [(0, 3), (3, 2), (5, 3), (8, 1)]

    run(body)


def test_demand_goes_on_when_prefetches_hold_all_they_may() -> None:
    async def body(lab: Lab) -> None:
        lab.source.delay_s = 100
        lab.cache.prefetch(info(), range(64), 1)
        await trio.testing.wait_all_tasks_blocked()
        assert lab.cache.statistics().used_bytes == 12 * B  # three quarters
        lab.source.delay_s = 1
        with trio.fail_after(50):
            await check_read(lab.cache, info("other"), 0)

    run(body)


def test_a_prefetch_evicts_nothing_that_is_unread() -> None:
    async def body(lab: Lab) -> None:
        lab.cache.prefetch(info("a"), range(12), 1)
        await trio.sleep(5)
        lab.cache.prefetch(info("b"), range(12), 1)
        assert all(extent.info.key == "a" for extent in lab.cache._table.values())
        lab.cache.read_to_end(info("a"), 5)
        lab.cache.prefetch(info("b"), range(12), 1)
        assert sorted(index for (identity, index) in lab.cache._table if identity[0] == "b") == [0]
        assert (("a", "v1"), 5) not in lab.cache._table

    run(body)


def test_what_was_read_to_its_end_goes_before_what_was_not() -> None:
    async def body(lab: Lab) -> None:
        for index in range(16):
            await check_read(lab.cache, info("a"), index)
        lab.cache.read_to_end(info("a"), 9)
        await check_read(lab.cache, info("b"), 0)
        assert {index for (identity, index) in lab.cache._table if identity[0] == "a"} == set(range(16)) - {9}
        await check_read(lab.cache, info("b"), 1)
        assert (("a", "v1"), 0) not in lab.cache._table

    run(body)


def test_what_nobody_has_open_any_more_makes_room_for_prefetches() -> None:
    async def body(lab: Lab) -> None:
        lab.cache.prefetch(info("a"), range(12), 1)
        await trio.sleep(5)
        lab.cache.abandon(info("a"))
        lab.cache.prefetch(info("b"), range(12), 1)
        assert {identity[0] for identity, _ in lab.cache._table} == {"b"}

    run(body)


def test_what_nobody_came_for_makes_room_for_prefetches_after_a_while() -> None:
    """Else six files that are held open and read no further would take read-ahead from every other."""

    async def body(lab: Lab) -> None:
        lab.cache.prefetch(info("a"), range(12), 1)
        await trio.sleep(UNREAD_STALE_S)
        lab.cache.prefetch(info("b"), range(12), 1)
        assert {identity[0] for identity, _ in lab.cache._table} == {"a"}
        await trio.sleep(3)
        lab.cache.prefetch(info("b"), range(12), 1)
        assert {identity[0] for identity, _ in lab.cache._table} == {"b"}

    run(body)


def test_what_lands_after_its_file_was_closed_makes_room_for_prefetches() -> None:
    """Else every file closed early would take its window out of the budget, until no file is read ahead."""

    async def body(lab: Lab) -> None:
        lab.cache.prefetch(info("a"), range(12), 1)
        await trio.testing.wait_all_tasks_blocked()
        lab.cache.abandon(info("a"))
        await trio.sleep(2)
        lab.cache.prefetch(info("b"), range(12), 1)
        assert {identity[0] for identity, _ in lab.cache._table} == {"b"}

    run(body)


def test_a_prefetch_does_not_evict_what_a_read_has_just_found() -> None:
    async def body(lab: Lab) -> None:
        for index in range(12):
            await check_read(lab.cache, info("a"), index)
            lab.cache.read_to_end(info("a"), index)
        found = lab.cache.start(info("a"), 0, 1)
        lab.cache.prefetch(info("b"), range(4), 1)
        assert lab.cache.start(info("a"), 0, 1) is found

    run(body)


def test_a_reader_waits_for_room_and_wakes() -> None:
    async def body(lab: Lab) -> None:
        for index in range(20):
            lab.nursery.start_soon(check_read, lab.cache, info(), index)
        await trio.testing.wait_all_tasks_blocked()
        assert lab.cache.statistics().waiting_for_room == 17

    run(body, budget_blocks=3)


@pytest.mark.parametrize("seed", range(20))
def test_a_reader_that_waits_for_room_wakes_when_the_last_waiter_of_an_extent_has_read(seed: int) -> None:
    """The extent cannot be evicted while it has waiters, and nothing else happens after the last of them is served."""

    async def body(lab: Lab) -> None:
        lab.nursery.start_soon(check_read, lab.cache, info("a"), 0)
        await trio.testing.wait_all_tasks_blocked()
        for number in range(seed % 4 + 1):
            lab.nursery.start_soon(check_read, lab.cache, info(f"b{number}"), 0)

    run(body, budget_blocks=1)


def test_a_cancelled_reader_gives_back_its_place() -> None:
    async def body(lab: Lab) -> None:
        with trio.move_on_after(0.5):
            async with trio.open_nursery() as readers:
                for index in range(8):
                    readers.start_soon(check_read, lab.cache, info(), index)
        assert not lab.cache.statistics().waiting_for_room
        assert all(extent.waiters == 0 for extent in lab.cache._table.values())
        await check_read(lab.cache, info("other"), 0)

    run(body, budget_blocks=4)


def test_a_reader_takes_one_block_where_its_unit_finds_no_room() -> None:
    async def body(lab: Lab) -> None:
        await check_read(lab.cache, info(), 0, 64)
        assert lab.source.asked == [("m/1/x", 0, 1, False)]

    run(body, budget_blocks=4)


async def test_a_budget_below_one_block_is_refused_at_once() -> None:
    async with trio.open_nursery() as nursery:
        with pytest.raises(ValueError, match="block"):
            BlockCache(budget_bytes=B - 1, fetch=Source().fetch, connections=Connections(most=4), nursery=nursery)


def test_an_extent_knows_its_blocks() -> None:
    assert Extent(info(blocks=3, tail=1), range(2, 9)).blocks == range(2, 4)


# random schedules

READS = ("read", "cancelled read", "prefetch", "pushed prefetch")
actions = st.sampled_from([*READS, "read past", "read to end", "abandon", "drop idle", "fail", "break", "wait"])
pauses = st.sampled_from([0, 0.5, 1, 3])
steps = st.tuples(actions, st.integers(0, 2), st.integers(0, 11), st.integers(1, 8), pauses)


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 10), st.sampled_from([1, 2, 4, 1000]), st.lists(steps))
def test_any_schedule_keeps_the_budget_and_serves_every_reader(
    budget_blocks: int, connections: int, schedule: list[tuple[str, int, int, int, float]]
) -> None:
    async def body(lab: Lab) -> None:
        for action, which, index, unit, pause_s in schedule:
            lab.source.delay_s = pause_s
            await act(lab, action, info(f"file{which}", blocks=11, tail=1), index, unit)
            check_cache(lab.cache)

    run(body, budget_blocks=budget_blocks, connections=connections)


async def act(lab: Lab, action: str, file: ObjectInfo, index: int, unit: int) -> None:
    """Take one step of a schedule."""
    match action:
        case "read":
            lab.nursery.start_soon(read_or_fail, lab.cache, file, index, unit)
        case "cancelled read":
            lab.nursery.start_soon(give_up, lab.source.delay_s, read_or_fail, lab.cache, file, index, unit)
        case "prefetch":
            lab.cache.prefetch(file, range(index, block_count(file.size, block_bytes=B)), unit)
        case "pushed prefetch":
            landed = partial(push, lab, unit)
            lab.cache.prefetch(file, range(index, block_count(file.size, block_bytes=B)), unit, landed)
        case "read past":  # also what a push holds
            pass_by(lab, file, index)
        case "read to end":
            lab.cache.read_to_end(file, index)
        case "drop idle":
            lab.cache.drop_idle()
        case "abandon":
            lab.cache.abandon(file)
        case "wait":
            await trio.sleep(lab.source.delay_s)
        case _:
            lab.source.fails.append(StoreUnavailableError("away") if action == "fail" else ZeroDivisionError("a bug"))


def pass_by(lab: Lab, file: ObjectInfo, index: int) -> None:
    """Have what has landed be shed, as a reader does who has come past it."""
    extent = lab.cache.landed(file, index)
    if extent is not None and lab.cache.hold(extent):
        lab.cache.shed(extent, [index for index in extent.blocks if index % 2])


def push(lab: Lab, number: int, extent: Extent) -> None:
    """Hold what has landed for a while, as a push does; then let it go whole, or but for some blocks of it."""
    if not lab.cache.hold(extent):
        return

    async def end() -> None:
        await trio.sleep(number / 2)
        if number % 3:
            lab.cache.shed(extent, [index for index in extent.blocks if index % 3 == number % 3])
        else:
            lab.cache.unhold(extent)
        check_cache(lab.cache)

    lab.pushes.start_soon(end)


async def read_or_fail(cache: BlockCache, file: ObjectInfo, index: int, unit: int) -> None:
    with suppress(ModelfsError):
        await check_read(cache, file, index, unit)


async def give_up(after_s: float, read: Callable[..., Awaitable[None]], *arguments: Any) -> None:
    with trio.move_on_after(after_s):
        await read(*arguments)
