"""The faster way to a disk is found, and found again when it changes."""

import pytest

from modelfs.disk_ways import AGAIN, SAMPLES, Ways

MB = 1_000_000


def read(ways: Ways, times: int, *, direct: float, buffered: float) -> list[bool]:
    """Read so many times from a disk of these rates, in MB/s; return which way each went."""
    went = []
    for _ in range(times):
        is_direct = ways.is_direct()
        went.append(is_direct)
        ways.note(8 * MB, 8 / (direct if is_direct else buffered), is_direct=is_direct)
    return went


def test_each_way_is_tried_first() -> None:
    assert read(Ways(), 2 * SAMPLES, direct=1000, buffered=1000) == [True] * SAMPLES + [False] * SAMPLES


@pytest.mark.parametrize(("direct", "buffered", "best"), [(3000, 1500, True), (1000, 1100, True), (1200, 2500, False)])
def test_faster_way_is_taken_and_direct_when_it_hardly_matters(direct: float, buffered: float, *, best: bool) -> None:
    ways = Ways()
    read(ways, 2 * SAMPLES, direct=direct, buffered=buffered)
    went = read(ways, 10 * AGAIN, direct=direct, buffered=buffered)
    assert 8 <= went.count(not best) <= 12


def test_a_disk_that_changes_is_noticed() -> None:
    ways = Ways()
    read(ways, 2 * SAMPLES + 10, direct=1000, buffered=3000)
    assert not ways.is_direct()
    read(ways, 20 * AGAIN, direct=3000, buffered=1000)
    assert read(ways, AGAIN, direct=3000, buffered=1000).count(True) >= AGAIN - 2
