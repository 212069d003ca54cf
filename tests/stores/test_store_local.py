"""A local folder where it is unlike other stores: links, special files, what cannot be read, what changes meanwhile."""

import errno
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stores.venues import open_url

from modelfs.blocks import ObjectInfo
from modelfs.errors import (
    AccessRefusedError,
    ObjectNotFoundError,
    StoreRefusedError,
    StoreUnavailableError,
    VersionGoneError,
)
from modelfs.store_local import LocalStore


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "repo"
    folder.mkdir()
    return folder


def write(path: Path, data: bytes = b"content") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def listed(root: Path, folder: str = "") -> dict[str, ObjectInfo]:
    store = LocalStore(str(root))
    found: dict[str, ObjectInfo] = {}
    token: str | None = None
    for _ in range(1000):
        page = store.list_page(token, folder)
        found |= {info.key: info for info in page.objects}
        token = page.next_token
        if token is None:
            return found
    pytest.fail("the listing does not end")


def test_empty_folders_are_markers_and_others_are_not(root: Path) -> None:
    write(root / "m/1/x")
    (root / "ensemble/1").mkdir(parents=True)
    assert listed(root).keys() == {"m/1/x", "ensemble/1/"}
    assert listed(root)["ensemble/1/"].size == 0
    assert listed(root)["ensemble/1/"].mtime_ns == (root / "ensemble/1").stat().st_mtime_ns


def test_time_is_the_files_to_the_nanosecond(root: Path) -> None:
    os.utime(write(root / "x"), ns=(1, 1_700_000_000_123_456_789))
    assert listed(root)["x"].mtime_ns == 1_700_000_000_123_456_789


def test_links_to_files_and_folders_are_followed(root: Path, tmp_path: Path) -> None:
    write(tmp_path / "elsewhere/1/x", b"12345")
    (root / "folder").symlink_to(tmp_path / "elsewhere")
    (root / "file").symlink_to(tmp_path / "elsewhere/1/x")
    found = listed(root)
    assert found.keys() == {"folder/1/x", "file"}
    store = LocalStore(str(root))
    assert bytes(store.read(found["folder/1/x"], 1, 3)) == b"234"
    assert bytes(store.read(found["file"], 4, 1)) == b"5"


def test_root_may_be_a_link(root: Path, tmp_path: Path) -> None:
    write(root / "x")
    (tmp_path / "link").symlink_to(root)
    assert listed(tmp_path / "link").keys() == {"x"}


@pytest.mark.parametrize("target", [".", "..", "../..", "../../m/1", "absolute"])
def test_link_back_to_a_folder_above_is_cut(root: Path, target: str, caplog: pytest.LogCaptureFixture) -> None:
    write(root / "m/1/x")
    (root / "m/1/loop").symlink_to(root if target == "absolute" else target)
    assert listed(root).keys() == {"m/1/x"}
    assert "leads back" in caplog.text


def test_loop_by_way_of_another_folder_is_cut(root: Path, tmp_path: Path) -> None:
    write(root / "m/x")
    write(tmp_path / "elsewhere/y")
    (root / "m/out").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(root / "m")
    assert listed(root).keys() == {"m/x", "m/out/y"}


def test_folder_lists_what_a_walk_from_the_root_finds_in_it(root: Path, tmp_path: Path) -> None:
    write(root / "m/1/x")
    write(tmp_path / "elsewhere/y")
    (root / "m/out").symlink_to(tmp_path / "elsewhere")
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(root / "m")
    (root / "loop").symlink_to(".")
    (root / "m/1/loop").symlink_to("..")
    (root / "nowhere").symlink_to("nowhere")
    (root / "empty").mkdir()
    everything = listed(root)
    assert {"m/1/x", "m/out/y", "linked/y", "linked/back/1/x", "empty/"} <= everything.keys()
    for folder in (
        "m/",
        "m/1/",
        "m/out/",
        "linked/",
        "linked/back/",
        "loop/",
        "loop/m/",
        "m/1/loop/",
        "nowhere/",
        "empty/",
    ):
        expected = {key: info for key, info in everything.items() if key.startswith(folder)}
        assert listed(root, folder) == expected, folder


