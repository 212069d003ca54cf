"""The disk tier: what it returns is right, what it lacks is None, and nothing of it is ever an error."""

import os
import random
from pathlib import Path

import pytest
from disk_for_tests import (
    MIB,
    PATIENCE_S,
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
    tier_at,
)

from modelfs.blocks import BLOCK_BYTES, ObjectInfo
from modelfs.disk_format import CHUNK_BYTES

WHOLE = info()


def test_what_was_kept_is_there_after_a_restart(tmp_path: Path) -> None:
    with opened(tmp_path) as tier:
        assert read(tier, WHOLE, 0, WHOLE.size) is None
        keep(tier, WHOLE)
    with opened(tmp_path) as tier:
        assert tier.may_have(WHOLE, 0, 1)
        assert read(tier, WHOLE, 0, WHOLE.size) == content(WHOLE)
        at = CHUNK_BYTES + 7 * BLOCK_BYTES
        assert read(tier, WHOLE, at, BLOCK_BYTES) == content(WHOLE)[at : at + BLOCK_BYTES]
        assert tier.statistics()["hit_bytes"] == WHOLE.size + BLOCK_BYTES
        assert tier.statistics()["used_bytes"] >= WHOLE.size


def test_what_waits_is_written_at_the_end(tmp_path: Path) -> None:
    with opened(tmp_path) as tier:
        assert tier.keep(WHOLE, 0, memoryview(content(WHOLE)), None)
    with opened(tmp_path) as tier:
        assert read(tier, WHOLE, 0, WHOLE.size) == content(WHOLE)


@pytest.mark.parametrize(
    "other", [info(version='"v2"'), info(key="m/1/y"), info(size=WHOLE.size + 1), info(size=WHOLE.size - 1)]
)
def test_another_version_is_another_object(tmp_path: Path, other: ObjectInfo) -> None:
    with opened(tmp_path) as tier:
        keep(tier, WHOLE)
        assert read(tier, other, 0, BLOCK_BYTES) is None


def test_mounts_share_what_the_same_principal_may_read(tmp_path: Path) -> None:
    with opened(tmp_path) as one, opened(tmp_path) as same, opened(tmp_path, principal="another") as other:
        keep(one, WHOLE)
        assert read(same, WHOLE, 0, WHOLE.size) == content(WHOLE)
        assert read(other, WHOLE, 0, WHOLE.size) is None


def test_a_mount_above_shares_what_lies_below(tmp_path: Path) -> None:
    with opened(tmp_path, prefix="models/") as one, opened(tmp_path, prefix="") as above:
        keep(one, WHOLE)
        assert read(above, WHOLE._replace(key=f"models/{WHOLE.key}"), 0, WHOLE.size) == content(WHOLE)


def test_only_what_is_missing_is_asked_for(tmp_path: Path) -> None:
    store = Store(WHOLE)
    with opened(tmp_path) as tier:
        keep(tier, WHOLE, 2 * BLOCK_BYTES, 5 * BLOCK_BYTES)
        keep(tier, WHOLE, 60 * BLOCK_BYTES, 8 * BLOCK_BYTES)
        assert read_through(tier, WHOLE, 0, 10 * BLOCK_BYTES, store) == store.content[: 10 * BLOCK_BYTES]
        start, stop = 2 * BLOCK_BYTES, 68 * BLOCK_BYTES
        assert read_through(tier, WHOLE, start, stop - start, store) == store.content[start:stop]
        start, stop = 3 * BLOCK_BYTES, 7 * BLOCK_BYTES
        assert read_through(tier, WHOLE, start, stop - start, store) == store.content[start:stop]
        start = 3 * CHUNK_BYTES - 9 * MIB
        assert read_through(tier, WHOLE, start, WHOLE.size - start, store) == store.content[start:]
    assert store.asked == [
        (0, 10 * BLOCK_BYTES),
        (7 * BLOCK_BYTES, 53 * BLOCK_BYTES),
        (start, WHOLE.size - start),
    ]


def test_damage_is_counted_and_fetched_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with opened(tmp_path) as tier:
        keep(tier, WHOLE)
        path = next(path for path in chunk_files(tmp_path) if path.name.endswith("-1"))
        with path.open("r+b") as file:
            file.seek(5 * MIB)
            file.write(b"damaged")
        assert read(tier, WHOLE, 0, WHOLE.size) is None
        assert tier.statistics()["damaged_chunks"] == 1
        assert not path.exists()
        store = Store(WHOLE)
        assert read_through(tier, WHOLE, 0, WHOLE.size, store) == store.content
        assert store.asked == [(CHUNK_BYTES, CHUNK_BYTES)]
        keep(tier, WHOLE)
        assert read(tier, WHOLE, 0, WHOLE.size) == content(WHOLE)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "damaged" in caplog.text


