"""R14 and R23 at the handlers: a lookup in the root sees what was uploaded; no other name costs the store a thing."""

import errno
import json
import threading
from typing import cast

import pyfuse3
import pytest
import trio
import trio.testing
from operations_for_tests import NO_CONTEXT, Mounted, mounted
from pyfuse3 import FileNameT, InodeT, RequestContext
from stores.memory_store import MemoryStore

from modelfs.tree import Difference

LONG_S = 60.0  # of real time: nothing here may come near
LOADER, POLLER = 11, 12


class Asking:
    """Whoever asks: what of a RequestContext is looked at."""

    def __init__(self, pid: int) -> None:
        self.pid = pid


def by(thread: int) -> RequestContext:
    return cast("RequestContext", Asking(thread))


@pytest.fixture(autouse=True)
def _no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelfs.invalidations.pyfuse3.invalidate_entry", lambda *_arguments: None)
    monkeypatch.setattr("modelfs.invalidations.pyfuse3.invalidate_inode", lambda *_arguments, **_keywords: None)


def filled(*keys: str) -> MemoryStore:
    store = MemoryStore()
    for key in keys:
        store.put(key, key.encode(), mtime_ns=5)
    return store


async def lookup(mount: Mounted, name: str, thread: int = LOADER, parent: int = pyfuse3.ROOT_INODE) -> int:
    """Return the inode's number, or the errno negated."""
    try:
        found = await mount.operations.lookup(InodeT(parent), FileNameT(name.encode()), by(thread))
    except pyfuse3.FUSEError as error:
        return -error.errno
    return found.st_ino


async def names_in(mount: Mounted, number: int) -> set[str]:
    return {entry.name for entry in await mount.kernel.readdir(number)}


async def test_r14_a_lookup_in_the_root_shows_what_was_uploaded_just_before() -> None:
    store = filled("m/1/x", "n/1/x")
    async with mounted(store, look_s=LONG_S) as mount:
        store.put("m/2/x", b"two")
        store.put("n/2/x", b"two")
        model = await lookup(mount, "m")
        assert await names_in(mount, model) == {"1", "2"}
        store.put("brand-new/1/x", b"one")
        assert await names_in(mount, await lookup(mount, "brand-new")) == {"1"}
        assert store.folders == ["", "m/", "brand-new/"]
        assert await lookup(mount, "absent") == -errno.ENOENT


async def test_r23_names_in_a_model_are_answered_from_the_tree() -> None:
    store = filled("m/1/x")
    async with mounted(store, look_s=LONG_S) as mount:
        model = await lookup(mount, "m")
        store.folders.clear()
        for name in ("libtriton_x.so", "batchstrategy.so", "2", "__init__.py", "1"):
            mount.operations.looks._restraint._past.clear()  # type: ignore[union-attr]  # as a second later
            await lookup(mount, name, parent=model)
        assert store.folders == []


async def test_r22_a_poll_costs_the_store_nothing() -> None:
    store = filled("m/1/x", "n/1/x", "readme")
    async with mounted(store, look_s=LONG_S) as mount:
        for _ in range(60):
            await mount.operations.opendir(InodeT(pyfuse3.ROOT_INODE), by(POLLER))
            for entry in await mount.kernel.readdir_page(pyfuse3.ROOT_INODE, 0, 99):
                assert await lookup(mount, entry.name, POLLER) > 0
        assert store.folders == [""]


async def test_r14_what_is_not_whole_is_answered_from_the_old_view() -> None:
    store = filled("m/1/model.onnx", "m/config.pbtxt")
    async with mounted(store, look_s=LONG_S, settle_s=600.0) as mount:
        model = await lookup(mount, "m")
        store.put("m/2/model.onnx", b"two")
        store.put("brand-new/1/model.onnx", b"one")
        mount.operations.looks._restraint._past.clear()  # type: ignore[union-attr]  # as a second later
        assert await lookup(mount, "m") == model
        assert await names_in(mount, model) == {"1", "config.pbtxt"}
        assert await lookup(mount, "brand-new") == -errno.ENOENT
        assert [each.folder for each in mount.view.pending] == ["brand-new/1", "m/2"]


async def test_r14_what_is_sealed_is_seen() -> None:
    store = filled("m/1/model.onnx", "m/config.pbtxt")
    async with mounted(store, look_s=LONG_S, settle_s=600.0) as mount:
        for model, version in (("m", 2), ("brand-new", 1)):
            info = store.put(f"{model}/{version}/model.onnx", b"two")
            told = {"format": 1, "files": {"model.onnx": {"size": info.size, "version": info.version}}}
            store.put(f"{model}/{version}/.modelfs-seal.json", json.dumps(told).encode())
            assert str(version) in await names_in(mount, await lookup(mount, model))


async def test_what_changed_in_a_model_is_forgotten_by_the_kernel_before_the_lookup_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events: list[tuple[object, ...]] = []
    monkeypatch.setattr("modelfs.invalidations.pyfuse3.invalidate_entry", lambda *arguments: events.append(arguments))
    store = filled("m/1/x", "m/config.pbtxt", "n/1/x")
    async with mounted(store, look_s=LONG_S) as mount:
        model = (await mount.kernel.lookup("m")).st_ino
        mount.operations.looks._restraint._past.clear()  # type: ignore[union-attr]  # as a second later
        store.put("m/config.pbtxt", b"new")
        await lookup(mount, "m")
        events.append(("answered",))
        with trio.fail_after(60):
            while mount.operations.looks._running:  # type: ignore[union-attr]  # noqa: ASYNC110  no event for a test
                await trio.sleep(0.001)
        assert events == [(model, b"config.pbtxt"), ("answered",)]


async def test_names_in_the_root_are_invalidated_when_no_lookup_waits_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel would have whoever invalidates wait for the lookup, and the lookup for the one that lists."""
    events: list[str] = []
    monkeypatch.setattr(
        "modelfs.invalidations.pyfuse3.invalidate_entry", lambda *_arguments: events.append("forgotten")
    )
    store, may_list, is_asked = filled("m/1/x", "n/1/x"), threading.Event(), threading.Event()
    async with mounted(store, look_s=LONG_S) as mount, trio.open_nursery() as nursery:
        await mount.kernel.readdir(pyfuse3.ROOT_INODE)

        def wait(_kind: str, _info: object) -> None:
            is_asked.set()
            may_list.wait(LONG_S)

        async def look_up() -> None:
            await lookup(mount, "m")
            events.append("answered")

        store.fail = wait
        nursery.start_soon(look_up)
        await trio.to_thread.run_sync(is_asked.wait, LONG_S)
        nursery.start_soon(mount.operations.invalidate, [Difference("", ("n",))])
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert events == []
        may_list.set()
    assert sorted(events) == ["answered", "forgotten"]


async def test_a_context_of_nobody_is_one_more_thread() -> None:
    async with mounted(filled("m/1/x"), look_s=LONG_S) as mount:
        assert (await mount.operations.lookup(InodeT(1), FileNameT(b"m"), NO_CONTEXT)).st_ino