def test_same_folder_linked_twice_is_shown_twice(root: Path, tmp_path: Path) -> None:
    write(tmp_path / "elsewhere/x")
    for name in "ab":
        (root / name).symlink_to(tmp_path / "elsewhere")
    assert listed(root).keys() == {"a/x", "b/x"}


def test_what_is_no_file_or_folder_is_left_out_and_told_once(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(root / "m/x")
    os.mkfifo(root / "m/fifo")
    (root / "m/device").symlink_to("/dev/null")
    (root / "m/nowhere").symlink_to("no-such-file")
    (root / "m/itself").symlink_to("itself")
    (root / os.fsdecode(b"m/\xff")).write_bytes(b"x")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "m/socket"))
        store = LocalStore(str(root))
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                assert [info.key for info in store.list_page(None).objects] == ["m/x"]
    told = sorted(record.getMessage() for record in caplog.records)
    assert told == [
        "not shown, it is neither a file nor a folder key='m/device'",
        "not shown, it is neither a file nor a folder key='m/fifo'",
        "not shown, it is neither a file nor a folder key='m/socket'",
        "not shown, its name is not valid UTF-8 key='m/\\udcff'",
        "not shown, the link leads nowhere key='m/itself'",
        "not shown, the link leads nowhere key='m/nowhere'",
    ]


def test_folder_of_left_out_entries_is_an_empty_folder(root: Path) -> None:
    (root / "m").mkdir()
    os.mkfifo(root / "m/fifo")
    assert listed(root).keys() == {"m/"}


def test_very_deep_folders_do_not_end_the_listing(root: Path) -> None:
    write(root / "m/x")
    fd = os.open(root, os.O_RDONLY)
    for _ in range(30):  # 30 names of 200 characters are more than a path may have
        os.mkdir("d" * 200, dir_fd=fd)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    assert "m/x" in listed(root)


def test_root_must_be_a_folder(root: Path) -> None:
    with pytest.raises(ObjectNotFoundError, match="no folder"):
        listed(write(root / "x"))
    with pytest.raises(ObjectNotFoundError, match="check the path"):
        listed(root / "absent")
    with pytest.raises(ObjectNotFoundError, match="check the path"):
        listed(root / "x/below")


# -- what cannot be read. Root may read everything, so the kernel's answer is put in its place.