def test_every_damage_is_found_and_every_read_right(tmp_path: Path) -> None:
    """Flipped bits, files that were cut, files that stand in another's place."""
    chance = random.Random(7)
    objects = [info(f"m/1/{name}", size=9 * MIB) for name in "abcdefgh"]
    with opened(tmp_path) as tier:
        for each in objects:
            keep(tier, each)
        files = chunk_files(tmp_path)
        assert len(files) == 16
        for path in files[:6]:
            changed = bytearray(path.read_bytes())
            # where something is: a short last block is filled up to a page
            changed[chance.randrange(min(len(changed), MIB))] ^= 1 << chance.randrange(8)
            path.write_bytes(changed)
        for path in files[6:10]:
            os.truncate(path, chance.randrange(1, path.stat().st_size - 4096))
        for left, right in (files[10:12], files[12:14]):
            left.rename(tmp_path / "aside")
            right.rename(left)
            (tmp_path / "aside").rename(right)
        for each in objects:
            store = Store(each)
            for start in range(0, each.size, CHUNK_BYTES):
                length = min(CHUNK_BYTES, each.size - start)
                assert read_through(tier, each, start, length, store) == store.content[start : start + length]
        assert tier.statistics()["damaged_chunks"] == 14


def test_a_folder_never_holds_more_than_its_quota(tmp_path: Path) -> None:
    """Whole chunks, single blocks and small files, by two mounts."""
    quota = 40 * MIB
    chance = random.Random(1)
    with opened(tmp_path, quota_bytes=quota) as one, opened(tmp_path, quota_bytes=quota) as other:
        for number in range(60):
            size = chance.choice([1, 5000, BLOCK_BYTES, 3 * MIB, 12 * MIB])
            whole = info(f"m/1/{number}", size)
            start = chance.randrange(-(-size // BLOCK_BYTES)) * BLOCK_BYTES
            keep(chance.choice([one, other]), whole, start, chance.choice([BLOCK_BYTES, size]))
            assert disk_bytes(tmp_path / "cache") <= quota
        assert one.statistics()["evicted_chunks"] + other.statistics()["evicted_chunks"] > 10
        assert disk_bytes(tmp_path / "cache") > quota // 2


def test_a_quota_smaller_than_a_chunk_keeps_nothing_and_hurts_nobody(tmp_path: Path) -> None:
    with opened(tmp_path, quota_bytes=MIB) as tier:
        keep(tier, WHOLE)
        store = Store(WHOLE)
        assert read_through(tier, WHOLE, 0, WHOLE.size, store) == store.content
        assert tier.statistics()["stored_bytes"] == 0
        assert tier.statistics()["shed_bytes"] == WHOLE.size


def test_what_is_read_lately_stays(tmp_path: Path) -> None:
    objects = [info(f"m/1/{number}", 7 * MIB) for number in range(8)]
    with opened(tmp_path, quota_bytes=40 * MIB) as tier:
        for each in objects[:4]:
            keep(tier, each)
        assert read(tier, objects[0], 0, objects[0].size) is not None
    with opened(tmp_path, quota_bytes=40 * MIB) as tier:  # what was read is told the index at the end, at the latest
        for each in objects[4:6]:
            keep(tier, each)
        there = [read(tier, each, 0, each.size) is not None for each in objects]
    assert there == [True, False, True, True, True, True, False, False] or there[0]
    assert not there[1]


def test_more_than_can_be_written_is_not_kept(tmp_path: Path) -> None:
    tier = tier_at(tmp_path, queue_bytes=30 * MIB)  # not opened: nothing is written
    tier._ledger.open()
    first = tier.claim(WHOLE, 0, WHOLE.size)
    assert first is not None
    assert tier.keep(WHOLE, 0, memoryview(content(WHOLE)), first)
    other = info("m/1/y")
    second = tier.claim(other, 0, other.size)
    assert second is not None
    assert not tier.keep(other, 0, memoryview(content(other)), second)
    assert tier.claim(other, 0, other.size) is not None, "its claim is given back"
    assert tier.claim(WHOLE, 0, WHOLE.size) is None
    assert tier.statistics()["shed_bytes"] == other.size


def test_a_claim_ends_when_its_blocks_are_written(tmp_path: Path) -> None:
    with opened(tmp_path) as one, opened(tmp_path) as other:
        claim = one.claim(WHOLE, 0, WHOLE.size)
        assert claim is not None
        assert other.claim(WHOLE, 0, BLOCK_BYTES) is None
        one.keep(WHOLE, 0, memoryview(content(WHOLE)), claim)
        assert one.flush(PATIENCE_S)
        assert read(other, WHOLE, 0, WHOLE.size) == content(WHOLE)
        assert other.claim(WHOLE, 0, BLOCK_BYTES) is not None


def test_names_that_fit_into_no_header_are_not_kept(tmp_path: Path) -> None:
    with opened(tmp_path) as tier:
        long = info("m/1/" + "x" * 4000)
        assert not tier.keep(long, 0, memoryview(content(long)), tier.claim(long, 0, long.size))
        assert tier.claim(long, 0, long.size) is not None


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701, 0o1700])
def test_a_folder_that_others_can_enter_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int) -> None:
    with opened(tmp_path) as tier:
        keep(tier, WHOLE)
    (tmp_path / "cache" / "modelfs-blocks").chmod(mode)
    with opened(tmp_path) as tier:
        check_hurts_nobody(tier, WHOLE)
        assert "0700" in tier.statistics()["trouble"]
    assert len(caplog.records) == 1
    assert "remove it, or choose another --cache-dir" in caplog.text


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with opened(tmp_path) as tier:
        keep(tier, WHOLE)
    os.chown(tmp_path / "cache" / "modelfs-blocks", 12345, 12345)
    with opened(tmp_path) as tier:
        check_hurts_nobody(tier, WHOLE)
    assert "must belong to user 0" in caplog.text


