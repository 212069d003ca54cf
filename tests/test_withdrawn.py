"""Names that have just gone from the root are answered to who may have read them: a poll's stat never fails."""

import errno
import os
from typing import cast

import pyfuse3
import pytest
from operations_for_tests import Mounted, mounted
from pyfuse3 import FileNameT, FlagT, InodeT, RequestContext
from stores.memory_store import MemoryStore

from modelfs import withdrawn
from modelfs.blocks import ObjectInfo
from modelfs.growing import build
from modelfs.tree import Directory, Tree
from modelfs.withdrawn import ANSWERED_S, Withdrawn

ROOT = InodeT(pyfuse3.ROOT_INODE)
POLLER, OTHER = 11, 12


def tree_of(*keys: str) -> Tree:
    return build([ObjectInfo(key, 1, "v", 0) for key in keys])


def test_a_name_is_found_for_ten_seconds_after_it_went() -> None:
    gone = Withdrawn()
    old = tree_of("m/1/x", "n/1/x")
    gone.note("m", old=old, new=tree_of("n/1/x"), now_s=100.0)
    found = gone.find("m", 100.0 + ANSWERED_S - 0.1)
    assert found is not None
    assert found.node is old.root.children["m"]
    assert found.when_s == 100.0
    assert gone.find("n", 100.0) is None
    assert gone.find("absent", 100.0) is None
    assert gone.find("m", 100.0 + ANSWERED_S) is None


def test_a_name_that_comes_back_or_went_long_ago_is_kept_no_longer() -> None:
    gone = Withdrawn()
    both, one, none = tree_of("m/1/x", "n/1/x"), tree_of("n/1/x"), tree_of()
    gone.note("m", old=both, new=one, now_s=100.0)
    gone.note("n", old=one, new=none, now_s=105.0)
    assert gone.find("m", 105.0)
    assert gone.find("n", 105.0)
    gone.note("n", old=none, new=one, now_s=106.0)
    assert gone.find("m", 106.0)
    assert gone.find("n", 106.0) is None
    gone.note("m", old=one, new=both, now_s=200.0)
    assert gone._gone == {}


class Asking:
    """Whoever asks: what of a RequestContext is looked at."""

    def __init__(self, pid: int) -> None:
        self.pid = pid


def by(thread: int) -> RequestContext:
    return cast("RequestContext", Asking(thread))


def filled() -> MemoryStore:
    store = MemoryStore()
    for key in ("m/1/x", "m/config.pbtxt", "n/1/x"):
        store.put(key, key.encode())
    return store


async def lookup(mount: Mounted, name: str, thread: int, parent: int = ROOT) -> int:
    """Return the inode's number, or the errno negated."""
    try:
        found = await mount.operations.lookup(InodeT(parent), FileNameT(name.encode()), by(thread))
    except pyfuse3.FUSEError as error:
        return -error.errno
    return found.st_ino


async def read_root(mount: Mounted, thread: int) -> set[str]:
    await mount.operations.opendir(ROOT, by(thread))
    return {entry.name for entry in await mount.kernel.readdir_page(ROOT, 0, 99)}


async def withdraw(mount: Mounted) -> None:
    """Have the model m gone from the store, and then from the root."""
    for key in ("m/1/x", "m/config.pbtxt"):
        mount.store.delete(key)
    for _ in range(2):
        await mount.view.refresh()
    assert "m" not in mount.view.tree.root.children


async def test_a_poll_that_has_read_a_name_finds_all_of_it_when_it_has_gone_and_others_do_not() -> None:
    async with mounted(filled(), look_s=0.0) as mount:
        assert await read_root(mount, POLLER) == {"m", "n"}
        await withdraw(mount)
        model = await lookup(mount, "m", POLLER)
        assert model > 0
        assert (await mount.operations.getattr(InodeT(model), by(POLLER))).st_ino == model
        assert {entry.name for entry in await mount.kernel.readdir(model)} == {"1", "config.pbtxt"}
        version = await lookup(mount, "1", POLLER, model)
        assert await lookup(mount, "x", POLLER, version) > 0
        assert await lookup(mount, "absent", POLLER, version) == -errno.ENOENT
        assert await lookup(mount, "m", OTHER) == -errno.ENOENT
        assert await read_root(mount, OTHER) == {"n"}
        assert await lookup(mount, "m", OTHER) == -errno.ENOENT


async def test_who_reads_the_root_anew_finds_no_name_that_has_gone() -> None:
    async with mounted(filled(), look_s=0.0) as mount:
        await read_root(mount, POLLER)
        await withdraw(mount)
        assert await read_root(mount, POLLER) == {"n"}
        assert await lookup(mount, "m", POLLER) == -errno.ENOENT


async def test_a_name_that_has_gone_is_answered_for_some_seconds_only(monkeypatch: pytest.MonkeyPatch) -> None:
    async with mounted(filled(), look_s=0.0) as mount:
        await read_root(mount, POLLER)
        await withdraw(mount)
        model = await lookup(mount, "m", POLLER)
        monkeypatch.setattr(withdrawn, "ANSWERED_S", 0.0)  # as ten seconds later
        assert await lookup(mount, "m", POLLER) == -errno.ENOENT
        with pytest.raises(pyfuse3.FUSEError) as raised:
            await mount.operations.getattr(InodeT(model), by(POLLER))
        assert raised.value.errno == errno.ENOENT


async def test_a_poll_costs_no_listing_for_a_name_that_has_gone() -> None:
    async with mounted(filled(), look_s=60.0) as mount:
        await read_root(mount, POLLER)
        await withdraw(mount)
        mount.store.folders.clear()
        await read_root(mount, POLLER)
        mount.operations.looks.visits._visits[POLLER].read_s -= 1  # type: ignore[union-attr]  # it read before that
        assert await lookup(mount, "m", POLLER) > 0
        assert mount.store.folders == []


async def test_a_file_of_a_model_that_has_gone_is_estale_at_open() -> None:
    async with mounted(filled(), look_s=0.0) as mount:
        await read_root(mount, POLLER)
        await withdraw(mount)
        file = await lookup(mount, "x", POLLER, await lookup(mount, "1", POLLER, await lookup(mount, "m", POLLER)))
        with pytest.raises(pyfuse3.FUSEError) as raised:
            await mount.operations.open(InodeT(file), FlagT(os.O_RDONLY), by(POLLER))
        assert raised.value.errno == errno.ESTALE


async def test_a_model_that_comes_back_is_itself_again() -> None:
    async with mounted(filled(), look_s=0.0) as mount:
        await read_root(mount, POLLER)
        await withdraw(mount)
        mount.store.put("m/2/x", b"new")
        await mount.view.refresh()
        model = await lookup(mount, "m", POLLER)
        assert {entry.name for entry in await mount.kernel.readdir(model)} == {"2"}
        node = mount.view.find("m")
        assert isinstance(node, Directory)
        assert node is mount.view.tree.root.children["m"]
