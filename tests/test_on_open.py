"""Repositories that are listed model by model, when somebody looks into one: what still holds, and what it costs."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pyfuse3
import pytest
from operations_for_tests import Mounted, mounted
from pyfuse3 import InodeT
from stores.cloud_store import LevelledStore, S3Store
from stores.memory_store import MemoryStore

from modelfs.blocks import ObjectInfo
from modelfs.errors import ModelfsError, ObjectNotFoundError
from modelfs.journal import Journal
from modelfs.remembered import Memory
from modelfs.tree import Directory, File

MODELS = 30


@pytest.fixture
def pair() -> Iterator[list[int]]:
    """Yield two anonymous files, as the supervisor has them for a journal."""
    files = [os.memfd_create(name) for name in "ab"]
    yield files
    for file in files:
        os.close(file)


def filled(kind: type[LevelledStore] = LevelledStore) -> LevelledStore:
    store = kind(page_size=1000)
    for model in range(MODELS):
        for name in ("config.pbtxt", "1/model.onnx", "2/a/b"):
            store.put(f"m{model:02d}/{name}", f"{model} {name}".encode())
    store.put("readme", b"root")
    store.put("m00", b"hidden by the folder")
    store.requests = 0
    return store


def on_open(store: MemoryStore, **options: object) -> AbstractAsyncContextManager[Mounted]:
    return mounted(store, look_s=0.0, is_on_open=True, **options)


async def names(parts: Mounted, path: str = "") -> list[str]:
    number = InodeT(pyfuse3.ROOT_INODE) if not path else (await parts.kernel.lookup(path)).st_ino
    return sorted(entry.name for entry in await parts.kernel.readdir(number))


async def test_all_models_are_named_for_one_request_and_one_is_listed_when_it_is_looked_into() -> None:
    store = filled()
    async with on_open(store) as parts:
        assert await names(parts) == sorted([*(f"m{model:02d}" for model in range(MODELS)), "readme"])
        assert store.requests == 1
        assert parts.view.health().bare == MODELS
        for _ in range(2):
            assert await names(parts, "m07") == ["1", "2", "config.pbtxt"]
            assert await parts.kernel.read_whole("m07/1/model.onnx") == b"7 1/model.onnx"
        assert store.requests == 2
        assert parts.view.health().bare == MODELS - 1
        assert await parts.kernel.read_whole("readme") == b"root"


async def test_who_has_looked_into_all_has_seen_what_a_whole_listing_shows() -> None:
    async with on_open(filled()) as parts, mounted(filled()) as whole:
        for model in await names(parts):
            if model != "readme":
                await names(parts, model)
        for path in ("", "m00", "m07/2/a", "m29/1/model.onnx", "readme"):
            found, expected = (each.view.tree.find(path) for each in (parts, whole))
            assert isinstance(expected, File | Directory)
            assert found is not None
            if path:  # the root's own time has moved on with each model that was opened
                assert found.mtime_ns == expected.mtime_ns
            if isinstance(expected, Directory):
                assert isinstance(found, Directory)
                assert found.children.keys() == expected.children.keys()
            else:
                assert found == expected


async def test_a_refresh_lists_the_names_and_what_was_used_since_the_last() -> None:
    store = filled()
    async with on_open(store) as parts:
        for model in ("m01", "m02", "m03"):
            await names(parts, model)
        for used, expected in (((), 4), ((), 1), (("m02",), 2), (("m01", "m02", "m01"), 3), ((), 1)):
            for model in used:
                await names(parts, model)
            store.requests = 0
            await parts.view.refresh()
            assert store.requests == expected
        assert parts.view.tree.find("m03/2/a/b") is not None


async def test_changes_of_names_and_of_models_in_use_are_seen_with_a_refresh() -> None:
    store = filled()
    async with on_open(store) as parts:
        await names(parts, "m01")
        store.put("new/1/x", b"new")
        store.put("m01/3/x", b"more")
        store.put("m01/1/model.onnx", b"replaced")
        before = parts.view.tree.find("m01")
        await parts.view.refresh()
        assert await parts.kernel.read_whole("new/1/x") == b"new"
        assert await parts.kernel.read_whole("m01/3/x") == b"more"
        assert await parts.kernel.read_whole("m01/1/model.onnx") == b"replaced"
        after = parts.view.tree.find("m01")
        assert before is not None
        assert after is not None
        assert after.mtime_ns > before.mtime_ns


@pytest.mark.parametrize("is_used", [False, True])
async def test_a_model_that_vanished_goes_with_the_second_listing(is_used: bool) -> None:  # noqa: FBT001  parametrized
    store = filled()
    async with on_open(store) as parts:
        if is_used:
            await names(parts, "m05")
        for name in ("config.pbtxt", "1/model.onnx", "2/a/b"):
            store.delete(f"m05/{name}")
        await parts.view.refresh()
        assert "m05" in await names(parts)
        await parts.view.refresh()
        assert "m05" not in await names(parts)
        with pytest.raises(pyfuse3.FUSEError) as raised:
            await parts.kernel.lookup("m05/config.pbtxt")
        assert raised.value.errno == errno.ENOENT


async def test_a_file_that_a_folder_hid_is_there_when_the_folder_has_gone() -> None:
    store = filled()
    async with on_open(store) as parts:
        for name in ("config.pbtxt", "1/model.onnx", "2/a/b"):
            store.delete(f"m00/{name}")
        for _ in range(2):
            await parts.view.refresh()
        assert await parts.kernel.read_whole("m00") == b"hidden by the folder"


async def test_while_the_store_is_away_what_was_looked_into_stays_and_the_rest_is_an_error() -> None:
    store = filled()
    async with on_open(store) as parts:
        await names(parts, "m01")

        def refuse(_kind: str, _info: ObjectInfo | None) -> None:
            raise ObjectNotFoundError("no such bucket")

        store.fail = refuse
        with pytest.raises(ModelfsError):
            await parts.view.refresh()
        assert len(await names(parts)) == MODELS + 1
        assert await names(parts, "m01") == ["1", "2", "config.pbtxt"]
        with pytest.raises(pyfuse3.FUSEError):
            await names(parts, "m02")
        store.fail = None
        assert await names(parts, "m02") == ["1", "2", "config.pbtxt"]


async def test_a_model_that_is_old_shows_when_it_is_looked_into_and_one_that_is_young_settles() -> None:
    store = filled()
    store.put("m02/3/model.onnx", b"young", mtime_ns=2**62)
    async with on_open(store, settle_s=600.0) as parts:
        assert await names(parts, "m07") == ["1", "2", "config.pbtxt"]
        assert await names(parts, "m02") == []  # what has just gone is still answered
        assert "m02" not in await names(parts)
        assert {each.folder for each in parts.view.pending} == {"m02", "m02/1", "m02/2", "m02/3"}
        store.put("m07/3/model.onnx", b"new", mtime_ns=5)
        await parts.view.refresh()
        assert await names(parts, "m07") == ["1", "2", "config.pbtxt"]
        assert "m07/3" in {each.folder for each in parts.view.pending}


async def test_where_there_are_too_many_objects_models_are_listed_when_they_are_used() -> None:
    for most, bare in ((3 * MODELS + 2, 0), (3 * MODELS + 1, MODELS)):
        store = filled(S3Store)
        store.page_size = 10
        async with mounted(store, look_s=0.0, most_objects=most) as parts:
            assert parts.view.health().bare == bare
            for _ in range(3):
                await parts.view.refresh()
            assert parts.view.health().bare == bare
            assert len(await names(parts)) == MODELS + 1
            assert await parts.kernel.read_whole("m11/2/a/b") == b"11 2/a/b"


async def test_what_was_shown_before_a_restart_stays_with_its_times_until_it_is_listed_again(tmp_path: Path) -> None:
    store = filled()
    remembered: Callable[[], Memory] = lambda: Memory(str(tmp_path), repository="r", mountpoint="/m")  # noqa: E731
    async with on_open(store, memory=remembered()) as parts:
        await names(parts, "m01")
        store.put("m01/1/model.onnx", b"replaced", mtime_ns=5)
        await parts.view.refresh()
        shown = parts.view.tree.find("m01/1/model.onnx")
        assert shown is not None
        assert shown.mtime_ns > 10**18
    store.requests = 0
    async with on_open(store, memory=remembered()) as parts:
        assert store.requests == 1
        again = parts.view.tree.find("m01/1/model.onnx")
        assert again == shown
        assert await names(parts, "m01") == ["1", "2", "config.pbtxt"]
        assert store.requests == 2
        assert parts.view.tree.find("m01/1/model.onnx") == shown


async def test_a_worker_that_takes_over_knows_what_was_looked_into_and_lists_the_rest_when_it_is(
    pair: list[int],
) -> None:
    store = filled()
    async with on_open(store, journal=Journal(pair)) as parts:
        await names(parts, "m01")
    store.requests = 0
    async with on_open(store, journal=Journal(pair), takes_over=True) as parts:
        assert await names(parts, "m01") == ["1", "2", "config.pbtxt"]
        assert store.requests == 0
        assert await names(parts, "m02") == ["1", "2", "config.pbtxt"]
        assert store.requests == 1
        before = parts.view.tree
        for _ in range(3):
            assert await parts.view.refresh() == []
        assert parts.view.tree.files == before.files == 7
        assert parts.view.health().bare == MODELS - 2
        assert await names(parts, "m03") == ["1", "2", "config.pbtxt"]


async def test_what_was_told_of_a_model_alone_is_told_before_the_next_worker_is_said_to_know(pair: list[int]) -> None:
    store = filled()
    async with mounted(store, journal=Journal(pair)) as parts:
        await parts.view._keep_told()
        store.put("m01/1/new", b"new")
        assert await parts.view.refresh_model("m01")
        await parts.view._keep_told()
        recalled = Journal(pair).recall()
        assert recalled is not None
        assert any(path == "m01/1" and "new" in names for path, names in recalled.untold)
        parts.view.note_told()
        await parts.view._keep_told()
        recalled = Journal(pair).recall()
        assert recalled is not None
        assert recalled.untold == []
