"""One worker goes on where another one ended: the kernel's numbers, the tree, its times, and what is held back."""

import errno
import os
from collections.abc import Iterator

import pyfuse3
import pytest
import trio
from operations_for_tests import Kernel, Mounted, mounted
from pyfuse3 import FileHandleT, InodeT
from stores.memory_store import MemoryStore

from modelfs import tree as trees
from modelfs.errors import StoreUnavailableError
from modelfs.journal import Journal
from modelfs.view import View

LONG_AGO_NS = 1_700_000_000 * 10**9


@pytest.fixture
def pair() -> Iterator[list[int]]:
    """Yield two anonymous files, as the supervisor has them."""
    files = [os.memfd_create(name) for name in "ab"]
    yield files
    for file in files:
        os.close(file)


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    for key, data in (("m/1/x", b"first"), ("m/1/y", b"other"), ("m/config.pbtxt", b""), ("n/1/x", b"n")):
        store.put(key, data, mtime_ns=LONG_AGO_NS)
    store.put("ensemble/1/", b"", mtime_ns=LONG_AGO_NS)
    return store


async def look_everything_up(kernel: Kernel) -> dict[str, int]:
    """Return the numbers that the kernel now has, by path."""
    paths = ["m", "m/1", "m/1/x", "m/1/y", "m/config.pbtxt", "n", "n/1", "n/1/x", "ensemble", "ensemble/1"]
    return {path: (await kernel.lookup(path)).st_ino for path in paths}


async def times_of(parts: Mounted, numbers: dict[str, int]) -> dict[str, tuple[int, int]]:
    found = {}
    for path, number in numbers.items():
        attributes = await parts.operations.getattr(InodeT(number))
        found[path] = (attributes.st_mtime_ns, attributes.st_size)
    return found


async def test_r5_all_that_the_kernel_knows_is_answered_without_a_listing_or_a_lookup(
    store: MemoryStore, pair: list[int]
) -> None:
    async with mounted(store, journal=Journal(pair)) as parts:
        numbers = await look_everything_up(parts.kernel)
        before = await times_of(parts, numbers)
        handle = await parts.kernel.open(numbers["m/1/x"])
    store.fail = _fail_listings
    listings = store.listings
    async with mounted(store, journal=Journal(pair), takes_over=True) as parts:
        assert await times_of(parts, numbers) == before
        assert bytes(await parts.operations.read(handle, 0, 100)) == b"first"
        await parts.operations.release(handle)
        await parts.operations.release(handle)  # of another life, once more
        names = [entry.name for entry in await parts.kernel.readdir(numbers["m/1"])]
        assert sorted(names) == ["x", "y"]
        assert await look_everything_up(parts.kernel) == numbers
        assert parts.operations.open_files == 0
    assert store.listings == listings


def _fail_listings(kind: str, _info: object) -> None:
    if kind == "list":
        raise StoreUnavailableError("away")


async def test_r5_a_replaced_file_that_is_still_open_is_read_by_the_next_worker_and_the_one_after(
    store: MemoryStore, pair: list[int]
) -> None:
    store.keeps_versions = True
    async with mounted(store, journal=Journal(pair)) as parts:
        old = (await parts.kernel.lookup("m/1/x")).st_ino
        handle = await parts.kernel.open(old)
        store.put("m/1/x", b"second")
        await parts.view.refresh()
    for _ in range(2):
        async with mounted(store, journal=Journal(pair), takes_over=True) as parts:
            assert (await parts.operations.getattr(InodeT(old))).st_size == 5
            assert bytes(await parts.operations.read(handle, 0, 100)) == b"first"
            assert await parts.kernel.read_whole("m/1/x") == b"second"
            with pytest.raises(pyfuse3.FUSEError) as caught:
                await parts.kernel.open(old)
            assert caught.value.errno == errno.ESTALE


