"""A disk tier on a disk that fails, fills, vanishes: one warning, reads that go on, and use of it again later."""

import errno
import logging
import os
import shutil
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from disk_for_tests import (
    MIB,
    PATIENCE_S,
    Clock,
    Store,
    check_hurts_nobody,
    chunk_files,
    content,
    disk_bytes,
    info,
    keep,
    opened,
    read,
    read_through,
)

from modelfs import disk_chunks, disk_ledger, disk_trouble, disk_writer
from modelfs.disk import DiskTier
from modelfs.disk_home import Home

WHOLE = info()
WHOLE_CHUNKS = 3


def see_it_end(tier: DiskTier, clock: Clock) -> None:
    """See that trouble with writing ends when it has gone well for a while, and not before."""
    assert tier.statistics()["trouble"]
    clock.now_s += disk_trouble.CALM_S
    keep(tier, info("m/1/at the end"))
    assert tier.statistics()["trouble"] == ""


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "dmesg"),
        (errno.EDQUOT, "quota"),
        (errno.ESTALE, "mend it"),
    ],
)
def test_a_disk_that_cannot_be_written_is_one_warning_and_used_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int, advice: str
) -> None:
    clock = Clock()
    with opened(tmp_path, clock=clock) as tier, monkeypatch.context() as patched:

        def fail(*_: object) -> int:
            raise OSError(number, os.strerror(number))

        patched.setattr(disk_chunks, "_write_all", fail)
        for _ in range(3):
            check_hurts_nobody(tier, WHOLE)
            clock.now_s += disk_trouble.LONGEST_PAUSE_S
        assert advice in tier.statistics()["trouble"]
        assert not chunk_files(tmp_path)
        patched.undo()
        clock.now_s += disk_trouble.LONGEST_PAUSE_S
        keep(tier, WHOLE)
        assert read(tier, WHOLE, 0, WHOLE.size) == content(WHOLE)
        see_it_end(tier, clock)
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 2
    assert advice in warnings[0]
    assert "again" in warnings[1]


def test_a_disk_that_cannot_be_read_is_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    with opened(tmp_path, clock=clock) as tier:
        keep(tier, WHOLE)

        def fail(*_: object) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        with monkeypatch.context() as patched:
            patched.setattr(os, "preadv", fail)
            patched.setattr(os, "pread", fail)
            for _ in range(3):
                store = Store(WHOLE)
                assert read(tier, WHOLE, 0, WHOLE.size) is None
                assert read_through(tier, WHOLE, 0, WHOLE.size, store) == store.content
                assert not tier.may_have(WHOLE, 0, WHOLE.size)
                assert "dmesg" in tier.statistics()["trouble"]
                clock.now_s += disk_trouble.LONGEST_PAUSE_S
        assert read(tier, WHOLE, 0, WHOLE.size) == content(WHOLE)
        clock.now_s += disk_trouble.CALM_S
        assert read(tier, WHOLE, 0, WHOLE.size) == content(WHOLE)
        assert tier.statistics()["trouble"] == ""
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 2


def test_a_folder_that_vanishes_is_made_again(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, clock=clock) as tier:
        keep(tier, WHOLE)
        shutil.rmtree(tmp_path / "cache")
        check_hurts_nobody(tier, WHOLE)
        tier._ledger._looked_s = 0.0  # as half a second later
        clock.now_s += disk_trouble.LONGEST_PAUSE_S
        keep(tier, WHOLE)
        assert read(tier, WHOLE, 0, WHOLE.size) == content(WHOLE)
        assert disk_bytes(tmp_path / "cache") > WHOLE.size


def test_a_folder_that_is_a_file_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "cache").touch()
    with opened(tmp_path) as tier:
        check_hurts_nobody(tier, WHOLE)
        check_hurts_nobody(tier, WHOLE)
    assert len(caplog.records) == 1


def test_a_claim_holds_until_it_is_given_back_also_when_its_folder_is_closed(tmp_path: Path) -> None:
    home, others = Home(str(tmp_path)), Home(str(tmp_path))
    claims, blocks = home.claims, (b"x" * 16, 0, 8)
    assert claims.claim(*blocks)
    del home
    assert not others.claims.claim(*blocks)
    claims.unclaim(*blocks)
    assert others.claims.claim(*blocks)


