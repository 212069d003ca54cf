"""What a worker shows is kept for the next one: whole, as it was shown, whatever cut the writing off."""

import os
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelfs import identity, journal
from modelfs.blocks import ObjectInfo
from modelfs.growing import TICK_NS, build
from modelfs.journal import Journal
from modelfs.tree import EMPTY, Directory, Tree, differences, files

DATE_NS = 1_700_000_000_000_000_000
KEYS = ["m/1/x", "m/1/é +=%\n", "m/2/x", "m/2", "m/config.pbtxt", "n/1/a/b/c", "n/", "top"]
listings = st.lists(
    st.dictionaries(st.sampled_from(KEYS), st.tuples(st.sampled_from(["v1", "v2"]), st.sampled_from([0, 5, DATE_NS]))),
    min_size=1,
    max_size=6,
)
PROPERTY = settings(deadline=None)


@pytest.fixture
def pair() -> Iterator[list[int]]:
    with Pair() as descriptors:
        yield descriptors


class Pair:
    """Two anonymous files, as the supervisor has them."""

    def __enter__(self) -> list[int]:
        self._files = [os.memfd_create(name) for name in "ab"]
        return list(self._files)

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            os.close(file)


def tree_of(keys: dict[str, tuple[str, int]], previous: Tree = EMPTY) -> Tree:
    return build([ObjectInfo(key, 3, version, date) for key, (version, date) in keys.items()], previous=previous)


def keep_all(kept: Journal, listed: list[dict[str, tuple[str, int]]]) -> list[Tree]:
    """Show one tree after the other, and return them."""
    trees = []
    shown = EMPTY
    for keys in listed:
        tree = tree_of(keys, shown)
        kept.keep(shown, tree, differences(shown, tree))
        shown = tree
        trees.append(shown)
    return trees


def flat(tree: Tree) -> dict[str, object]:
    """Return everything that can be seen of a tree, by path."""
    found: dict[str, object] = {"": tree.root.mtime_ns}
    waiting = [("", tree.root)]
    while waiting:
        path, folder = waiting.pop()
        for name, node in folder.children.items():
            below = f"{path}/{name}" if path else name
            found[below] = node.mtime_ns if isinstance(node, Directory) else node
            if isinstance(node, Directory):
                waiting.append((below, node))
    return found


def recalled(pair: list[int]) -> journal.Shown:
    shown = Journal(pair).recall()
    assert shown is not None
    return shown


@PROPERTY
@given(listings)
def test_the_next_worker_finds_exactly_what_was_shown_last(listed: list[dict[str, tuple[str, int]]]) -> None:
    with Pair() as pair:
        last = keep_all(Journal(pair), listed)[-1]
        found = recalled(pair).tree
        assert flat(found) == flat(last)
        assert (found.files, found.total_bytes, found.gone) == (last.files, last.total_bytes, last.gone)


@PROPERTY
@given(listings, st.data())
def test_whatever_cut_the_writing_off_a_tree_that_was_shown_is_found(
    listed: list[dict[str, tuple[str, int]]], data: st.DataObject
) -> None:
    with Pair() as pair:
        shown, kept, seen = EMPTY, Journal(pair), []
        for keys in listed:
            before = os.fstat(pair[1]).st_size  # the first whole tree goes to the second file
            tree = tree_of(keys, shown)
            kept.keep(shown, tree, differences(shown, tree))
            seen.append((before, shown))
            shown = tree
        before, old = seen[-1]
        cut = data.draw(st.integers(before, os.fstat(pair[1]).st_size))
        whole = cut == os.fstat(pair[1]).st_size
        os.ftruncate(pair[1], cut)
        found = Journal(pair).recall()
        if found is not None:
            assert flat(found.tree) == flat(shown if whole else old)
        else:
            assert len(listed) == 1


