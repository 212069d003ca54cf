"""The handlers, called as pyfuse3 calls them, without a mount."""

import errno
import os
import stat
from collections.abc import Awaitable, Callable
from typing import Any

import pyfuse3
import pytest
import trio
import trio.testing
from operations_for_tests import NO_CONTEXT, Mounted, is_folder, mounted
from pyfuse3 import FileHandleT, FileNameT, InodeT
from stores.memory_store import MemoryStore

from modelfs.blocks import BLOCK_BYTES
from modelfs.operations import Operations
from modelfs.tree import EMPTY, Difference

REPOSITORY = {
    "densenet/config.pbtxt": b"name: 'densenet'",
    "densenet/1/model.onnx": bytes(range(256)) * 2000,
    "simple/1/model.onnx": b"x" * (BLOCK_BYTES + 1),
    "empty/": b"",
    "odd names/a+b=c %20 é\n模/1": b"odd",
    "zero/1/empty": b"",
}


def filled(objects: dict[str, bytes] | None = None) -> MemoryStore:
    store = MemoryStore()
    for key, data in (REPOSITORY if objects is None else objects).items():
        store.put(key, data)
    return store


async def expect(number: int, call: Awaitable[Any]) -> None:
    """Check that a handler answers an errno."""
    with pytest.raises(pyfuse3.FUSEError) as caught:
        await call
    assert errno.errorcode[caught.value.errno] == errno.errorcode[number]


async def refresh(mount: Mounted, times: int = 1) -> None:
    for _ in range(times):
        await mount.view.refresh()


# names and attributes


async def test_a_walk_finds_every_file_with_its_size_and_bytes() -> None:
    async with mounted(filled()) as mount:
        found = {}
        waiting = [("", pyfuse3.ROOT_INODE)]
        while waiting:
            path, number = waiting.pop()
            for name, attributes, _ in await mount.kernel.readdir(number):
                child = f"{path}/{name}" if path else name
                if is_folder(attributes):
                    waiting.append((child, attributes.st_ino))
                else:
                    found[child] = await mount.kernel.read_whole(child)
                    assert attributes.st_size == len(found[child])
        assert found == {key: data for key, data in REPOSITORY.items() if not key.endswith("/")}


async def test_lookup_readdir_and_getattr_agree() -> None:
    async with mounted(filled()) as mount:
        for name, listed, _ in await mount.kernel.readdir(pyfuse3.ROOT_INODE):
            looked_up = await mount.kernel.lookup(name)
            got = await mount.operations.getattr(looked_up.st_ino, NO_CONTEXT)
            for field in ("st_ino", "st_mode", "st_size", "st_mtime_ns", "st_ctime_ns", "st_uid", "st_nlink"):
                assert getattr(listed, field) == getattr(looked_up, field) == getattr(got, field), field


async def test_modes_owners_and_times_are_as_promised() -> None:
    async with mounted(filled()) as mount:
        file = await mount.kernel.lookup("simple/1/model.onnx")
        folder = await mount.kernel.lookup("simple/1")
        info = mount.view.tree.find("simple/1/model.onnx")
        assert info is not None
        assert stat.filemode(file.st_mode) == "-r--r--r--"
        assert stat.filemode(folder.st_mode) == "dr-xr-xr-x"
        for one in (file, folder):
            assert (one.st_uid, one.st_gid) == (1001, 1002)
            assert one.st_mtime_ns == one.st_ctime_ns == one.st_atime_ns == info.mtime_ns
        assert file.st_size == BLOCK_BYTES + 1
        assert file.st_blocks == BLOCK_BYTES // 512 + 1


async def test_lookups_of_absent_names_stats_and_readdirs_cost_the_store_nothing() -> None:
    store = filled()
    async with mounted(store) as mount:
        model = await mount.kernel.lookup("densenet")
        for name in (b"absent", b".", b"..", b"config.pbtxt/x", b"", b"\xff\xfe", b"x" * 300, b"libtriton_onnx.so"):
            await expect(errno.ENOENT, mount.operations.lookup(model.st_ino, FileNameT(name), NO_CONTEXT))
        await mount.kernel.readdir(model.st_ino)
        await mount.operations.getattr(model.st_ino, NO_CONTEXT)
        await mount.operations.statfs(NO_CONTEXT)
        assert store.listings == 1
        assert store.reads == []


