"""Opening what is shown although the store has replaced it, since its successor is not whole yet."""

import errno
import os

import pyfuse3
import pytest
import trio
import trio.testing
from operations_for_tests import NO_CONTEXT, Mounted, mounted
from pyfuse3 import FlagT, InodeT
from stores.memory_store import MemoryStore

from modelfs.blocks import BLOCK_BYTES

SETTLE_S = 600.0
PATH = "m/1/model.onnx"


def old() -> MemoryStore:
    """Return a store with a version that is old enough to be shown at once."""
    store = MemoryStore()
    store.put(PATH, b"o" * 3 * BLOCK_BYTES, mtime_ns=5)
    store.put("m/2/model.onnx", b"other", mtime_ns=5)
    return store


async def open_it(mount: Mounted, path: str = PATH) -> int | pyfuse3.FileInfo:
    """Open a path, and return the file or the errno."""
    attributes = await mount.kernel.lookup(path)
    try:
        return await mount.operations.open(InodeT(attributes.st_ino), FlagT(os.O_RDONLY), NO_CONTEXT)
    except pyfuse3.FUSEError as error:
        return error.errno


async def test_a_replaced_file_that_is_gone_is_estale_at_open_and_not_first_at_a_read() -> None:
    async with mounted(old(), settle_s=SETTLE_S) as mount:
        mount.store.put(PATH, b"new")
        await mount.view.refresh()
        assert await open_it(mount) == errno.ESTALE
        assert mount.operations.open_files == 0
        assert isinstance(await open_it(mount, "m/2/model.onnx"), pyfuse3.FileInfo)


async def test_r12_a_replaced_file_of_which_a_part_is_in_memory_is_estale_at_open() -> None:
    async with mounted(old(), settle_s=SETTLE_S) as mount:
        info = mount.view.tree.find(PATH).info  # type: ignore[union-attr]  # it is there
        await mount.cache.read(info, 0, 1)
        mount.store.put(PATH, b"new")
        await mount.view.refresh()
        assert mount.cache.landed(info, 0) is not None
        assert mount.cache.landed(info, 1) is None
        assert await open_it(mount) == errno.ESTALE
        assert mount.operations.open_files == 0


async def test_r12_a_replaced_file_that_is_wholly_in_memory_opens_and_is_read() -> None:
    async with mounted(old(), settle_s=SETTLE_S) as mount:
        info = mount.view.tree.find(PATH).info  # type: ignore[union-attr]  # it is there
        await mount.cache.read(info, 0, 3)
        mount.store.put(PATH, b"new")
        await mount.view.refresh()
        assert await mount.kernel.read_whole(PATH) == b"o" * 3 * BLOCK_BYTES


async def test_r12_what_a_reader_has_found_gone_is_estale_at_open_before_any_listing_tells() -> None:
    async with mounted(old(), settle_s=SETTLE_S) as mount:
        attributes = await mount.kernel.lookup(PATH)
        handle = await mount.kernel.open(attributes.st_ino)
        content = b"o" * 3 * BLOCK_BYTES
        mount.store.put(PATH, b"new")
        with pytest.raises(pyfuse3.FUSEError):
            await mount.operations.read(handle, 2 * BLOCK_BYTES, 1)
        assert not mount.view.is_replaced(mount.view.tree.find(PATH).info)  # type: ignore[union-attr]  # nobody listed
        assert await open_it(mount) == errno.ESTALE
        mount.store.put(PATH, content)  # the same bytes are the same version
        assert isinstance(await open_it(mount), pyfuse3.FileInfo)
        mount.store.reads.clear()
        assert isinstance(await open_it(mount), pyfuse3.FileInfo)
        assert mount.store.reads == []


async def test_a_replaced_file_that_can_still_be_read_opens() -> None:
    async with mounted(old(), settle_s=SETTLE_S) as mount:
        kept = MemoryStore()
        kept.put(PATH, b"o" * 3 * BLOCK_BYTES, mtime_ns=5)
        mount.store.put(PATH, b"new")
        await mount.view.refresh()
        mount.store.read = kept.read  # type: ignore[method-assign]  # as a bucket that keeps versions
        assert await mount.kernel.read_whole(PATH) == b"o" * 3 * BLOCK_BYTES


async def test_what_was_not_replaced_opens_without_a_request() -> None:
    async with mounted(old(), settle_s=SETTLE_S) as mount:
        assert isinstance(await open_it(mount), pyfuse3.FileInfo)
        await trio.testing.wait_all_tasks_blocked()
        assert mount.store.reads == []


async def test_a_store_that_does_not_answer_does_not_keep_a_replaced_file_from_opening(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def never(*_arguments: object) -> memoryview:
        await trio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr("modelfs.operations.REPLACED_LOOK_S", 0.001)
    async with mounted(old(), settle_s=SETTLE_S, fetch=never) as mount:
        mount.store.put(PATH, b"new")
        await mount.view.refresh()
        assert isinstance(await open_it(mount), pyfuse3.FileInfo)
        assert mount.operations.open_files == 1