async def test_a_file_that_is_replaced_after_the_takeover_is_still_known(store: MemoryStore, pair: list[int]) -> None:
    store.keeps_versions = True
    async with mounted(store, journal=Journal(pair)) as parts:
        numbers = await look_everything_up(parts.kernel)
    async with mounted(store, journal=Journal(pair), takes_over=True) as parts:
        await parts.operations.getattr(InodeT(numbers["n"]))  # the numbers are found again
        store.put("m/1/x", b"second")
        store.delete("n/1/x")
        await parts.view.refresh()
        await parts.view.refresh()
        for path, data in (("m/1/x", b"first"), ("n/1/x", b"n")):
            assert bytes(await parts.operations.read(FileHandleT(numbers[path]), 0, 100)) == data


async def test_a_number_that_was_never_given_is_stale(store: MemoryStore, pair: list[int]) -> None:
    async with mounted(store, journal=Journal(pair)):
        pass
    async with mounted(store, journal=Journal(pair), takes_over=True) as parts:
        for _ in range(2):
            with pytest.raises(pyfuse3.FUSEError) as caught:
                await parts.operations.getattr(InodeT(12345))
            assert caught.value.errno == errno.ESTALE


async def test_forgetting_what_another_worker_has_told_leaves_nothing(store: MemoryStore, pair: list[int]) -> None:
    store.keeps_versions = True
    async with mounted(store, journal=Journal(pair)) as parts:
        numbers = await look_everything_up(parts.kernel)
        store.put("m/1/x", b"second")
        await parts.view.refresh()
    kept = Journal(pair)
    async with mounted(store, journal=kept, takes_over=True) as parts:
        await times_of(parts, numbers)
        assert len(parts.operations.inodes) == 1 + len(numbers)
        assert numbers["m/1/x"] in kept.retired
        await parts.operations.forget([(InodeT(number), 3) for number in [*numbers.values(), 12345]])
        assert len(parts.operations.inodes) == 1
        assert kept.retired == {}
        assert await parts.kernel.read_whole("m/1/x") == b"second"