async def test_statfs_tells_the_repositorys_size_and_that_nothing_is_free() -> None:
    async with mounted(filled()) as mount:
        data = await mount.operations.statfs(NO_CONTEXT)
        total = sum(map(len, REPOSITORY.values()))
        assert total <= data.f_blocks * data.f_frsize < total + data.f_frsize
        assert (data.f_bfree, data.f_bavail, data.f_ffree, data.f_namemax) == (0, 0, 0, 255)
        assert data.f_files == 5


async def test_an_empty_repository_is_an_empty_root_of_time_zero() -> None:
    async with mounted(filled({})) as mount:
        root = await mount.operations.getattr(InodeT(pyfuse3.ROOT_INODE), NO_CONTEXT)
        assert is_folder(root)
        assert root.st_mtime_ns == 0
        assert await mount.kernel.readdir(pyfuse3.ROOT_INODE) == []


# folders, page by page


@pytest.mark.parametrize("room", [1, 2, 3, 1000, 5000])
async def test_readdir_lists_each_child_once_whatever_fits_a_page(room: int) -> None:
    names = [f"file{number}" for number in range(1050)]
    async with mounted(filled({f"m/{name}": b"" for name in names})) as mount:
        folder = await mount.kernel.lookup("m")
        found = await mount.kernel.readdir(folder.st_ino, room)
        assert sorted(entry.name for entry in found) == sorted(names)


async def test_an_entry_that_does_not_fit_counts_no_lookup() -> None:
    async with mounted(filled({"a": b"", "b": b"", "c": b""})) as mount:
        page = await mount.kernel.readdir_page(pyfuse3.ROOT_INODE, 0, 2)
        assert len(page) == 2
        assert len(mount.operations.inodes) == 1 + 2
        for entry in page:
            assert mount.operations.inodes.get(entry.attributes.st_ino).lookups == 1  # type: ignore[union-attr]  # it was listed


async def test_a_readdir_goes_on_over_a_refresh_without_repeating_or_losing() -> None:
    store = filled({f"m/{number}": b"" for number in range(100)})
    async with mounted(store) as mount:
        folder = (await mount.kernel.lookup("m")).st_ino
        seen: list[str] = []
        start = 0
        for step in range(200):
            page = await mount.kernel.readdir_page(folder, start, 3)
            if not page:
                break
            seen += [entry.name for entry in page]
            start = page[-1].next_id
            store.put(f"m/new{step}", b"")
            if step < 20:
                store.delete(f"m/{step}")
            await refresh(mount)
        assert len(seen) == len(set(seen))
        assert {str(number) for number in range(20, 100)} <= set(seen)


async def test_a_folder_that_is_gone_answers_enoent_and_its_open_listing_ends() -> None:
    store = filled({"m/1/x": b"", "m/2/x": b"", "other": b""})
    async with mounted(store) as mount:
        folder = (await mount.kernel.lookup("m/1")).st_ino
        store.delete("m/1/x")
        await refresh(mount, 2)
        await expect(errno.ENOENT, mount.operations.getattr(folder, NO_CONTEXT))
        await expect(errno.ENOENT, mount.operations.opendir(folder, NO_CONTEXT))
        await expect(errno.ENOENT, mount.kernel.readdir_page(folder, 0, 9))
        await expect(errno.ENOENT, mount.kernel.lookup("m/1"))


# files


async def test_a_replaced_version_is_a_new_inode_and_opening_the_old_one_is_estale() -> None:
    store = filled()
    async with mounted(store) as mount:
        old = await mount.kernel.lookup("simple/1/model.onnx")
        store.put("simple/1/model.onnx", b"new")
        await refresh(mount)
        await expect(errno.ESTALE, mount.kernel.open(old.st_ino))
        new = await mount.kernel.lookup("simple/1/model.onnx")
        assert new.st_ino != old.st_ino
        assert new.st_mtime_ns > old.st_mtime_ns
        assert await mount.kernel.read_whole("simple/1/model.onnx") == b"new"
        unchanged = await mount.operations.getattr(old.st_ino, NO_CONTEXT)
        assert (unchanged.st_size, unchanged.st_mtime_ns) == (old.st_size, old.st_mtime_ns)


