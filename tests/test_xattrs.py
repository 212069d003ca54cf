"""Extended attributes: what is told of files and folders, and what the system's own questions are answered."""

import errno
from collections.abc import Callable
from typing import cast

import pyfuse3
import pytest
from operations_for_tests import NO_CONTEXT, Mounted, mounted
from pyfuse3 import InodeT, XAttrNameT
from stores.memory_store import MemoryStore

from modelfs.settle import Pending
from modelfs.tree import File
from modelfs.xattrs import PENDING_TOLD, Xattrs

URL = "s3://bucket/models"


def filled() -> MemoryStore:
    store = MemoryStore()
    for key in ("m/config.pbtxt", "m/1/model.onnx", "m/2/model.onnx", "m2/1/model.onnx"):
        store.put(key, b"x" * 1000)
    return store


def xattrs_of(parts: Mounted, *pending: tuple[str, str]) -> Xattrs:
    parts.view.pending = tuple(sorted(Pending(folder, reason, is_settling=True) for folder, reason in pending))
    return cast("Xattrs", parts.operations._xattrs)


async def told(parts: Mounted, path: str) -> dict[str, str]:
    """Return all the attributes of a path as the kernel gets them, without their common beginning."""
    inode = InodeT(pyfuse3.ROOT_INODE) if not path else (await parts.kernel.lookup(path)).st_ino
    names = await parts.operations.listxattr(inode, NO_CONTEXT)
    assert all(name.startswith(b"user.modelfs.") for name in names)
    values = {bytes(name).decode(): await parts.operations.getxattr(inode, name, NO_CONTEXT) for name in names}
    return {name.removeprefix("user.modelfs."): value.decode() for name, value in values.items()}


async def test_file_tells_its_url_version_date_and_what_is_cached_of_it() -> None:
    async with mounted(filled(), url=URL) as parts:
        info = cast("File", parts.view.tree.find("m/1/model.onnx")).info
        found = await told(parts, "m/1/model.onnx")
        assert found.pop("last_modified").endswith("Z")
        expected = {"url": f"{URL}/m/1/model.onnx", "version": info.version, "cached_bytes": "0", "state": "shown"}
        assert found == expected
        await parts.kernel.read_whole("m/1/model.onnx")
        assert (await told(parts, "m/1/model.onnx"))["cached_bytes"] == "1000"


async def test_folder_tells_its_url_and_the_sum_of_what_is_cached_below() -> None:
    async with mounted(filled(), url=URL) as parts:
        for path in ("m/1/model.onnx", "m/2/model.onnx", "m2/1/model.onnx"):
            await parts.kernel.read_whole(path)
        assert await told(parts, "m") == {"url": f"{URL}/m/", "cached_bytes": "2000", "state": "shown"}
        assert await told(parts, "") == {"url": URL, "cached_bytes": "3000", "state": "shown"}


REASON = "it changed less than 10 s ago"


@pytest.mark.parametrize(
    ("path", "lines"),
    [
        ("", [f"m: {REASON}", f"m/1: {REASON}", f"n/7: {REASON}"]),
        ("m", [f"m: {REASON}", f"m/1: {REASON}"]),
        ("m/config.pbtxt", [f"m: {REASON}"]),
        ("m/1", [f"m/1: {REASON}"]),
        ("m/1/model.onnx", [f"m/1: {REASON}"]),
        ("m/2", []),
        ("m/2/model.onnx", []),
        ("m2", []),
    ],
)
async def test_what_waits_is_pending_at_its_own_place_and_around_it_and_nowhere_else(
    path: str, lines: list[str]
) -> None:
    async with mounted(filled(), url=URL) as parts:
        xattrs_of(parts, ("m", REASON), ("m/1", REASON), ("n/7", REASON))
        found = await told(parts, path)
        assert found["state"] == ("pending" if lines else "shown")
        assert found.get("pending", "").splitlines() == lines


async def test_of_much_that_waits_a_hundred_folders_are_told() -> None:
    async with mounted(filled(), url=URL) as parts:
        xattrs_of(parts, *((f"m/{number}", REASON) for number in range(5000)))
        assert len((await told(parts, "m"))["pending"].splitlines()) == PENDING_TOLD == 100


async def test_version_that_is_held_open_and_no_longer_shown_is_gone() -> None:
    store = filled()
    async with mounted(store, url=URL) as parts:
        inode = (await parts.kernel.lookup("m/1/model.onnx")).st_ino
        store.put("m/1/model.onnx", b"another")
        await parts.view.refresh()
        value = await parts.operations.getxattr(inode, XAttrNameT(b"user.modelfs.state"), NO_CONTEXT)
        assert value == b"gone"
        assert (await told(parts, "m/1/model.onnx"))["state"] == "shown"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"security.capability", errno.EOPNOTSUPP),
        (b"security.selinux", errno.EOPNOTSUPP),
        (b"system.posix_acl_access", errno.EOPNOTSUPP),
        (b"trusted.overlay.opaque", errno.EOPNOTSUPP),
        (b"user.other", errno.ENODATA),
        (b"user.modelfs.nothing", errno.ENODATA),
        (b"user.modelfs.version", errno.ENODATA),  # a folder has none
        (b"user.modelfs.\xff", errno.ENODATA),
    ],
)
@pytest.mark.parametrize("look", [filled, MemoryStore], ids=["filled", "empty"])
async def test_what_there_is_not_is_told_apart_from_what_is_not_supported(
    name: bytes, expected: int, look: Callable[[], MemoryStore]
) -> None:
    async with mounted(look(), url=URL) as parts:
        with pytest.raises(pyfuse3.FUSEError) as raised:
            await parts.operations.getxattr(InodeT(pyfuse3.ROOT_INODE), XAttrNameT(name), NO_CONTEXT)
        assert raised.value.errno == expected


async def test_local_folder_at_the_root_of_the_machine_has_no_double_slash() -> None:
    async with mounted(filled(), url="/") as parts:
        assert (await told(parts, "m/1/model.onnx"))["url"] == "/m/1/model.onnx"
