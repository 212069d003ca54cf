"""Sharing: which mounts are given each other's listings, which are not, and what is left of it in the end."""

import json
import os
import time
from pathlib import Path
from stat import S_IMODE

import pytest

from modelfs.blocks import ObjectInfo
from modelfs.errors import AccessRefusedError
from modelfs.sharing import FOLDER, Sharing

SECRET = "not-to-be-found"
OBJECTS = [ObjectInfo(f"m/1/{number} ü\udc80", number, f'"{number}"', 10**18 + number) for number in range(2500)]


def shared(root: Path, *identity: str) -> Sharing:
    return Sharing(str(root), lambda: ["s3", "bucket", *(identity or (SECRET,))])


def leave_listing(sharing: Sharing, objects: list[ObjectInfo] = OBJECTS) -> bool | None:
    now_s = time.monotonic()
    return sharing.offer(objects, began_s=now_s - 0.001, ended_s=now_s)


def test_what_one_leaves_the_others_take_once_and_exactly(tmp_path: Path) -> None:
    leader, *others = [shared(tmp_path) for _ in range(3)]
    for each in others:
        assert each.take(after_s=0) is None
        assert not each.has_news()
    began_s = time.monotonic()
    assert leave_listing(leader)
    for each in others:
        assert each.has_news()
        taken = each.take(after_s=0)
        assert taken is not None
        assert taken.objects == OBJECTS
        assert began_s - 0.01 < taken.began_s <= taken.ended_s <= time.monotonic()
        assert not each.has_news()
    assert not leader.has_news()


def test_one_leads_until_it_ends_and_then_the_next_that_offers(tmp_path: Path) -> None:
    first, second, third = [shared(tmp_path) for _ in range(3)]
    assert [leave_listing(each) for each in (first, second, third, first)] == [True, False, False, True]
    first.leave()
    assert [leave_listing(each) for each in (third, second)] == [True, False]


def test_a_mount_that_is_alone_writes_no_listing(tmp_path: Path) -> None:
    assert leave_listing(shared(tmp_path))
    assert [path.name for path in (tmp_path / FOLDER).rglob("*") if path.is_file()] == ["lock"]


@pytest.mark.parametrize("other", [("another-key",), (SECRET, "token"), ("",)])
def test_who_would_ask_otherwise_is_given_nothing(tmp_path: Path, other: tuple[str, ...]) -> None:
    mine, same, theirs = shared(tmp_path), shared(tmp_path), shared(tmp_path, *other)
    same.take(after_s=0)
    assert leave_listing(theirs)
    assert leave_listing(mine)
    assert theirs.take(after_s=0) is None
    assert same.take(after_s=0) is not None


def test_who_has_new_credentials_leaves_the_others(tmp_path: Path) -> None:
    keys = ["old"]
    rotated = Sharing(str(tmp_path), lambda: keys)
    other = Sharing(str(tmp_path), lambda: ["old"])
    other.take(after_s=0)
    assert leave_listing(rotated)
    keys[0] = "new"
    assert rotated.take(after_s=0) is None
    assert leave_listing(other)
    assert rotated.take(after_s=0) is None


def test_a_listing_that_began_before_ones_own_is_none(tmp_path: Path) -> None:
    leader, other = shared(tmp_path), shared(tmp_path)
    other.take(after_s=0)
    leave_listing(leader)
    assert other.take(after_s=time.monotonic()) is None


def test_no_secret_is_written_and_nobody_else_may_look(tmp_path: Path) -> None:
    leader, other = shared(tmp_path), shared(tmp_path)
    other.take(after_s=0)
    leave_listing(leader)
    for path in (tmp_path / FOLDER, *(tmp_path / FOLDER).rglob("*")):
        assert S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
        assert SECRET not in path.name
        assert not path.is_file() or SECRET.encode() not in path.read_bytes()


def test_nothing_is_left_when_all_have_gone(tmp_path: Path) -> None:
    mounts = [shared(tmp_path) for _ in range(3)]
    for each in mounts:
        leave_listing(each)
    for each in mounts[1:]:
        each.leave()
    assert len(list((tmp_path / FOLDER).iterdir())) == 1
    mounts[0].leave()
    assert list(tmp_path.iterdir()) == []


def test_what_mounts_that_were_killed_left_is_swept_by_the_next(tmp_path: Path) -> None:
    killed, beside = shared(tmp_path, "killed"), shared(tmp_path, "killed")
    beside.take(after_s=0)
    leave_listing(killed)
    for each in (killed, beside):
        os.close(each._lock)  # all that the kernel does for a process that dies
    living = shared(tmp_path)
    assert leave_listing(living)
    assert len(list((tmp_path / FOLDER).iterdir())) == 1


def test_a_group_that_was_swept_under_somebody_is_made_anew(tmp_path: Path) -> None:
    one, two = shared(tmp_path), shared(tmp_path)
    for each in (one, two):
        each.take(after_s=0)
    (folder,) = (tmp_path / FOLDER).iterdir()
    (folder / "lock").unlink()
    folder.rmdir()
    assert one.take(after_s=0) is two.take(after_s=0) is None
    assert leave_listing(two)
    assert one.take(after_s=0) is not None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda objects, _notice: objects.write_bytes(objects.read_bytes().replace(b"m/1/7 ", b"m/1/8 ")),
        lambda objects, _notice: objects.write_bytes(objects.read_bytes()[:-100]),
        lambda objects, _notice: objects.write_bytes(b"[[]]"),
        lambda objects, _notice: objects.unlink(),
        lambda _objects, notice: notice.write_bytes(b"{"),
        lambda _objects, notice: notice.write_bytes(b"[]"),
        lambda _objects, notice: notice.write_bytes(b"{}"),
        lambda _objects, notice: notice.write_text(notice.read_text().replace("objects-", "../objects-")),
        lambda _objects, notice: notice.write_text(json.dumps(json.loads(notice.read_text()) | {"boot": "another"})),
        lambda _objects, notice: notice.write_text(json.dumps(json.loads(notice.read_text()) | {"ended_s": 1e12})),
        lambda objects, _notice: (objects.unlink(), objects.symlink_to("/etc/passwd")),
    ],
)
def test_what_is_not_whole_is_not_taken(tmp_path: Path, spoil: object) -> None:
    leader, other = shared(tmp_path), shared(tmp_path)
    other.take(after_s=0)
    leave_listing(leader)
    (folder,) = (tmp_path / FOLDER).iterdir()
    (objects,) = folder.glob("objects-*")
    assert callable(spoil)
    spoil(objects, folder / "notice")
    assert other.take(after_s=0) is None


def test_credentials_that_cannot_be_had_share_nothing_and_break_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> list[str]:
        raise AccessRefusedError("no token")

    sharing = Sharing(str(tmp_path), refuse)
    assert leave_listing(sharing) is None
    assert sharing.take(after_s=0) is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    sharing.leave()


@pytest.mark.parametrize("mode", [0o755, 0o770])
def test_a_folder_that_others_may_enter_is_not_used(tmp_path: Path, mode: int) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER).chmod(mode)
    assert leave_listing(shared(tmp_path)) is None
    assert list((tmp_path / FOLDER).iterdir()) == []