async def test_an_open_version_that_is_replaced_reads_its_own_bytes_or_estale() -> None:
    store = filled()
    async with mounted(store, window_bytes=0) as mount:
        old = await mount.kernel.open((await mount.kernel.lookup("densenet/1/model.onnx")).st_ino)
        first = bytes(await mount.operations.read(old, 0, 1000))
        store.put("densenet/1/model.onnx", b"\xff" * 512_000)
        await refresh(mount)
        assert bytes(await mount.operations.read(old, 0, 1000)) == first
        await expect(errno.ESTALE, mount.operations.read(old, 500_000, 1000))


async def test_a_version_found_gone_by_a_read_asks_for_a_refresh() -> None:
    store = filled()
    async with mounted(store) as mount:
        handle = await mount.kernel.open((await mount.kernel.lookup("simple/1/model.onnx")).st_ino)
        store.put("simple/1/model.onnx", b"new")
        assert not mount.view._asked.is_set()
        await expect(errno.ESTALE, mount.operations.read(handle, 0, 10))
        assert mount.view._asked.is_set()


async def test_the_page_cache_is_kept_over_opens() -> None:
    async with mounted(filled()) as mount:
        number = (await mount.kernel.lookup("simple/1/model.onnx")).st_ino
        info = await mount.operations.open(number, pyfuse3.FlagT(os.O_RDONLY), NO_CONTEXT)
        assert info.keep_cache
        assert not info.direct_io
        assert info.fh == number


async def test_a_read_across_the_end_is_short_and_one_behind_it_empty() -> None:
    async with mounted(filled()) as mount:
        handle = await mount.kernel.open((await mount.kernel.lookup("densenet/config.pbtxt")).st_ino)
        assert bytes(await mount.operations.read(handle, 6, 4096)) == b"'densenet'"
        assert bytes(await mount.operations.read(handle, 16, 4096)) == b""
        assert bytes(await mount.operations.read(handle, 2**40, 4096)) == b""


async def test_handles_are_counted_and_the_last_one_lets_the_cache_go() -> None:
    async with mounted(filled()) as mount:
        number = (await mount.kernel.lookup("simple/1/model.onnx")).st_ino
        handles = [await mount.kernel.open(number) for _ in range(3)]
        assert mount.operations.open_files == 3
        await mount.operations.read(handles[0], 0, 10)
        await trio.testing.wait_all_tasks_blocked()
        for left in (2, 1):
            await mount.operations.release(handles[0])
            assert mount.operations.open_files == left
            assert mount.cache._unread
        await mount.operations.release(handles[0])
        assert mount.operations.open_files == 0
        assert not mount.cache._unread


async def test_a_handle_of_another_worker_is_read_and_released() -> None:
    """A worker that takes over knows no handles; the kernel still has them."""
    async with mounted(filled()) as mount:
        number = (await mount.kernel.lookup("simple/1/model.onnx")).st_ino
        assert bytes(await mount.operations.read(FileHandleT(number), 0, 3)) == b"xxx"
        await mount.operations.release(FileHandleT(number))
        await mount.operations.release(FileHandleT(number))
        assert mount.operations.open_files == 0


async def test_three_hundred_reads_that_wait_delay_no_stat() -> None:
    store = filled({f"m/{number}": bytes(10) for number in range(300)})

    async def never(*_arguments: Any) -> memoryview:
        await trio.sleep_forever()
        raise AssertionError

    async with mounted(store, fetch=never) as mount, trio.open_nursery() as nursery:
        for number in range(300):
            handle = await mount.kernel.open((await mount.kernel.lookup(f"m/{number}")).st_ino)
            nursery.start_soon(mount.operations.read, handle, 0, 10)
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(10):
            await mount.kernel.lookup("m/5")
            assert len(await mount.kernel.readdir((await mount.kernel.lookup("m")).st_ino)) == 300
        nursery.cancel_scope.cancel()


async def test_forgetting_everything_leaves_nothing() -> None:
    async with mounted(filled()) as mount:
        for path in ("densenet/1/model.onnx", "densenet/config.pbtxt", "empty"):
            await mount.kernel.read_whole(path) if "." in path else await mount.kernel.lookup(path)
        await mount.kernel.readdir(pyfuse3.ROOT_INODE)
        numbers = [(InodeT(number), inode.lookups) for number, inode in mount.operations.inodes._by_number.items()]
        await mount.operations.forget([*numbers, (InodeT(987654321), 5)])
        assert len(mount.operations.inodes) == 1
        assert not mount.operations.files.streamers


