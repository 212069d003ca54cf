"""What goes when there is no room: the index against a model that is a list."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from modelfs import disk_index
from modelfs.disk_format import Identity
from modelfs.disk_index import Index
from modelfs.disk_policy import GIB, KEPT_FREE_SHARE, Candidate, Room, default_quota

DISK = Room(100, 10**9, 10**9)
OBJECTS = ["a/1/x", "a/2/x", "b/1/x", "b/1/y"]
keys = st.sampled_from(OBJECTS)
chunks = st.integers(0, 3)


def identity(key: str) -> Identity:
    return Identity(key.encode().ljust(16), b"scope", "s3://b", key, "v", 100)


class Entered(NamedTuple):
    """A chunk that the model has."""

    key: str
    chunk: int
    bytes: int


class Eviction(RuleBasedStateMachine):
    """The model: chunks in the order of their last use, what is gone, what is pinned, what is in use."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.index = Index(f"{self.folder.name}/index.db")
        self.model: list[Entered] = []
        self.gone: set[str] = set()
        self.pins: set[str] = set()
        self.in_use: set[tuple[str, int]] = set()

    def teardown(self) -> None:
        self.index.close()
        self.folder.cleanup()

    def discard(self, candidate: Candidate) -> bool:
        return (candidate.object_id.decode().strip(), candidate.chunk) not in self.in_use

    def is_pinned(self, key: str) -> bool:
        return any(key == pin or key.startswith(f"{pin}/") for pin in self.pins)

    def in_order(self) -> Iterator[Entered]:
        """Yield what may go, in its order."""
        free = [each for each in self.model if (each.key, each.chunk) not in self.in_use]
        yield from (each for each in free if each.key in self.gone)
        yield from (each for each in free if each.key not in self.gone and not self.is_pinned(each.key))

    @rule(key=keys, chunk=chunks, size=st.integers(1, 60))
    def enter(self, key: str, chunk: int, size: int) -> None:
        old = next((each for each in self.model if (each.key, each.chunk) == (key, chunk)), None)
        left = sum(each.bytes for each in self.model) + size - (old.bytes if old else 0) - DISK.quota_bytes
        going = []
        for each in self.in_order():
            if left > 0 and each.key != key:
                going.append(each)
                left -= each.bytes
        entry = self.index.enter(identity(key), chunk, size, DISK, self.discard)
        assert (entry.is_fitting, entry.evicted) == (left <= 0, len(going))
        self.model = [each for each in self.model if each not in going and (left > 0 or each != old)]
        if left <= 0:
            self.model.append(Entered(key, chunk, size))
        self.forget_the_empty()
        assert entry.used_bytes == sum(each.bytes for each in self.model)

    @rule(key=keys, chunk=chunks)
    def strike_out(self, key: str, chunk: int) -> None:
        self.index.strike_out(identity(key).id, chunk)
        self.model = [each for each in self.model if (each.key, each.chunk) != (key, chunk)]
        self.forget_the_empty()

    @rule(key=keys, chunk=chunks)
    def read(self, key: str, chunk: int) -> None:
        self.index.touch([(identity(key).id, chunk)])
        used = [each for each in self.model if (each.key, each.chunk) == (key, chunk)]
        self.model = [each for each in self.model if each not in used] + used

    @rule(shown=st.sets(keys))
    def list_repository(self, shown: set[str]) -> None:
        self.index.mark_gone(b"scope", "s3://b", lambda key, _version: key in shown)
        self.gone = {each.key for each in self.model} - shown

    @rule(pin=st.sampled_from(["a", "a/1", "b/1/x", "b/1/x/no"]), is_on=st.booleans())
    def pin(self, pin: str, *, is_on: bool) -> None:
        self.index.pin(f"s3://b/{pin}", is_on=is_on)
        (self.pins.add if is_on else self.pins.discard)(pin)

    @rule(use=st.sets(st.tuples(keys, chunks)))
    def use(self, use: set[tuple[str, int]]) -> None:
        self.in_use = use

    def forget_the_empty(self) -> None:
        """Forget objects that have no chunk, and that they are gone."""
        self.gone &= {each.key for each in self.model}

    @invariant()
    def nothing_is_ever_above_the_quota(self) -> None:
        assert self.index.used_bytes() == sum(each.bytes for each in self.model) <= DISK.quota_bytes

    @invariant()
    def index_has_what_the_model_has(self) -> None:
        for key in OBJECTS:
            assert self.index.chunks_of(identity(key).id) == {each.chunk for each in self.model if each.key == key}
        assert self.index.usage().objects == len({each.key for each in self.model})