class Space:
    """A disk on which others leave so much room, in shares of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, free_share: float) -> None:
        self.free_share = free_share
        self.disk_bytes = 1024 * MIB
        monkeypatch.setattr(Home, "space", lambda _: (int(self.free_share * self.disk_bytes), self.disk_bytes))


def test_a_disk_that_others_fill_is_one_warning_and_used_again_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    space = Space(monkeypatch, 0.14)
    with opened(tmp_path, clock=clock) as tier:
        for _ in range(3):
            check_hurts_nobody(tier, WHOLE)
            clock.now_s += disk_trouble.LONGEST_PAUSE_S
            assert "15 % of the disk" in tier.statistics()["trouble"]
        assert not chunk_files(tmp_path)
        space.free_share = 0.5
        tier._ledger._looked_s = 0.0  # as half a second later
        keep(tier, WHOLE)
        see_it_end(tier, clock)
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 2
    assert "make room on it" in warnings[0]
    assert "again" in warnings[1]


def test_the_cache_gives_way_to_others_also_where_nothing_is_written_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = Space(monkeypatch, 0.5)
    with opened(tmp_path) as tier:
        keep(tier, WHOLE)
        space.free_share = 0.15 - 1e-9
        assert tier._ledger.give_way()
        assert len(chunk_files(tmp_path)) == WHOLE_CHUNKS - 1, "no more than is needed"
        space.free_share = 0.0
        assert not tier._ledger.give_way()
        assert not chunk_files(tmp_path)
        assert tier.statistics()["evicted_chunks"] == WHOLE_CHUNKS


def test_others_need_for_room_is_looked_at_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_writer, "ROOM_S", 0.01)
    space = Space(monkeypatch, 0.5)
    with opened(tmp_path) as tier:
        keep(tier, WHOLE)
        space.free_share = 0.0
        deadline_s = time.monotonic() + PATIENCE_S
        while chunk_files(tmp_path):
            assert time.monotonic() < deadline_s
            time.sleep(0.01)


def test_a_file_for_which_there_is_no_room_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with opened(tmp_path, quota_bytes=20 * MIB) as tier:
        for _ in range(2):
            keep(tier, info(size=60 * MIB))
        assert 0 < len(chunk_files(tmp_path)) < 3
        assert tier.statistics()["trouble"] == ""
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "give it more with --cache-size" in caplog.text


def test_a_folder_whose_disk_is_gone_is_not_made_on_the_disk_below(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    root = tmp_path / "cache"
    monkeypatch.setattr(disk_ledger, "disk_root", lambda _: str(root))
    with opened(tmp_path, clock=clock) as tier:
        keep(tier, WHOLE)
        (tmp_path / "cache").rename(tmp_path / "away")
        (tmp_path / "cache").mkdir()
        root = tmp_path
        tier._ledger._looked_s = 0.0  # as half a second later
        check_hurts_nobody(tier, info("m/1/z"))
        assert not os.listdir(tmp_path / "cache")
        assert "vanished" in tier.statistics()["trouble"]
        (tmp_path / "cache").rmdir()
        (tmp_path / "away").rename(tmp_path / "cache")
        root = tmp_path / "cache"
        clock.now_s += disk_trouble.LONGEST_PAUSE_S
        keep(tier, info("m/1/y"))
        assert read(tier, WHOLE, 0, WHOLE.size) == content(WHOLE)
        see_it_end(tier, clock)
    assert len(caplog.records) == 2


def test_what_the_index_says_of_the_disk_is_told_as_the_disk_says_it() -> None:
    for code, advice in ((sqlite3.SQLITE_FULL, "full"), (sqlite3.SQLITE_READONLY | 3 << 8, "read-only")):
        error = sqlite3.OperationalError("anything")
        error.sqlite_errorcode = code
        assert advice in disk_trouble.explained(error)
    assert "made anew" in disk_trouble.explained(sqlite3.DatabaseError("file is not a database"))


def test_what_says_the_format_is_synced_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    rename = os.rename
    monkeypatch.setattr(os, "fsync", lambda descriptor: steps.append(Path(f"/proc/self/fd/{descriptor}").read_text()))

    def renamed(*names: Any, **more: Any) -> None:
        steps.append("rename")
        rename(*names, **more)

    monkeypatch.setattr(os, "rename", renamed)
    Home(str(tmp_path))
    assert steps == ["modelfs disk cache, format 1\n", "rename"]


def test_a_disk_that_others_fill_as_soon_as_there_is_room_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    trouble = disk_trouble.Trouble("/cache", "written", clock)
    for _ in range(10):
        trouble.note(OSError(errno.ENOSPC, "full"))
        assert trouble.is_on()
        clock.now_s += disk_trouble.LONGEST_PAUSE_S
        assert not trouble.is_on()
        trouble.end()
        clock.now_s += disk_trouble.CALM_S - 1
        trouble.end()
        assert trouble.reason
    assert len(caplog.records) == 1
    clock.now_s += 1
    trouble.end()
    assert not trouble.reason
    assert "again" in caplog.text