def test_a_link_in_the_place_of_the_folder_is_not_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with opened(tmp_path) as tier:
        keep(tier, WHOLE)
    (tmp_path / "cache" / "modelfs-blocks").rename(tmp_path / "elsewhere")
    (tmp_path / "cache" / "modelfs-blocks").symlink_to(tmp_path / "elsewhere")
    with opened(tmp_path) as tier:
        check_hurts_nobody(tier, WHOLE)
    assert len(caplog.records) == 1


@pytest.mark.parametrize("text", ["modelfs disk cache, format 2\n", "", "something else"])
def test_a_folder_of_another_format_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str) -> None:
    with opened(tmp_path) as tier:
        keep(tier, WHOLE)
    folder = tmp_path / "cache" / "modelfs-blocks"
    (folder / "format").write_text(text)
    before = {path: path.lstat().st_mtime_ns for path in folder.rglob("*")}
    with opened(tmp_path) as tier:
        check_hurts_nobody(tier, WHOLE)
    assert before == {path: path.lstat().st_mtime_ns for path in folder.rglob("*")}
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "another release" in caplog.text


def test_a_folder_with_files_of_others_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "cache" / "modelfs-blocks"
    folder.mkdir(parents=True, mode=0o700)
    (folder / "thesis.tex").touch()
    with opened(tmp_path) as tier:
        check_hurts_nobody(tier, WHOLE)
    assert os.listdir(folder) == ["thesis.tex"]
    assert "not the cache's" in caplog.text


@pytest.mark.parametrize("text", [b"", b"no database" * 1000])
def test_a_broken_index_is_made_anew_and_chunks_are_still_read(tmp_path: Path, text: bytes) -> None:
    with opened(tmp_path) as tier:
        keep(tier, WHOLE)
    (tmp_path / "cache" / "modelfs-blocks" / "index.db").write_bytes(text)
    with opened(tmp_path) as tier:
        store = Store(WHOLE)
        assert read_through(tier, WHOLE, 0, WHOLE.size, store) == store.content
        assert not store.asked
        other = info("m/1/y")
        keep(tier, other)
        assert read(tier, other, 0, other.size) == content(other)


def test_what_a_crash_left_in_a_chunk_counts_as_well(tmp_path: Path) -> None:
    with opened(tmp_path) as tier:
        keep(tier, WHOLE, 0, 4 * BLOCK_BYTES)
        (path,) = chunk_files(tmp_path)
        with path.open("r+b") as file:  # blocks were written, and the header that names them was not
            file.seek(8 * BLOCK_BYTES)
            file.write(bytes(16 * BLOCK_BYTES))
            os.fsync(file.fileno())
        keep(tier, WHOLE, 32 * BLOCK_BYTES, 4 * BLOCK_BYTES)
        assert path.stat().st_blocks * 512 <= tier.statistics()["used_bytes"] < 28 * BLOCK_BYTES
        keep(tier, WHOLE, 0, CHUNK_BYTES)
        assert path.stat().st_blocks * 512 <= tier.statistics()["used_bytes"]


def test_a_chunk_that_was_lost_and_has_come_again_stays_entered(tmp_path: Path) -> None:
    with opened(tmp_path) as tier:
        keep(tier, WHOLE, 0, BLOCK_BYTES)
        chunk = (tier.identify(WHOLE).id, 0)
        tier._ledger.strike_out([chunk])
        (whole,) = list(tier.kept_bytes([WHOLE]))
        assert whole[1] == BLOCK_BYTES
        chunk_files(tmp_path)[0].unlink()
        tier._ledger.strike_out([chunk])
        (whole,) = list(tier.kept_bytes([WHOLE]))
        assert whole[1] == 0


def test_what_is_written_into_the_index_alone_passes_no_quota(tmp_path: Path) -> None:
    quota = 24 * MIB
    with opened(tmp_path, quota_bytes=quota) as tier:
        keep(tier, WHOLE)
        keep(tier, info("m/1/y", BLOCK_BYTES))
        chunk = (tier.identify(WHOLE).id, 0)
        for _ in range(400):
            tier._ledger.touch([chunk])
            assert quota - CHUNK_BYTES < disk_bytes(tmp_path / "cache") <= quota