async def test_numbers_are_not_held_when_nobody_asks(
    store: MemoryStore, pair: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with mounted(store, journal=Journal(pair)) as parts:
        numbers = await look_everything_up(parts.kernel)
    async with mounted(store, journal=Journal(pair), takes_over=True) as parts, trio.open_nursery() as nursery:
        inherited = parts.operations.inherited
        assert inherited is not None
        await parts.operations.getattr(InodeT(numbers["m/1/x"]))
        assert inherited._paths
        monkeypatch.setattr("modelfs.inherited.IDLE_S", 0.001)
        nursery.start_soon(inherited.keep_lean)
        while inherited._paths:  # noqa: ASYNC110  nobody is told
            await trio.sleep(0.001)
        monkeypatch.undo()
        await parts.operations.getattr(InodeT(numbers["m/1/y"]))  # it is found again
        nursery.cancel_scope.cancel()


async def test_folders_are_invalidated_although_this_worker_has_not_told_of_them(
    store: MemoryStore, pair: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with mounted(store, journal=Journal(pair)) as parts:
        numbers = await look_everything_up(parts.kernel)
    told: list[tuple[int, bytes]] = []
    monkeypatch.setattr(
        "modelfs.invalidations.pyfuse3.invalidate_entry",
        lambda number, name, **_: told.append((number, name)),
    )
    monkeypatch.setattr(
        "modelfs.invalidations.pyfuse3.invalidate_inode", lambda number, **_: told.append((number, b""))
    )
    async with mounted(store, journal=Journal(pair), takes_over=True) as parts:
        store.put("m/1/x", b"second")
        await parts.operations.invalidate(await parts.view.refresh())
    assert told == [(1, b""), (numbers["m"], b""), (numbers["m/1"], b"x"), (numbers["m/1"], b"")]


# what is shown


async def shown_by(view: View) -> dict[str, int]:
    """Return the times of all that is shown."""
    found = {"": view.tree.root.mtime_ns}
    for path in trees.files(view.tree):
        names = path.split("/")
        for depth in range(1, len(names) + 1):
            node = view.tree.find("/".join(names[:depth]))
            assert node is not None
            found["/".join(names[:depth])] = node.mtime_ns
    return found


async def test_r6_to_r8_a_takeover_moves_no_time_and_what_changed_meanwhile_is_newer(
    store: MemoryStore, pair: list[int]
) -> None:
    async with mounted(store, journal=Journal(pair)) as parts:
        store.put("m/1/x", b"restored", mtime_ns=LONG_AGO_NS - 10**9)
        await parts.view.refresh()
        before = await shown_by(parts.view)
        assert before["m/1/x"] > LONG_AGO_NS
    async with mounted(store, journal=Journal(pair), takes_over=True) as parts:
        assert await shown_by(parts.view) == before
        root = parts.view.tree.root
        assert await parts.view.refresh() == []
        assert parts.view.tree.root is root
    store.put("m/1/y", b"older", mtime_ns=5)
    async with mounted(store, journal=Journal(pair), takes_over=True) as parts:
        await parts.view.refresh()
        after = await shown_by(parts.view)
        assert after["m/1/y"] > before["m"]
        assert {path: after[path] for path in ("m/1/x", "n", "m/config.pbtxt")} == {
            path: before[path] for path in ("m/1/x", "n", "m/config.pbtxt")
        }


async def test_r3_what_is_missing_right_after_a_takeover_needs_a_second_witness(
    store: MemoryStore, pair: list[int]
) -> None:
    async with mounted(store, journal=Journal(pair)):
        pass
    for key in ("n/1/x", "ensemble/1/"):
        store.delete(key)
    async with mounted(store, journal=Journal(pair), takes_over=True) as parts:
        await parts.view.refresh()
        assert parts.view.tree.find("n/1/x") is not None
        assert parts.view.tree.find("ensemble/1") is not None
        await parts.view.refresh()
        assert parts.view.tree.find("n") is None
        assert parts.view.tree.find("ensemble") is None


async def test_r11_a_takeover_is_no_first_listing_so_nothing_half_uploaded_shows(
    store: MemoryStore, pair: list[int]
) -> None:
    store.put("m/config.pbtxt", b'backend: "python"', mtime_ns=LONG_AGO_NS)
    store.put("m/1/model.py", b"p", mtime_ns=LONG_AGO_NS)
    async with mounted(store, journal=Journal(pair), settle_s=600) as parts:
        before = await shown_by(parts.view)
        store.put("m/1/model.py", b"half", mtime_ns=LONG_AGO_NS)  # its date is that of the upload's begin
        store.put("m/2/model.py", b"two", mtime_ns=LONG_AGO_NS)
        await parts.view.refresh()
        assert await shown_by(parts.view) == before
    async with mounted(store, journal=Journal(pair), takes_over=True, settle_s=600) as parts:
        for _ in range(2):
            await parts.view.refresh()
            assert await shown_by(parts.view) == before
            assert {each.folder for each in parts.view.pending} == {"m/1", "m/2"}
            assert all(each.is_settling for each in parts.view.pending)


async def test_an_unchanged_repository_has_nothing_pending_after_a_takeover(
    store: MemoryStore, pair: list[int]
) -> None:
    store.put("m/config.pbtxt", b'backend: "python"', mtime_ns=LONG_AGO_NS)
    store.put("m/1/model.py", b"p", mtime_ns=LONG_AGO_NS)
    store.put("m/1/", b"", mtime_ns=LONG_AGO_NS)
    store.put("m/1/.modelfs-seal.json", b"{}", mtime_ns=LONG_AGO_NS)
    async with mounted(store, journal=Journal(pair), settle_s=600) as parts:
        assert parts.view.pending == ()
    async with mounted(store, journal=Journal(pair), takes_over=True, settle_s=600) as parts:
        await parts.view.refresh()
        assert parts.view.pending == ()


async def test_a_file_opens_at_once_while_nobody_knows_whether_it_was_replaced(
    store: MemoryStore, pair: list[int]
) -> None:
    async with mounted(store, journal=Journal(pair)) as parts:
        number = (await parts.kernel.lookup("m/1/x")).st_ino
    async with mounted(store, journal=Journal(pair), takes_over=True) as parts:
        reads = len(store.reads)
        await parts.kernel.open(number)
        assert len(store.reads) == reads
