"""View: one model that is listed alone, between the listings of all and beside them."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import trio
import trio.testing
from stores.memory_store import MemoryStore

from modelfs import tree as trees
from modelfs.blocks import ObjectInfo
from modelfs.errors import StoreRefusedError
from modelfs.store import Page, RetryPolicy
from modelfs.tree import Difference
from modelfs.view import View

PATIENCE_S = 60  # of real time, against hanging
POLICY = RetryPolicy(deadline_s=30, first_pause_s=0.001, longest_pause_s=0.002)


def view_of(store: MemoryStore, settle_s: float = 0.0) -> View:
    return View(store, policy=POLICY, limiter=trio.CapacityLimiter(2), show_hidden=False, settle_s=settle_s)


def filled(*keys: str) -> MemoryStore:
    store = MemoryStore()
    for key in keys:
        store.put(key, key.encode())
    return store


def shown(view: View) -> set[str]:
    return set(trees.files(view.tree))


class Held:
    """Holds the listings of a store that ``when`` chooses by their folder, after they have looked at what is there."""

    def __init__(self, store: MemoryStore, when: Callable[[str], bool]) -> None:
        self.has_come = threading.Event()
        self.may_go = threading.Event()
        self._store = store
        self._when = when
        self._list_page = store.list_page
        store.list_page = self._list  # type: ignore[method-assign]  # this one's alone

    def _list(self, token: str | None, folder: str = "") -> Page:
        page = self._list_page(token, folder)
        if self._when(folder) and not self.has_come.is_set():
            self.has_come.set()
            assert self.may_go.wait(PATIENCE_S)
        return page


@contextmanager
def held(store: MemoryStore, folder: str) -> Iterator[Held]:
    """Hold the next listing of ``folder`` until the end of the block at the latest."""
    holding = Held(store, folder.__eq__)
    try:
        yield holding
    finally:
        holding.may_go.set()


async def come(holding: Held) -> None:
    assert await trio.to_thread.run_sync(holding.has_come.wait, PATIENCE_S)


async def test_a_model_is_listed_alone_and_what_is_new_of_it_is_shown() -> None:
    store = filled("m/1/x", "m-2/1/x", "n/1/x")
    view = view_of(store)
    await view.refresh()
    for key in ("m/2/x", "m-2/2/x", "n/2/x"):
        store.put(key, b"new")
    assert await view.refresh_model("m") == [Difference("", ()), Difference("m", ("2",))]
    assert shown(view) == {"m/1/x", "m/2/x", "m-2/1/x", "n/1/x"}
    assert store.folders == ["", "m/"]
    store.put("brand/1/x", b"new")
    assert await view.refresh_model("brand") == [Difference("", ("brand",))]
    assert await view.refresh_model("brand") == []
    assert await view.refresh_model("absent") == []
    found = sorted(await view.refresh())
    assert found == [Difference("", ()), Difference("m-2", ("2",)), Difference("n", ("2",))]


async def test_r3_a_model_that_is_listed_alone_withdraws_nothing_and_is_no_witness() -> None:
    store = filled("m/1/x", "m/2/x", "n/1/x")
    view = view_of(store)
    await view.refresh()
    store.delete("m/1/x")
    for _ in range(3):
        await view.refresh_model("m")
    assert "m/1/x" in shown(view)
    await view.refresh()
    await view.refresh_model("m")
    assert "m/1/x" in shown(view)
    await view.refresh()
    assert shown(view) == {"m/2/x", "n/1/x"}


async def test_r8_times_move_as_if_all_had_been_listed() -> None:
    store = filled("m/1/x", "m/2/x", "n/1/x")
    view = view_of(store)
    await view.refresh()
    before = view.tree
    store.put("m/1/x", b"older", mtime_ns=5)
    await view.refresh_model("m")
    moved = {
        path
        for path in ("m/1/x", "m/1", "m", "m/2", "m/2/x", "n", "n/1/x")
        if times(view, path) != time_in(before, path)
    }
    assert moved == {"m/1/x", "m/1", "m"}
    tree = view.tree
    await view.refresh()
    assert view.tree.root is tree.root


def times(view: View, path: str) -> int:
    return time_in(view.tree, path)


def time_in(tree: trees.Tree, path: str) -> int:
    node = tree.find(path)
    assert node is not None
    return node.mtime_ns


async def test_a_model_that_cannot_be_listed_changes_nothing() -> None:
    store = filled("m/1/x")
    view = view_of(store)
    await view.refresh()
    tree = view.tree

    def refuse(_kind: str, _info: ObjectInfo | None) -> None:
        raise StoreRefusedError("no")

    store.fail = refuse
    with pytest.raises(StoreRefusedError):
        await view.refresh_model("m")
    assert view.tree is tree
    assert view.health().error == ""


async def test_a_listing_of_all_that_began_before_a_model_was_listed_alone_shows_nothing_older_of_it() -> None:
    store = filled("m/1/x", "n/1/x")
    view = view_of(store)
    await view.refresh()
    with held(store, "") as holding:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(view.refresh)
            await come(holding)  # it has seen what was there
            store.put("m/1/x", b"new")
            store.put("m/2/x", b"two")
            store.put("n/1/x", b"new")
            await view.refresh_model("m")
            new = trees.files(view.tree)
            assert new["m/1/x"].size == 3
            holding.may_go.set()
        after = trees.files(view.tree)
    assert after == new
    assert store.folders == ["", "", "m/", "m/"]  # once more with the listing of all
    await view.refresh()
    assert trees.files(view.tree)["n/1/x"].size == 3


async def test_a_model_that_cannot_be_listed_once_more_stays_as_it_was_listed_alone() -> None:
    store = filled("m/1/x", "n/1/x")
    view = view_of(store)
    await view.refresh()
    with held(store, "") as holding:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(view.refresh)
            await come(holding)
            store.put("m/1/x", b"new")
            await view.refresh_model("m")

            def refuse(_kind: str, _info: ObjectInfo | None) -> None:
                if store.folders[-1]:
                    raise StoreRefusedError("no")

            store.fail = refuse
            holding.may_go.set()
    assert trees.files(view.tree)["m/1/x"].size == 3
    assert view.health().listings == 2


async def test_a_model_that_was_being_listed_when_all_were_taken_is_listed_again() -> None:
    store = filled("m/1/x")
    view = view_of(store)
    await view.refresh()
    with held(store, "m/") as holding:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(view.refresh_model, "m")
            await come(holding)  # it has seen what was there
            store.put("m/1/x", b"new")
            await view.refresh()
            assert trees.files(view.tree)["m/1/x"].size == 3
            holding.may_go.set()
        assert trees.files(view.tree)["m/1/x"].size == 3
    assert store.folders == ["", "m/", "", "m/"]


async def test_the_folder_marker_that_only_a_listing_of_all_tells_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Azure's, whose name has no slash at its end."""

    def without_marker(token: str | None, folder: str = "") -> Page:
        page = list_page(token, folder)
        return Page([info for info in page.objects if not folder or info.key != folder], page.next_token)

    store = filled("m/", "n/1/x")
    view = view_of(store)
    await view.refresh()
    list_page = store.list_page
    monkeypatch.setattr(store, "list_page", without_marker)
    for _ in range(3):
        with held(store, "") as holding:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(view.refresh)
                await come(holding)
                await view.refresh_model("m")
                holding.may_go.set()
        assert view.tree.find("m") is not None


