"""BlockCache: which fetch gets a connection next, and what becomes of what was pushed."""

import pytest
import trio
import trio.testing
from cache_for_tests import B, Lab, check_read, identity, info, run
from cache_invariants import check_cache

from modelfs.errors import StoreUnavailableError
from modelfs.extents import Extent

# tickets


def test_what_is_asked_for_early_is_asked_for_in_order() -> None:
    async def body(lab: Lab) -> None:
        lab.cache.prefetch(info("a"), range(12), 1)
        lab.cache.prefetch(info("b"), range(8), 2)
        await trio.sleep(100)
        for key, order in (("a", list(range(12))), ("b", [0, 2, 4, 6])):
            assert [start for asked, start, _, _ in lab.source.begun if asked == key] == order

    run(body, budget_blocks=40, connections=1)


def test_a_prefetch_that_a_reader_comes_to_goes_before_those_in_front_of_it() -> None:
    async def body(lab: Lab) -> None:
        lab.cache.prefetch(info(), range(12), 1)
        await trio.testing.wait_all_tasks_blocked()
        landed: list[int] = []
        for index in range(12):
            lab.cache._table[identity(info()), index].on_landed = lambda each: landed.append(each.blocks.start)
        await check_read(lab.cache, info(), 9)
        assert landed == [0, 9]  # one at a time; the first was on its way
        assert len(lab.source.asked) == 12  # it was not asked for anew

    run(body, connections=1)


def test_what_waits_for_a_connection_when_its_file_is_closed_is_never_asked_for() -> None:
    async def body(lab: Lab) -> None:
        lab.cache.prefetch(info("a"), range(12), 1)
        await trio.sleep(0.5)
        lab.cache.abandon(info("a"))
        check_cache(lab.cache)
        assert len(lab.cache._loading) <= 2
        await trio.sleep(100)
        assert lab.cache.statistics().fetched_bytes <= 2 * B
        await check_read(lab.cache, info("a"), 11)  # and can be asked for again

    run(body, connections=2)


def test_what_is_waited_for_is_fetched_also_when_its_file_is_closed() -> None:
    async def body(lab: Lab) -> None:
        for index in range(6):
            lab.nursery.start_soon(check_read, lab.cache, info("a"), index)
        await trio.sleep(0.5)
        lab.cache.abandon(info("a"))

    run(body, connections=1)


def test_what_was_given_up_leaves_its_place_to_others_at_once() -> None:
    async def body(lab: Lab) -> None:
        lab.source.delay_s = 50
        lab.cache.prefetch(info("a"), range(12), 1)
        await trio.testing.wait_all_tasks_blocked()
        lab.cache.abandon(info("a"))
        assert lab.cache.prefetch(info("b"), range(10), 1)

    run(body, connections=2)


# what is pushed


def test_what_lands_is_told_after_those_who_wait_for_it_can_read_it() -> None:
    async def body(lab: Lab) -> None:
        seen: list[bool] = []
        await check_read(lab.cache, info(), 0, 4, lambda extent: seen.append(extent.landed.is_set()))
        assert seen == [True]

    run(body)


def test_what_fails_is_told_to_nobody() -> None:
    async def body(lab: Lab) -> None:
        lab.source.fails.append(StoreUnavailableError("away"))
        with pytest.raises(StoreUnavailableError):
            await lab.cache.read(info(), 0, 4, lambda extent: pytest.fail(f"{extent.blocks} did not land"))

    run(body)


def test_what_is_held_is_not_evicted_until_it_is_let_go() -> None:
    async def body(lab: Lab) -> None:
        held: list[Extent] = []
        lab.cache.prefetch(info("a"), range(12), 12, held.append)
        await trio.sleep(2)
        assert lab.cache.hold(held[0])
        lab.cache.read_to_end(info("a"), 0)
        lab.cache.abandon(info("a"))
        lab.cache.drop_idle()
        assert not lab.cache.prefetch(info("b"), range(12), 12)
        assert lab.cache.start(info("a"), 3, 1) is held[0]
        lab.cache.unhold(held[0])
        assert lab.cache.prefetch(info("b"), range(12), 12)

    run(body)