def failing(monkeypatch: pytest.MonkeyPatch, name: str, number: int, path: Path) -> None:
    real: Callable[..., Any] = getattr(os, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        if args and str(args[0]).rstrip("/") == str(path):
            raise OSError(number, os.strerror(number), str(args[0]))
        return real(*args, **kwargs)

    monkeypatch.setattr(os, name, call)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EACCES, AccessRefusedError),
        (errno.EPERM, AccessRefusedError),
        (errno.EIO, StoreUnavailableError),
        (errno.ESTALE, StoreUnavailableError),
        (errno.EMFILE, StoreUnavailableError),
    ],
)
def test_folder_that_cannot_be_read_fails_the_listing(
    root: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    write(root / "m/1/x")
    write(root / "n/1/x")
    failing(monkeypatch, "scandir", number, root / "m/1")
    with pytest.raises(kind, match="m/1"):
        listed(root)


def test_folder_that_vanishes_during_the_walk_is_gone(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(root / "m/1/x")
    write(root / "n/1/x")
    failing(monkeypatch, "scandir", errno.ENOENT, root / "m/1")
    assert listed(root).keys() == {"n/1/x"}


def test_root_that_vanishes_during_the_walk_fails_it(root: Path) -> None:
    for number in range(1500):
        write(root / f"m{number % 3}/{number}")
    store = LocalStore(str(root))
    page = store.list_page(None)
    assert page.next_token is not None
    root.rename(root.with_name("old"))
    with pytest.raises(ObjectNotFoundError):
        store.list_page(page.next_token)
    root.mkdir()
    with pytest.raises(StoreRefusedError, match="replaced while it was listed"):
        store.list_page(page.next_token)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOENT, VersionGoneError),
        (errno.ELOOP, VersionGoneError),
        (errno.EACCES, AccessRefusedError),
        (errno.EIO, StoreUnavailableError),
    ],
)
def test_file_that_cannot_be_opened_is_one_of_our_errors(
    root: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    write(root / "m/x")
    info = listed(root)["m/x"]
    failing(monkeypatch, "open", number, root / "m/x")
    with pytest.raises(kind, match="m/x"):
        LocalStore(str(root)).read(info, 0, 1)


def test_error_in_mid_read_is_one_of_ours_and_leaves_no_descriptor(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(root / "m/x")
    info = listed(root)["m/x"]
    before = len(os.listdir("/proc/self/fd"))

    def refuse(*_args: object) -> bytes:
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(os, "pread", refuse)
    with pytest.raises(StoreUnavailableError):
        LocalStore(str(root)).read(info, 0, 1)
    assert len(os.listdir("/proc/self/fd")) == before


def test_short_reads_are_gone_on_with(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(root / "m/x", bytes(range(100)))
    info = listed(root)["m/x"]
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, length, offset: real(fd, min(length, 7), offset))
    assert bytes(LocalStore(str(root)).read(info, 3, 90)) == bytes(range(3, 93))


# -- versions


@pytest.mark.parametrize("change", ["append", "cut", "rewrite", "touch"])
def test_change_in_place_is_another_version(root: Path, change: str) -> None:
    path = write(root / "m/x", b"content")
    os.utime(path, ns=(1, 1))  # so that the change is later, however coarse the clock is
    old = listed(root)["m/x"]
    if change == "append":
        with path.open("ab") as file:
            file.write(b"more")
    elif change == "cut":
        os.truncate(path, 3)
    elif change == "rewrite":
        path.write_bytes(b"CONTENT")
    else:
        path.touch()
    assert listed(root)["m/x"].version != old.version
    with pytest.raises(VersionGoneError):
        LocalStore(str(root)).read(old, 0, 1)


def test_change_during_the_read_is_noticed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(root / "m/x", b"content")
    os.utime(path, ns=(1, 1))
    info = listed(root)["m/x"]
    real = os.pread

    def slow(fd: int, length: int, offset: int) -> bytes:
        data = real(fd, length, offset)
        path.write_bytes(b"CONTENT")
        return data

    monkeypatch.setattr(os, "pread", slow)
    with pytest.raises(VersionGoneError):
        LocalStore(str(root)).read(info, 0, 7)


@pytest.mark.parametrize("kind", ["fifo", "folder", "link to nowhere"])
def test_file_that_became_something_else_is_gone_and_never_waited_for(root: Path, kind: str) -> None:
    path = write(root / "m/x")
    info = listed(root)["m/x"]
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("nowhere")
    with pytest.raises(VersionGoneError):
        LocalStore(str(root)).read(info, 0, 1)


def test_swap_of_a_kubernetes_volume_is_a_new_version(root: Path) -> None:
    for name in ("..one", "..two"):
        write(root / name / "config.pbtxt", name.encode())
    (root / "..data").symlink_to("..one")
    (root / "config.pbtxt").symlink_to("..data/config.pbtxt")
    old = listed(root)["config.pbtxt"]
    (root / "..new").symlink_to("..two")
    (root / "..new").rename(root / "..data")
    new = listed(root)["config.pbtxt"]
    assert new.version != old.version
    with pytest.raises(VersionGoneError):
        LocalStore(str(root)).read(old, 0, 5)
    assert bytes(LocalStore(str(root)).read(new, 0, 5)) == b"..two"


def test_file_url_is_a_local_folder(root: Path) -> None:
    write(root / "a b/x")
    (info,) = open_url(f"file://{root}/a%20b").list_page(None).objects
    assert info.key == "x"
