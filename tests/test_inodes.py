"""Inode numbers and lookup counts."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelfs.blocks import ObjectInfo
from modelfs.inodes import ROOT_INODE, Inodes
from modelfs.tree import Directory, File

PROPERTY = settings(deadline=None)
FOLDER = Directory({}, 0)
paths = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


def file(version: str = "v1", mtime_ns: int = 0) -> File:
    return File(ObjectInfo("k", 1, version, mtime_ns), mtime_ns)


@PROPERTY
@given(paths, st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_numbers_are_the_same_in_every_process_and_fit_63_bits(path: str, version: str) -> None:
    for node in (FOLDER, file(version)):
        numbers = {Inodes().number_of(path, node), Inodes().look_up(path, node).number}
        assert len(numbers) == 1
        assert 16 <= numbers.pop() < 2**63


def test_the_numbers_of_a_path_are_a_promise_to_workers_that_take_over() -> None:
    assert Inodes().number_of("densenet_onnx/1/model.onnx", file('"abc"')) == 4_236_767_979_737_840_688


def test_a_new_version_is_a_new_inode_and_a_new_date_is_not() -> None:
    inodes = Inodes()
    first, again, new = (inodes.look_up("m/x", node).number for node in (file(), file(mtime_ns=5), file("v2")))
    assert first == again
    assert new != first
    assert inodes.get(first).lookups == 2  # type: ignore[union-attr]  # it was looked up


def test_a_folder_and_a_file_of_one_path_are_two_inodes() -> None:
    inodes = Inodes()
    assert inodes.look_up("m", FOLDER).number != inodes.look_up("m", file()).number


def test_two_hashes_that_meet_are_two_numbers_and_each_finds_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for meeting in (16, 1000, 2**63 - 1):
        monkeypatch.setattr("modelfs.identity.number_of", lambda _path, _version, meeting=meeting: meeting)
        inodes = Inodes()
        numbers = [inodes.look_up(path, node).number for path in "abc" for node in (FOLDER, file(), file("v2"))]
        assert len(set(numbers)) == 9
        assert all(16 <= number < 2**63 for number in numbers)
        assert [inodes.number_of(path, node) for path in "abc" for node in (FOLDER, file(), file("v2"))] == numbers


def test_the_root_is_always_known_and_never_forgotten() -> None:
    inodes = Inodes()
    inodes.forget(ROOT_INODE, 10**9)
    assert inodes.known("", FOLDER) is inodes.get(ROOT_INODE)
    assert len(inodes) == 1


def test_what_the_kernel_does_not_hold_is_not_known() -> None:
    inodes = Inodes()
    assert inodes.known("m", FOLDER) is None
    inodes.look_up("m", FOLDER)
    assert inodes.known("m", FOLDER) is not None


moves = st.lists(st.tuples(st.sampled_from(["look up", "forget"]), st.sampled_from("abc"), st.integers(1, 3)))


@PROPERTY
@given(moves)
def test_an_inode_lives_exactly_as_long_as_its_lookups(steps: list[tuple[str, str, int]]) -> None:
    inodes = Inodes()
    counts = dict.fromkeys("abc", 0)
    for step, path, times in steps:
        if step == "look up":
            for _ in range(times):
                inodes.look_up(path, FOLDER)
            counts[path] += times
        else:
            inodes.forget(inodes.number_of(path, FOLDER), times)  # also of what nobody looked up
            counts[path] = max(0, counts[path] - times)
        for name, count in counts.items():
            inode = inodes.known(name, FOLDER)
            assert (inode.lookups if inode else 0) == count
        assert len(inodes) == 1 + sum(1 for count in counts.values() if count)