def test_what_has_left_cannot_be_held() -> None:
    async def body(lab: Lab) -> None:
        landed: list[Extent] = []
        lab.cache.prefetch(info("a"), range(12), 12, landed.append)
        await trio.sleep(2)
        lab.cache.drop_idle()
        assert not lab.cache.hold(landed[0])

    run(body)


def test_what_is_shed_leaves_the_blocks_that_are_kept_and_their_bytes() -> None:
    async def body(lab: Lab) -> None:
        landed: list[Extent] = []
        lab.cache.prefetch(info(blocks=11, tail=7), range(4, 12), 16, landed.append)
        await trio.sleep(2)
        assert lab.cache.hold(landed[0])
        lab.cache.shed(landed[0], [4, 9, 11])
        check_cache(lab.cache)
        assert lab.cache.statistics().used_bytes == 2 * B + 7
        for index in (4, 9, 11):
            await check_read(lab.cache, info(blocks=11, tail=7), index)
        assert len(lab.source.asked) == 1

    run(body)


def test_what_two_hold_is_shed_once_and_the_cache_serves_on() -> None:
    async def body(lab: Lab) -> None:
        landed: list[Extent] = []
        lab.cache.prefetch(info("a"), range(8), 8, landed.append)
        await trio.sleep(2)
        assert lab.cache.hold(landed[0])  # a push
        assert lab.cache.hold(landed[0])  # a reader that has passed what an earlier push had left to it
        lab.cache.shed(landed[0], [0, 4])
        lab.cache.shed(landed[0], [4])
        check_cache(lab.cache)
        for index in range(8):
            await check_read(lab.cache, info("a"), index)
        for name in ("b", "c"):
            for index in range(0, 12, 2):
                await check_read(lab.cache, info(name), index, 2)  # which has all else evicted
        check_cache(lab.cache)

    run(body)


def test_a_reader_that_waits_for_room_wakes_when_something_is_shed() -> None:
    async def body(lab: Lab) -> None:
        landed: list[Extent] = []
        lab.cache.prefetch(info("a"), range(3), 3, landed.append)
        await trio.sleep(2)
        assert lab.cache.hold(landed[0])
        lab.nursery.start_soon(check_read, lab.cache, info("b"), 0, 2)
        lab.nursery.start_soon(check_read, lab.cache, info("b"), 2, 2)
        await trio.testing.wait_all_tasks_blocked()
        assert lab.cache.statistics().waiting_for_room
        lab.cache.shed(landed[0], [0])

    run(body, budget_blocks=4)


def test_what_is_idle_is_dropped_when_nobody_waits_and_not_before() -> None:
    async def body(lab: Lab) -> None:
        for index in range(3):
            await check_read(lab.cache, info(), index)
        lab.nursery.start_soon(check_read, lab.cache, info(), 9)
        await trio.testing.wait_all_tasks_blocked()
        lab.cache.drop_idle()
        assert lab.cache.statistics().used_bytes == 4 * B  # somebody waits for a slow store
        await trio.sleep(5)
        lab.cache.prefetch(info("b"), range(4), 4)
        lab.cache.drop_idle()
        check_cache(lab.cache)
        assert lab.cache.statistics().used_bytes == 4 * B  # what is on its way

    run(body)


def test_a_bug_in_who_is_told_of_a_fetch_ends_no_mount(caplog: pytest.LogCaptureFixture) -> None:
    def told(_extent: Extent) -> None:
        raise ZeroDivisionError

    async def body(lab: Lab) -> None:
        await lab.cache.read(info(), 0, 1, told)
        await trio.sleep(1)
        await check_read(lab.cache, info(), 5)

    run(body)
    assert "unexpected error behind a fetch" in caplog.text