async def test_r11_a_model_that_is_listed_alone_settles_by_itself() -> None:
    store = filled("n/1/model.onnx")
    view = view_of(store, settle_s=1e-6)
    await view.refresh()
    await view.refresh()
    assert shown(view) == {"n/1/model.onnx"}
    for name in "mn":
        store.put(f"{name}/2/model.onnx", b"two")
    await view.refresh_model("m")
    assert [each.folder for each in view.pending] == ["m/2"]
    assert shown(view) == {"n/1/model.onnx"}
    await view.refresh_model("m")
    assert shown(view) == {"n/1/model.onnx", "m/2/model.onnx"}
    assert view.pending == ()


def test_what_was_found_in_a_model_alone_is_listed_when_it_has_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ignore(_differences: list[Difference]) -> None:
        await trio.lowlevel.checkpoint()

    async def body() -> None:
        view = view_of(MemoryStore())
        times: list[tuple[float, bool]] = []

        async def refresh(*, is_early: bool) -> list[Difference]:
            times.append((trio.current_time(), is_early))
            await trio.lowlevel.checkpoint()
            return []

        monkeypatch.setattr(view, "refresh", refresh)
        began_s = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(view.keep_fresh, 1000, ignore)
            await trio.sleep(100)
            view._settles_s = trio.current_time() + 40
            view._hurry()
            await trio.sleep(39.9)
            assert times == []
            await trio.sleep(0.2)
            assert times == [(began_s + 140, True)]
            view._settles_s = None
            await trio.sleep(500)
            assert len(times) == 1
            nursery.cancel_scope.cancel()

    trio.run(body, clock=trio.testing.MockClock(autojump_threshold=0))