@PROPERTY
@given(listings, listings)
def test_who_takes_over_goes_on_where_the_last_one_was_cut_off(
    first: list[dict[str, tuple[str, int]]], second: list[dict[str, tuple[str, int]]]
) -> None:
    with Pair() as pair:
        shown = keep_all(Journal(pair), first)[-1]
        with open(os.dup(pair[1]), "ab") as file:
            file.write(b"\x01half a record")
        heir = Journal(pair)
        found = heir.recall()
        assert found is not None
        assert flat(found.tree) == flat(shown)
        tree = found.tree
        for keys in second:
            after = tree_of(keys, tree)
            heir.keep(tree, after, differences(tree, after))
            tree = after
        assert flat(recalled(pair).tree) == flat(tree)
        assert recalled(pair).tree.gone == tree.gone


@PROPERTY
@given(listings)
def test_every_replaced_version_is_found_by_its_number(listed: list[dict[str, tuple[str, int]]]) -> None:
    with Pair() as pair:
        trees = keep_all(Journal(pair), listed)
        heir = Journal(pair)
        assert heir.recall() is not None
        shown = {identity.number_of(path, info.version) for path, info in files(trees[-1]).items()}
        for tree in trees:
            for path, info in files(tree).items():
                number = identity.number_of(path, info.version)
                if number not in shown:
                    assert heir.retired[number][0] == path
                    assert heir.retired[number][1].info.version == info.version


def test_r8_the_times_of_models_that_went_are_in_a_whole_tree_too(pair: list[int]) -> None:
    first = tree_of({f"{name}/1/x": ("v1", number) for number, name in enumerate("abcd", start=1)})
    tree = tree_of({"a": ("v1", 7), "b/1/x": ("v1", 2)}, first)
    assert tree.gone == {"a": 1, "c": 3, "d": 4}
    Journal(pair).keep(EMPTY, tree, differences(EMPTY, tree))
    assert recalled(pair).tree.gone == tree.gone
    assert flat(recalled(pair).tree) == flat(tree)


def test_times_that_moved_are_kept(pair: list[int]) -> None:
    kept = Journal(pair)
    first, second = keep_all(kept, [{"m/1/x": ("v1", 50), "m/2/x": ("v1", 90)}, {"m/1/x": ("v2", 10)}])
    assert (second.root.mtime_ns, first.root.mtime_ns) == (90 + TICK_NS, 90)
    found = recalled(pair).tree
    assert flat(tree_of({"m/1/x": ("v2", 10)}, found)) == flat(second)


def test_nothing_is_there_before_anything_was_shown(pair: list[int]) -> None:
    assert Journal(pair).recall() is None
    for file in pair:
        os.pwrite(file, b"something that is no journal at all", 0)
    assert Journal(pair).recall() is None


def test_an_unchanged_tree_costs_nothing(pair: list[int]) -> None:
    kept = Journal(pair)
    (tree,) = keep_all(kept, [{"m/1/x": ("v1", 5)}])
    sizes = [os.fstat(file).st_size for file in pair]
    again = tree_of({"m/1/x": ("v1", 5)}, tree)
    kept.keep(tree, again, [])
    assert [os.fstat(file).st_size for file in pair] == sizes


def test_what_the_kernel_was_not_told_of_is_told_to_the_next_worker(pair: list[int]) -> None:
    kept = Journal(pair)
    (tree,) = keep_all(kept, [{"m/1/x": ("v1", 5)}])
    assert recalled(pair).untold == []  # nobody has looked at the first tree yet
    changed = tree_of({"m/1/x": ("v2", 5), "n/1/x": ("v1", 5)}, tree)
    kept.keep(tree, changed, differences(tree, changed))
    untold = {(path, name) for path, names in recalled(pair).untold for name in names}
    assert {("m/1", "x"), ("", "n")} <= untold
    kept.told(1234.5, is_on_open=True)
    assert recalled(pair)[1:] == (1234.5, [], True)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_SLACK_BYTES", 0)


@pytest.mark.usefixtures("small")
def test_the_files_take_turns_and_stay_small(pair: list[int]) -> None:
    kept = Journal(pair)
    shown = EMPTY
    used = set()
    for round_number in range(100):
        tree = tree_of({f"m/{number}/x": (f"v{round_number if number == 3 else 1}", 5) for number in range(20)}, shown)
        kept.keep(shown, tree, differences(shown, tree))
        kept.told(float(round_number))
        shown = tree
        sizes = [os.fstat(file).st_size for file in pair]
        assert min(sizes) == 0
        assert max(sizes) < 5000
        used.add(sizes.index(max(sizes)))
        assert flat(recalled(pair).tree) == flat(shown)
    assert used == {0, 1}