# telling the kernel


async def test_what_changed_is_invalidated_where_the_kernel_holds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    entries: list[tuple[int, bytes]] = []
    inodes: list[int] = []

    def note_entry(number: InodeT, name: FileNameT) -> None:
        entries.append((number, name))
        raise OSError(errno.ENOENT, "the kernel does not hold it")

    def note_inode(number: InodeT, *, attr_only: bool) -> None:
        assert attr_only
        inodes.append(number)
        if len(inodes) == 1:
            raise OSError(errno.ENOENT, "forgotten")

    monkeypatch.setattr("modelfs.invalidations.pyfuse3.invalidate_entry", note_entry)
    monkeypatch.setattr("modelfs.invalidations.pyfuse3.invalidate_inode", note_inode)
    store = filled()
    async with mounted(store) as mount:
        held = await mount.kernel.lookup("densenet/1")
        model = await mount.kernel.lookup("densenet")
        store.put("densenet/1/model.onnx", b"new")
        store.put("simple/1/model.onnx", b"new")
        await mount.operations.invalidate(await mount.view.refresh())
        assert entries == [(held.st_ino, b"model.onnx")]
        assert sorted(inodes) == sorted([pyfuse3.ROOT_INODE, model.st_ino, held.st_ino])


async def test_an_invalidation_that_the_kernel_refuses_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_arguments: Any, **_keywords: Any) -> None:
        raise OSError(errno.EINVAL, "no")

    monkeypatch.setattr("modelfs.invalidations.pyfuse3.invalidate_inode", refuse)
    async with mounted(filled()) as mount:
        await mount.operations.invalidate([Difference("", ())])
    assert "an invalidation failed" in caplog.text


# bugs end nothing

CALLS: dict[str, Callable[[Operations], Awaitable[Any]]] = {
    "lookup": lambda ops: ops.lookup(InodeT(1), FileNameT(b"simple"), NO_CONTEXT),
    "getattr": lambda ops: ops.getattr(InodeT(1), NO_CONTEXT),
    "access": lambda ops: ops.access(InodeT(1), pyfuse3.ModeT(4), NO_CONTEXT),
    "opendir": lambda ops: ops.opendir(InodeT(1), NO_CONTEXT),
    "readdir": lambda ops: ops.readdir(FileHandleT(1), 0, None),  # type: ignore[arg-type]  # never reached
    "open": lambda ops: ops.open(InodeT(1), pyfuse3.FlagT(0), NO_CONTEXT),
    "read": lambda ops: ops.read(FileHandleT(1), 0, 1),
    "statfs": lambda ops: ops.statfs(NO_CONTEXT),
}


@pytest.mark.parametrize("handler", CALLS)
async def test_an_unexpected_exception_in_any_handler_is_a_logged_eio(
    handler: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with mounted(filled()) as mount:
        monkeypatch.setattr(mount.operations, "inodes", None)
        monkeypatch.setattr(mount.view, "tree", None)
        await expect(errno.EIO, CALLS[handler](mount.operations))
        assert f"operation={handler}" in caplog.text
        monkeypatch.undo()


async def test_an_unexpected_exception_in_a_release_is_a_logged_eio(monkeypatch: pytest.MonkeyPatch) -> None:
    async with mounted(filled()) as mount:
        handle = await mount.kernel.open((await mount.kernel.lookup("densenet/config.pbtxt")).st_ino)
        monkeypatch.setattr(mount.cache, "abandon", None)
        await expect(errno.EIO, mount.operations.release(handle))


def test_no_handler_is_left_without_a_guard() -> None:
    """What is neither guarded, nor refused, nor pyfuse3's own answer of ENOSYS must be named here with its reason."""
    cannot_fail = {"forget", "releasedir"}
    harmless = {"init", "stacktrace", "invalidate"}  # not called for a request
    for name, method in vars(Operations).items():
        is_handler = callable(method) and not name.startswith("_") and hasattr(pyfuse3.Operations, name)
        if is_handler and name not in cannot_fail | harmless:
            assert hasattr(method, "__wrapped__") or method is Operations._refuse, name


def test_the_empty_tree_is_never_changed() -> None:
    assert (EMPTY.root.children, EMPTY.root.mtime_ns, EMPTY.files) == ({}, 0, 0)
