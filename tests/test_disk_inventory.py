"""What ``modelfs cache`` does with what is kept, beside mounts that use it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from disk_for_tests import MIB, QUOTA_BYTES, chunk_files, content, info, keep, opened, read

from modelfs.disk import DiskTier
from modelfs.disk_format import CHUNK_BYTES
from modelfs.disk_inventory import Inventory, exists
from modelfs.remembered import NOBODY

WHOLE = info("m/1/x", 20 * MIB + 5)
SECOND = info("m/2/x", 3 * MIB)
CONFIG = info("m/config.pbtxt", 500)
OTHER = info("n/1/x", 2 * MIB)
SOURCE = "s3://b/models"


@pytest.fixture
def tier(tmp_path: Path) -> Iterator[DiskTier]:
    with opened(tmp_path) as tier:
        for each in (WHOLE, SECOND, CONFIG, OTHER):
            keep(tier, each)
        yield tier


@pytest.fixture
def inventory(tmp_path: Path, tier: DiskTier) -> Iterator[Inventory]:  # noqa: ARG001  beside it
    inventory = Inventory(str(tmp_path / "cache"))
    yield inventory
    inventory.close()


def places(inventory: Inventory, below: str | None = None) -> list[tuple[str, str]]:
    return [(each.model, each.version) for each in inventory.shares(below)]


def test_what_is_kept_is_told_by_model_and_version(inventory: Inventory) -> None:
    assert places(inventory) == [("m", ""), ("m", "1"), ("m", "2"), ("n", "1")]
    assert places(inventory, f"{SOURCE}/m/2") == [("m", "2")]
    (found,) = inventory.shares(f"{SOURCE}/m/1")
    assert (found.files, found.bytes) == (1, WHOLE.size)
    assert WHOLE.size <= found.kept_bytes <= WHOLE.size + MIB
    space = inventory.space(QUOTA_BYTES)
    assert (space.objects, space.chunks, space.quota_bytes) == (4, 6, QUOTA_BYTES)


def test_nothing_is_where_no_cache_is(tmp_path: Path) -> None:
    assert not exists(str(tmp_path / "cache"))
    assert not list(tmp_path.iterdir())


def test_what_is_thrown_away_is_gone_for_the_mount_as_well(inventory: Inventory, tier: DiskTier) -> None:
    assert inventory.throw_away(f"{SOURCE}/m/1", pinned=False).chunks == 3
    assert read(tier, WHOLE, 0, WHOLE.size) is None
    assert read(tier, SECOND, 0, SECOND.size) == content(SECOND)


def test_what_is_pinned_stays_unless_it_is_meant(inventory: Inventory, tier: DiskTier) -> None:
    assert inventory.pin(f"{SOURCE}/m", is_on=True) == 3
    inventory.throw_away(None, pinned=False)
    assert places(inventory) == [("m", ""), ("m", "1"), ("m", "2")]
    assert read(tier, OTHER, 0, OTHER.size) is None
    inventory.throw_away(None, pinned=True)
    assert places(inventory) == []


def test_what_is_being_filled_stays(inventory: Inventory, tier: DiskTier) -> None:
    claim = tier.claim(WHOLE, CHUNK_BYTES, CHUNK_BYTES)
    assert claim is not None
    done = inventory.throw_away(f"{SOURCE}/m/1", pinned=False)
    assert (done.chunks, done.in_use) == (2, 1)
    claim.release()


def test_what_is_damaged_is_found_and_thrown_away(inventory: Inventory, tmp_path: Path, tier: DiskTier) -> None:
    assert inventory.verify(lambda _: None).damaged == []
    told = 0

    def tell(more: int) -> None:
        nonlocal told
        told += more

    largest = max(chunk_files(tmp_path), key=lambda path: path.stat().st_size)
    descriptor = os.open(largest, os.O_RDWR)
    byte = os.pread(descriptor, 1, MIB)
    os.pwrite(descriptor, bytes([byte[0] ^ 1]), MIB)
    os.close(descriptor)
    done = inventory.verify(tell)
    (damaged,) = done.damaged
    assert damaged.startswith(f"{SOURCE}/m/1/x at ")
    assert told == done.bytes == sum(each.size for each in (WHOLE, SECOND, CONFIG, OTHER)) - CHUNK_BYTES
    assert read(tier, WHOLE, 0, WHOLE.size) is None
    assert inventory.verify(tell).damaged == []


def test_what_the_repository_has_no_more_is_told(inventory: Inventory, tier: DiskTier) -> None:
    tier.mark_gone(lambda key, version: (key, version) != (WHOLE.key, WHOLE.version))
    assert [each.gone for each in inventory.shares()] == [0, 1, 0, 0]


def test_bytes_that_are_kept_are_told_of_each_file(tier: DiskTier) -> None:
    absent = info("m/3/x", MIB)
    kept = dict(tier.kept_bytes([WHOLE, CONFIG, absent]))
    assert kept[WHOLE] == WHOLE.size
    assert kept[CONFIG] == CONFIG.size
    assert kept[absent] == 0


def test_who_reads_is_told_from_others(tmp_path: Path) -> None:
    with opened(tmp_path) as mine, opened(tmp_path) as also_mine, opened(tmp_path, principal="another") as theirs:
        assert mine.who == also_mine.who != theirs.who
        assert len(mine.who) == len(NOBODY)
