"""View: the last good tree, whatever the store does, and when it is listed again."""

import threading
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
import trio
import trio.testing
from stores.memory_store import MemoryStore

from modelfs import growing, showing
from modelfs import view as views
from modelfs.blocks import ObjectInfo
from modelfs.errors import (
    AccessRefusedError,
    ModelfsError,
    ObjectNotFoundError,
    StoreRefusedError,
    StoreUnavailableError,
)
from modelfs.journal import Shown
from modelfs.store import RetryPolicy
from modelfs.tree import Difference, Tree
from modelfs.view import View

PATIENCE_S = 60  # of real time, against hanging
POLICY = RetryPolicy(deadline_s=30, first_pause_s=0.001, longest_pause_s=0.002)


def view_of(store: MemoryStore, policy: RetryPolicy = POLICY) -> View:
    return View(store, policy=policy, limiter=trio.CapacityLimiter(2), show_hidden=False)


def filled(*keys: str, page_size: int = 1000) -> MemoryStore:
    store = MemoryStore(page_size=page_size)
    for key in keys:
        store.put(key, key.encode())
    return store


class Failing:
    """Makes a store's requests fail: the ``nth`` page from now (0 is the next), ``times`` times in a row."""

    def __init__(self, error: ModelfsError, *, nth: int = 0, times: int = 10**9) -> None:
        self.error = error
        self.nth = nth
        self.times = times
        self.pages = 0

    def __call__(self, kind: str, info: ObjectInfo | None) -> None:
        assert (kind, info) == ("list", None)
        page, self.pages = self.pages, self.pages + 1
        if page >= self.nth and self.times:
            self.times -= 1
            raise self.error


async def test_a_refresh_shows_what_is_stored_and_tells_what_differs() -> None:
    store = filled("a/1/x", "b/1/x")
    view = view_of(store)
    assert await view.refresh() == [Difference("", ("a", "b"))]
    store.put("a/1/x", b"new")
    assert await view.refresh() == [Difference("", ()), Difference("a", ()), Difference("a/1", ("x",))]
    assert await view.refresh() == []


async def test_r3_an_early_refresh_is_no_witness_of_what_is_gone() -> None:
    store = filled("m/1/x", "n/1/x")
    view = view_of(store)
    await view.refresh()
    store.delete("n/1/x")
    for is_early in (True, True, False, True, True):
        await view.refresh(is_early=is_early)
        assert set(view.tree.root.children) == {"m", "n"}
    await view.refresh()
    assert set(view.tree.root.children) == {"m"}


def test_what_the_last_worker_did_not_tell_the_kernel_is_told_before_anything_is_listed() -> None:
    async def body(nursery: trio.Nursery) -> None:
        view = view_of(filled("m/1/x"))
        told: list[list[Difference]] = []
        untold = [Difference("m", ("1",))]

        async def tell(differences: list[Difference]) -> None:
            told.append(differences)
            await trio.lowlevel.checkpoint()

        view.take_over(Shown(growing.build([ObjectInfo("m/1/x", 5, "v", 0)]), 0.0, untold))
        nursery.start_soon(view.keep_fresh, 1000, tell)
        await trio.sleep(views.EARLIEST_S / 2)
        assert (told, view.health().listings) == ([untold], 0)

    in_virtual_time(body)


async def test_a_refresh_that_finds_nothing_new_keeps_the_very_nodes() -> None:
    view = view_of(filled("a/1/x"))
    await view.refresh()
    root = view.tree.root
    await view.refresh()
    assert view.tree.root is root