Eviction.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestEviction = Eviction.TestCase


@pytest.mark.parametrize(("disk_gib", "quota_gib"), [(10, 2), (100, 20), (1000, 200), (1001, 200), (100_000, 200)])
def test_default_is_a_fifth_of_the_disk_and_at_most_200_gib(disk_gib: int, quota_gib: int) -> None:
    assert default_quota(disk_gib * GIB) // GIB == quota_gib


def test_a_share_of_the_disk_stays_free(tmp_path: Path) -> None:
    index = Index(str(tmp_path / "index.db"))
    full = Room(10**9, free_bytes=200, disk_bytes=1000)
    assert full.free_bytes - full.disk_bytes * KEPT_FREE_SHARE == 50
    assert index.enter(identity("a/1/x"), 0, 50, full, lambda _: True).is_fitting
    others_came = full._replace(free_bytes=149)
    entry = index.enter(identity("a/2/x"), 0, 50, others_came, lambda _: True)
    assert (entry.is_fitting, entry.evicted, index.used_bytes()) == (False, 1, 0), "what there is, is given back"


def test_what_is_larger_than_the_quota_throws_nothing_away(tmp_path: Path) -> None:
    index = Index(str(tmp_path / "index.db"))
    index.enter(identity("a/1/x"), 0, 50, DISK, lambda _: True)
    assert not index.enter(identity("a/2/x"), 0, 101, DISK, lambda _: True).is_fitting
    assert index.used_bytes() == 50


def test_a_file_larger_than_the_cache_keeps_its_first_part(tmp_path: Path) -> None:
    index = Index(str(tmp_path / "index.db"))
    for _ in range(3):
        for chunk in range(20):
            index.enter(identity("a/1/x"), chunk, 10, DISK, lambda _: True)
    assert index.chunks_of(identity("a/1/x").id) == set(range(10))


def test_what_is_gone_of_a_large_repository_is_marked_some_at_a_time_and_others_write_in_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_index, "AT_ONCE", 2)
    index, others = (Index(str(tmp_path / "index.db")) for _ in range(2))
    for name in "abcde":
        assert index.enter(identity(name), 0, 1, DISK, lambda _: True).is_fitting
    marked: list[int] = []
    after: bytes | None = b""
    while after is not None:
        after = index.mark_gone(b"scope", "s3://b", lambda key, _: key == "c", after=after)
        marked.append(sum(each.is_gone for each in others.kept()))
        assert others.enter(identity("c"), len(marked), 1, DISK, lambda _: True).is_fitting
    assert marked == [2, 3, 4]
    assert [each.key for each in index.kept() if not each.is_gone] == ["c"]
    assert index.pin("s3://b", is_on=True) == 5
    assert all(each.is_pinned == (each.key == "c") for each in others.kept()), "what is gone is not pinned"


def test_a_disk_that_others_fill_is_told_from_a_quota_that_is_full(tmp_path: Path) -> None:
    index = Index(str(tmp_path / "index.db"))
    index.enter(identity("a/1/x"), 0, 100, DISK, lambda _: True)
    by_quota = index.enter(identity("a/1/x"), 1, 50, DISK, lambda _: True)
    assert (by_quota.is_fitting, by_quota.is_disk_filled) == (False, False)
    by_others = index.enter(identity("a/1/x"), 1, 50, Room(1000, 150, 1000), lambda _: True)
    assert (by_others.is_fitting, by_others.is_disk_filled) == (False, True)
    assert index.give_way(Room(1000, 100, 1000), lambda _: True).evicted == 1
    assert index.give_way(Room(1000, 100, 1000), lambda _: True).is_disk_filled
