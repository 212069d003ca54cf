"""Locks are seen by all holders, and end with theirs."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelfs.disk_locks import Locks

ONE, OTHER = b"1" * 16, b"2" * 16
BLOCKS = 64


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def locks(folder: int) -> Locks:
    return Locks(folder, "locks")


@pytest.fixture
def others(folder: int) -> Locks:
    return Locks(folder, "locks")


def test_a_block_is_claimed_once(locks: Locks, others: Locks) -> None:
    assert locks.claim(ONE, 0, 8)
    assert not others.claim(ONE, 7, 9)
    assert not locks.claim(ONE, 7, 9), "not by another thread of the same process either"
    assert others.claim(ONE, 8, 9)
    assert others.claim(OTHER, 0, 8)
    locks.unclaim(ONE, 0, 8)
    assert others.claim(ONE, 0, 8)


def test_claims_of_neighbours_end_one_by_one(locks: Locks, others: Locks) -> None:
    """The kernel keeps neighbouring ranges of one holder as one."""
    assert locks.claim(ONE, 0, 8)
    assert locks.claim(ONE, 8, 16)
    locks.unclaim(ONE, 0, 8)
    assert others.claim(ONE, 0, 8)
    assert not others.claim(ONE, 8, 9)


def test_what_is_read_is_not_thrown_away(locks: Locks, others: Locks) -> None:
    assert locks.share(ONE, range(1, 2))
    assert not others.own(ONE, 1, BLOCKS)
    assert others.own(ONE, 0, BLOCKS)
    locks.unshare(ONE, range(1, 2))
    assert others.own(ONE, 1, BLOCKS)


def test_what_is_being_thrown_away_is_neither_read_nor_filled(locks: Locks, others: Locks) -> None:
    assert locks.own(ONE, 1, BLOCKS)
    assert not others.share(ONE, range(1, 2))
    assert not others.claim(ONE, 127, 128)
    assert not others.hold_header(ONE, 1)
    locks.disown(ONE, 1, BLOCKS)
    assert others.share(ONE, range(1, 2))
    assert others.hold_header(ONE, 1)


def test_what_is_filled_is_not_thrown_away(locks: Locks, others: Locks) -> None:
    assert locks.hold_header(ONE, 1)
    assert not others.own(ONE, 1, BLOCKS)
    locks.drop_header(ONE, 1)
    assert locks.claim(ONE, 64, 65)
    assert not others.own(ONE, 1, BLOCKS)
    assert others.share(ONE, range(1, 2)), "a refused one leaves nothing behind, and a claim keeps no reader out"


def test_many_read_the_same(folder: int, locks: Locks, others: Locks) -> None:
    for each in (locks, others, locks):
        assert each.share(ONE, range(3))
    third = Locks(folder, "locks")
    locks.unshare(ONE, range(3))
    others.unshare(ONE, range(3))
    assert not third.own(ONE, 2, BLOCKS), "the first still reads"
    locks.unshare(ONE, range(3))
    assert third.own(ONE, 2, BLOCKS)


def test_who_cannot_read_all_keeps_nothing(locks: Locks, others: Locks) -> None:
    assert locks.own(ONE, 2, BLOCKS)
    assert not others.share(ONE, range(4))
    assert locks.own(ONE, 1, BLOCKS)


def test_places_far_into_an_object_are_places(locks: Locks, others: Locks) -> None:
    assert locks.claim(b"\xff" * 16, 2**40, 2**40 + 64)
    assert not others.claim(b"\xff" * 16, 2**40, 2**40 + 1)


def test_locks_end_with_a_killed_process(locks: Locks, tmp_path: Path) -> None:
    code = (
        "import os, sys, time; from modelfs.disk_locks import Locks\n"
        f"locks = Locks(os.open({str(tmp_path)!r}, os.O_RDONLY), 'locks')\n"
        f"assert locks.claim({ONE!r}, 0, 8); print('held', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert not locks.claim(ONE, 0, 8)
        holder.kill()
        holder.wait()
        assert locks.claim(ONE, 0, 8)


def test_who_reads_an_object_is_known_to_others_and_not_to_itself(locks: Locks, others: Locks) -> None:
    locks.attend(ONE)
    locks.attend(ONE)
    assert others.is_attended(ONE)
    assert not others.is_attended(OTHER)
    assert not locks.is_attended(ONE)
    others.attend(ONE)
    assert locks.is_attended(ONE)
    locks.unattend(ONE)
    assert others.is_attended(ONE)
    locks.unattend(ONE)
    assert not others.is_attended(ONE)
    assert others.own(ONE, 0, BLOCKS), "it keeps nothing from being thrown away"