@pytest.mark.parametrize(
    "error",
    [StoreRefusedError("no"), AccessRefusedError("no"), ObjectNotFoundError("no"), ModelfsError("no")],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("page", [0, 1, 2])
async def test_a_listing_that_fails_on_any_page_changes_nothing(error: ModelfsError, page: int) -> None:
    store = filled("a", "b", "c", "d", "e", page_size=2)
    view = view_of(store)
    await view.refresh()
    tree = view.tree
    for key in "abcde":
        store.delete(key)
    store.put("f", b"")
    for _ in range(3):  # three failures are not two complete listings
        for number in range(6):
            store.put(f"g{number}", b"")
        store.fail = Failing(error, nth=page)
        with pytest.raises(type(error)):
            await view.refresh()
        assert view.tree is tree
    store.fail = None
    await view.refresh()
    assert {"a", "b", "c", "d", "e", "f", "g0"} <= set(view.tree.root.children)
    await view.refresh()
    assert "a" not in view.tree.root.children


async def test_a_page_that_fails_and_recovers_is_asked_for_again_without_starting_over() -> None:
    store = filled("a", "b", "c", "d", "e", page_size=2)
    store.fail = Failing(StoreUnavailableError("away"), nth=1, times=3)
    view = view_of(store)
    await view.refresh()
    assert set(view.tree.root.children) == set("abcde")
    assert store.listings == 1
    assert store.fail.pages == 3 + 3


async def test_a_store_that_stays_away_is_given_up_at_the_deadline() -> None:
    store = filled("a")
    view = view_of(store)
    await view.refresh()
    tree = view.tree
    store.fail = Failing(StoreUnavailableError("away"))
    away = view_of(store, RetryPolicy(deadline_s=0.05, first_pause_s=0.001))
    with trio.fail_after(PATIENCE_S), pytest.raises(StoreUnavailableError):
        await away.refresh()
    assert view.tree is tree


async def test_a_deleted_key_goes_with_the_second_listing_that_lacks_it() -> None:
    store = filled("a", "b")
    view = view_of(store)
    await view.refresh()
    store.delete("a")
    assert await view.refresh() == []
    assert set(view.tree.root.children) == {"a", "b"}
    assert await view.refresh() == [Difference("", ("a",))]


async def test_a_key_put_back_within_the_window_never_goes() -> None:
    store = filled("a", "b")
    view = view_of(store)
    await view.refresh()
    info = view.tree.find("a")
    for _ in range(3):
        store.delete("a")
        await view.refresh()
        store.put("a", b"a")
        await view.refresh()
        assert view.tree.find("a") is info


async def test_trees_are_built_beside_the_thread_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    built_in: list[threading.Thread] = []
    build = growing.build

    def noting(*arguments: Any, **keywords: Any) -> Tree:
        built_in.append(threading.current_thread())
        return build(*arguments, **keywords)

    monkeypatch.setattr("modelfs.showing.growing.build", noting)
    await view_of(filled("a")).refresh()
    assert built_in
    assert threading.current_thread() not in built_in


# keeping fresh. The listings themselves are replaced, because threads do not run in virtual time.


class Keeping(NamedTuple):
    """A view that is kept fresh in virtual time: ``times`` of its listings, ``answers`` to the next ones."""

    view: View
    times: list[float]
    answers: list[BaseException | list[Difference]]
    told: list[list[Difference]]
    early: list[bool]


async def keep(
    monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery, *, period_s: float, listing_s: float = 0.0
) -> Keeping:
    """Start ``keep_fresh`` with a refresh that takes ``listing_s`` and answers from a list, else nothing new."""
    keeping = Keeping(view_of(MemoryStore()), [], [], [], [])

    async def refresh(*, is_early: bool) -> list[Difference]:
        keeping.times.append(trio.current_time())
        keeping.early.append(is_early)
        await trio.sleep(listing_s)
        answer = keeping.answers.pop(0) if keeping.answers else []
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def tell(differences: list[Difference]) -> None:
        keeping.told.append(differences)
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(keeping.view, "refresh", refresh)
    nursery.start_soon(keeping.view.keep_fresh, period_s, tell)
    return keeping


def in_virtual_time(body: Callable[[trio.Nursery], Awaitable[None]]) -> None:
    """Run ``body`` with a nursery that is cancelled behind it."""

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await body(nursery)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def gaps(times: list[float]) -> list[float]:
    return [after - before for before, after in pairwise(times)]


def test_listings_come_every_period_give_or_take_a_tenth(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(nursery: trio.Nursery) -> None:
        keeping = await keep(monkeypatch, nursery, period_s=15)
        await trio.sleep(15 * 200)
        assert all(13.5 <= gap <= 16.5 for gap in gaps(keeping.times))
        assert max(gaps(keeping.times)) - min(gaps(keeping.times)) > 1  # not in step with others
        assert not keeping.told

    in_virtual_time(body)


def test_a_refresh_that_is_asked_for_comes_soon_but_never_twice_in_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(nursery: trio.Nursery) -> None:
        keeping = await keep(monkeypatch, nursery, period_s=1000)
        await trio.sleep(5.5)
        for _ in range(100):
            keeping.view.ask_for_refresh()
            await trio.sleep(0.1)
        assert keeping.times[0] - 5.5 <= 1
        assert 9 <= len(keeping.times) <= 11
        assert all(gap >= 1 for gap in gaps(keeping.times))
        assert all(keeping.early)  # they withdraw nothing
        seen = len(keeping.times)
        await trio.sleep(500)
        assert len(keeping.times) <= seen + 1
        await trio.sleep(1100)
        assert not keeping.early[-1]

    in_virtual_time(body)


def test_a_refresh_asked_for_while_one_runs_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(nursery: trio.Nursery) -> None:
        keeping = await keep(monkeypatch, nursery, period_s=1000, listing_s=5)
        await trio.sleep(2)
        keeping.view.ask_for_refresh()
        await trio.sleep(3)
        assert len(keeping.times) == 1
        keeping.view.ask_for_refresh()  # what was listed may be older than what is asked for
        await trio.sleep(10)
        assert len(keeping.times) == 2

    in_virtual_time(body)


def test_round_that_is_asked_for_begins_after_the_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(nursery: trio.Nursery) -> None:
        keeping = await keep(monkeypatch, nursery, period_s=1000, listing_s=5)
        keeping.answers.extend(
            [[], [Difference("", ("n",)), Difference("a", ("b", "c"))], StoreUnavailableError("away")]
        )
        first = keeping.view.ask_for_refresh()
        await trio.sleep(2)
        second = keeping.view.ask_for_refresh()  # while the first is listed, which may have missed what is asked for
        assert (keeping.view.round(first), len(keeping.times)) == (None, 1)
        await trio.sleep(6)
        assert keeping.view.round(first) == views.Round(first, "")
        assert keeping.view.round(second) is None
        await trio.sleep(6)
        assert keeping.view.round(second) == views.Round(second, "", ("n", "a/b", "a/c"))
        third = keeping.view.ask_for_refresh()
        await trio.sleep(7)
        assert keeping.view.round(third) == views.Round(third, "away")

    in_virtual_time(body)


def test_what_is_asked_for_in_between_moves_no_regular_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(nursery: trio.Nursery) -> None:
        keeping = await keep(monkeypatch, nursery, period_s=15)
        for _ in range(200):  # an upload that never ends
            keeping.view.ask_for_refresh()
            await trio.sleep(1)
        regular = [at for at, early in zip(keeping.times, keeping.early, strict=True) if not early]
        assert len(regular) >= 200 // 16.5
        assert all(13.5 <= gap <= 16.5 + views.EARLIEST_S for gap in gaps(regular))

    in_virtual_time(body)


def test_round_ends_when_the_kernel_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(nursery: trio.Nursery) -> None:
        keeping = await keep(monkeypatch, nursery, period_s=10**6)
        view = view_of(MemoryStore())
        monkeypatch.setattr(view, "refresh", keeping.view.refresh)
        keeping.answers.append([Difference("a", ("b",))])

        async def slow(_differences: list[Difference]) -> None:
            assert view.round(1) is None
            await trio.sleep(50)
            assert view.round(1) is None

        nursery.start_soon(view.keep_fresh, 10, slow)
        await trio.sleep(100)
        assert view.round(1) == views.Round(1, "", ("a/b",))

    in_virtual_time(body)


def test_what_settles_is_listed_at_that_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(nursery: trio.Nursery) -> None:
        settles: list[float | None] = [trio.current_time() + 40, None]
        monkeypatch.setattr(View, "settles_s", property(lambda _self: settles[0]))
        began = trio.current_time()
        keeping = await keep(monkeypatch, nursery, period_s=1000)
        await trio.sleep(39.9)
        assert keeping.times == []
        await trio.sleep(0.2)
        assert (keeping.times, keeping.early) == ([began + 40], [True])
        settles[0] = None
        await trio.sleep(500)
        assert len(keeping.times) <= 2

    in_virtual_time(body)


def test_a_store_that_fails_is_not_listed_more_often_because_something_settles(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(nursery: trio.Nursery) -> None:
        monkeypatch.setattr(View, "settles_s", property(lambda _self: 0.0))
        keeping = await keep(monkeypatch, nursery, period_s=100)
        keeping.answers.extend([StoreUnavailableError("away")] * 99)
        await trio.sleep(1000)
        assert len(keeping.times) <= 13

    in_virtual_time(body)


def test_what_changed_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(nursery: trio.Nursery) -> None:
        keeping = await keep(monkeypatch, nursery, period_s=15)
        keeping.answers.extend([[], [Difference("a", ("b",))], []])
        await trio.sleep(100)
        assert keeping.told == [[Difference("a", ("b",))]]

    in_virtual_time(body)


@pytest.mark.parametrize("error", [StoreUnavailableError("away"), KeyError("a bug")], ids=["ours", "unexpected"])
def test_failing_listings_are_told_by_health_and_never_end_the_refreshing(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelfs.view.time.time", lambda: 1_700_000_000.0 + trio.current_time())

    async def body(nursery: trio.Nursery) -> None:
        start = trio.current_time()
        keeping = await keep(monkeypatch, nursery, period_s=10)
        keeping.answers.extend([[], error, error, error])
        await trio.sleep(12)
        assert keeping.view.health().error == ""
        await trio.sleep(25)
        health = keeping.view.health()
        assert health.error
        assert health.failing_since == 1_700_000_000.0 + keeping.times[1]
        await trio.sleep(35)
        assert len(keeping.times) >= 5
        assert keeping.view.health().error == ""
        assert keeping.view.health().failing_since == 0
        assert keeping.times[0] > start

    in_virtual_time(body)


def test_an_unexpected_error_while_telling_what_changed_does_not_end_the_refreshing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def broken(_differences: list[Difference]) -> None:
        await trio.lowlevel.checkpoint()
        raise OSError("the kernel refuses")

    async def body(nursery: trio.Nursery) -> None:
        keeping = await keep(monkeypatch, nursery, period_s=10**6)
        keeping.answers.extend([[Difference("a", ("b",))]] * 9)
        nursery.start_soon(keeping.view.keep_fresh, 10, broken)
        await trio.sleep(100)
        assert len(keeping.times) > 5

    in_virtual_time(body)


async def test_health_tells_when_the_last_complete_listing_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelfs.view.time.time", lambda: 123.0)
    view = view_of(filled("a"))
    assert view.health() == views.Health(0, 0, 0.0, "", 0.0)
    await view.refresh()
    assert view.health() == views.Health(1, 1, 123.0, "", 0.0)


async def test_what_is_not_shown_is_told_once_and_told_again_when_it_comes_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = filled("a//b", "ok")
    view = view_of(store)
    for _ in range(3):
        await view.refresh()
    assert caplog.text.count("'a//b'") == 1
    store.delete("a//b")
    await view.refresh()
    await view.refresh()
    store.put("a//b", b"")
    await view.refresh()
    assert caplog.text.count("'a//b'") == 2


async def test_a_thousand_objects_that_are_not_shown_are_a_few_lines(caplog: pytest.LogCaptureFixture) -> None:
    await view_of(filled(*(f"a//{number}" for number in range(1000)))).refresh()
    assert len(caplog.records) == showing.LOGGED + 1
    assert "count=995" in caplog.text
