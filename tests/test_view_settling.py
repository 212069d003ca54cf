"""View: what of a listing is shown when not all of it is whole, and what goes on after a restart."""

import json
from pathlib import Path

import pytest
import trio
from stores.memory_store import MemoryStore

from modelfs import tree as trees
from modelfs.blocks import ObjectInfo
from modelfs.errors import AccessRefusedError
from modelfs.remembered import Memory
from modelfs.store import RetryPolicy
from modelfs.tree import Tree
from modelfs.view import View

POLICY = RetryPolicy(deadline_s=30, first_pause_s=0.001, longest_pause_s=0.002)


def settling_view_of(store: MemoryStore, memory: Memory | None = None, settle_s: float = 1e-6) -> View:
    return View(
        store, policy=POLICY, limiter=trio.CapacityLimiter(2), show_hidden=False, settle_s=settle_s, memory=memory
    )


def files_of(view: View) -> set[str]:
    return set(trees.files(view.tree))


async def test_a_version_shows_with_the_listing_after_it_settled_and_its_config_is_read_once() -> None:
    store = MemoryStore()
    view = settling_view_of(store)
    await view.refresh()
    store.put("m/config.pbtxt", b'backend: "python"')
    store.put("m/1/weights", b"w")
    for _ in range(3):
        await view.refresh()
        assert files_of(view) == set()
    assert [each.folder for each in view.pending] == ["m", "m/1"]
    store.put("m/1/model.py", b"p")
    await view.refresh()
    assert files_of(view) == set()
    await view.refresh()
    assert files_of(view) == {"m/config.pbtxt", "m/1/weights", "m/1/model.py"}
    assert view.pending == ()
    assert [key for key, _, _ in store.reads] == ["m/config.pbtxt"]


async def test_a_seal_that_is_in_a_listing_shows_its_version_with_that_listing() -> None:
    store = MemoryStore()
    store.put("m/1/model.onnx", b"one", mtime_ns=5)
    store.put("m/config.pbtxt", b'backend: "onnxruntime"', mtime_ns=5)
    view = settling_view_of(store, settle_s=600)
    await view.refresh()
    info = store.put("m/2/model.onnx", b"two")
    told = {"format": 1, "files": {"model.onnx": {"size": info.size, "version": info.version}}}
    store.put("m/2/.modelfs-seal.json", json.dumps(told).encode())
    await view.refresh()
    assert files_of(view) == {"m/config.pbtxt", "m/1/model.onnx", "m/2/model.onnx"}


async def test_what_is_not_whole_is_logged_once_and_what_only_settles_is_not(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    view = settling_view_of(store)
    await view.refresh()
    store.put("m/config.pbtxt", b'backend: "python"')
    store.put("m/1/weights", b"w")
    await view.refresh()
    assert caplog.records == []
    for _ in range(3):
        await view.refresh()
    assert caplog.text.count("model.py is missing") == 1


async def test_a_tree_is_kept_before_it_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    store.put("m/1/x", b"x")
    memory = Memory(str(tmp_path), repository="r", mountpoint="/m")
    view = settling_view_of(store, memory, settle_s=0)
    shown_while_keeping: list[Tree] = []
    keep_tree = memory.keep

    def noting(tree: Tree) -> None:
        shown_while_keeping.append(view.tree)
        keep_tree(tree)

    monkeypatch.setattr(memory, "keep", noting)
    await view.refresh()
    store.put("m/1/x", b"new")
    before = view.tree
    await view.refresh()
    assert shown_while_keeping == [trees.EMPTY, before]


async def test_r7_a_view_goes_on_with_the_times_of_the_view_before_it(tmp_path: Path) -> None:
    store = MemoryStore()
    store.put("m/1/x", b"x")
    times = []
    for number in range(4):
        view = settling_view_of(store, Memory(str(tmp_path), repository="r", mountpoint="/m"), settle_s=0)
        await view.refresh()
        node = view.tree.find("m/1/x")
        assert node is not None
        times.append(node.mtime_ns)
        store.put("m/1/x", f"{number}".encode(), mtime_ns=5)
    assert times == sorted(set(times))


async def test_what_was_shown_before_shows_at_once_after_a_restart_and_what_is_new_settles(tmp_path: Path) -> None:
    store = MemoryStore()
    store.put("m/1/model.onnx", b"x", mtime_ns=2**62)  # as young as can be
    for settle_s in (0, 600):
        view = settling_view_of(store, Memory(str(tmp_path), repository="r", mountpoint="/m"), settle_s=settle_s)
        await view.refresh()
        assert files_of(view) == {"m/1/model.onnx"}
        store.put("m/2/model.onnx", b"x", mtime_ns=2**62)


async def test_r11_a_version_waits_for_an_upload_below_it_and_shows_with_what_that_brings() -> None:
    store = MemoryStore()
    view = settling_view_of(store)
    await view.refresh()
    assert store.uploads_asked == [""]
    upload = store.begin_upload("m/1/model.onnx.data")
    store.put("m/config.pbtxt", b'backend: "onnxruntime"')
    store.put("m/1/model.onnx", b"o")
    for _ in range(3):
        await view.refresh()
        assert files_of(view) == set()
    assert "the upload of model.onnx.data" in {each.folder: each.reason for each in view.pending}["m/1"]
    assert view.settles_s is None
    store.end_upload(upload, b"data")
    await view.refresh()
    assert files_of(view) == set()
    await view.refresh()
    assert files_of(view) == {"m/config.pbtxt", "m/1/model.onnx", "m/1/model.onnx.data"}


async def test_r11_a_model_that_is_listed_alone_waits_for_an_upload_below_it_too() -> None:
    store = MemoryStore()
    view = settling_view_of(store)
    await view.refresh()
    upload = store.begin_upload("m/1/model.onnx.data")
    store.put("m/config.pbtxt", b'backend: "onnxruntime"')
    store.put("m/1/model.onnx", b"o")
    for _ in range(3):
        await view.refresh_model("m")
        assert files_of(view) == set()
    store.end_upload(upload, None)
    await view.refresh_model("m")
    assert files_of(view) == {"m/config.pbtxt", "m/1/model.onnx"}


async def test_r22_a_store_in_which_nothing_changes_is_not_asked_for_uploads() -> None:
    store = MemoryStore()
    for number in range(20):
        store.put(f"m{number}/1/model.onnx", b"o")
    view = settling_view_of(store)
    for _ in range(5):
        await view.refresh()
    await view.refresh_model("m1")
    assert store.uploads_asked == [""]
    store.put("m1/2/model.onnx", b"o")
    for _ in range(5):
        await view.refresh()
    assert store.uploads_asked == ["", "m1/"]


async def test_without_a_settling_time_nobody_asks_for_uploads() -> None:
    store = MemoryStore()
    view = settling_view_of(store, settle_s=0)
    store.begin_upload("m/1/x")
    store.put("m/1/model.onnx", b"o")
    await view.refresh()
    assert files_of(view) == {"m/1/model.onnx"}
    assert store.uploads_asked == []


async def test_a_store_that_refuses_to_tell_of_uploads_shows_what_has_settled() -> None:
    store = MemoryStore()

    def refuse(kind: str, _info: ObjectInfo | None) -> None:
        if kind == "uploads":
            raise AccessRefusedError("403")

    store.fail = refuse
    view = settling_view_of(store)
    await view.refresh()
    store.begin_upload("m/1/x")
    store.put("m/1/model.onnx", b"o")
    for _ in range(3):
        await view.refresh()
    assert files_of(view) == {"m/1/model.onnx"}
    assert store.uploads_asked == [""]