@pytest.mark.usefixtures("small")
def test_a_whole_tree_that_is_cut_off_leaves_the_one_before(pair: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Journal(pair)
    (tree,) = keep_all(kept, [{"m/1/x": ("v1", 5)}])

    def killed(*_: object) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(journal, "_HEAD", SimpleNamespace(size=16, pack=killed))
    with pytest.raises(KeyboardInterrupt):
        kept._write_whole(tree_of({"m/1/x": ("v2", 5)}, tree))
    monkeypatch.undo()
    assert all(os.fstat(file).st_size for file in pair)
    assert flat(recalled(pair).tree) == flat(tree)


def test_only_what_the_kernel_may_know_is_kept_and_never_too_much(
    pair: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "_RETIRED_MOST", 3)
    known = {identity.number_of("m/1/x", "v0"), identity.number_of("m/1/x", "v2")}
    kept = Journal(pair, is_known=known.__contains__)
    keep_all(kept, [{"m/1/x": (f"v{number}", 5)} for number in range(5)])
    # the last one is kept until the next change: somebody may have looked it up at the last moment
    assert [file.info.version for _, file in kept.retired.values()] == ["v0", "v2", "v3"]
    everything = Journal(pair)
    shown = everything.recall()
    assert shown is not None
    tree = shown.tree
    for number in range(5, 10):
        after = tree_of({"m/1/x": (f"v{number}", 5)}, tree)
        everything.keep(tree, after, differences(tree, after))
        tree = after
    assert [file.info.version for _, file in everything.retired.values()] == ["v6", "v7", "v8"]


def test_a_version_that_is_shown_again_is_not_retired(pair: list[int]) -> None:
    kept = Journal(pair)
    keep_all(kept, [{"m/1/x": (version, 5)} for version in ("v1", "v2", "v1")])
    assert [file.info.version for _, file in kept.retired.values()] == ["v2"]
    heir = Journal(pair)
    heir.recall()
    assert heir.retired.keys() == kept.retired.keys()


@pytest.mark.usefixtures("small")
def test_replaced_files_are_carried_into_the_next_whole_tree(pair: list[int]) -> None:
    kept = Journal(pair)
    keep_all(kept, [{"m/1/x": (f"v{number}", 5)} for number in range(40)])
    heir = Journal(pair)
    heir.recall()
    assert [file.info.version for _, file in heir.retired.values()] == [f"v{number}" for number in range(39)]


def test_a_folder_of_more_files_than_a_record_holds(pair: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_ENTRIES_IN_RECORD", 3)
    kept = Journal(pair)
    trees = keep_all(kept, [{f"m/1/{n}": (f"v{n % step}", 5) for n in range(20)} for step in (1, 7)])
    assert flat(recalled(pair).tree) == flat(trees[-1])


def test_memory_that_has_run_out_keeps_nothing_rather_than_something_wrong(
    pair: list[int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Journal(pair)
    (tree,) = keep_all(kept, [{"m/1/x": ("v1", 5)}])

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    after = tree_of({"m/1/x": ("v2", 5)}, tree)
    for _ in range(2):
        kept.keep(tree, after, differences(tree, after))
        kept.told(1.0)
    monkeypatch.undo()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "No space left" in caplog.text
    assert Journal(pair).recall() is None


def test_a_file_that_lies_is_not_believed(pair: list[int], caplog: pytest.LogCaptureFixture) -> None:
    kept = Journal(pair)
    keep_all(kept, [{"m/1/x": ("v1", 5)}])
    kept._append(journal._ENTRIES, journal._packed([["no/such/folder", 5, {}]]))
    kept._append(journal._SHOWN, b"")
    assert Journal(pair).recall() is None
    assert "cannot be understood" in caplog.text
