"""A remount is but one more refresh: what was shown is remembered, whole or not at all."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelfs import remembered, runtime
from modelfs.blocks import ObjectInfo
from modelfs.growing import TICK_NS, build
from modelfs.remembered import NOBODY, Memory
from modelfs.tree import EMPTY, Directory, Tree, files

DATE_NS = 1_700_000_000_000_000_000
KEYS = ["m/1/x", "m/1/é +=%\n", "m/2/x", "m/2", "n", "m/config.pbtxt", "n/1/a/b/c", "n/", "top"]
listings = st.lists(
    st.dictionaries(st.sampled_from(KEYS), st.tuples(st.sampled_from(["v1", "v2"]), st.sampled_from([0, 5, DATE_NS]))),
    min_size=1,
    max_size=6,
)


def memory_in(folder: Path, *, repository: str = "s3://b/r", mountpoint: str = "/mnt/m") -> Memory:
    return Memory(str(folder), repository=repository, mountpoint=mountpoint)


def tree_of(keys: dict[str, tuple[str, int]], previous: Tree = EMPTY) -> Tree:
    return build([ObjectInfo(key, 3, version, date) for key, (version, date) in keys.items()], previous=previous)


def times(tree: Tree) -> dict[str, int]:
    """Return the time of every path."""
    found = {"": tree.root.mtime_ns}
    waiting = [("", tree.root)]
    while waiting:
        path, folder = waiting.pop()
        for name, node in folder.children.items():
            below = f"{path}/{name}" if path else name
            found[below] = node.mtime_ns
            if isinstance(node, Directory):
                waiting.append((below, node))
    return found


@settings(deadline=None)
@given(listings, st.sets(st.integers(0, 5)))
def test_r7_and_r8_restarts_between_any_listings_change_no_time(
    tmp_path_factory: pytest.TempPathFactory, told: list[dict[str, tuple[str, int]]], restarts: set[int]
) -> None:
    folder = tmp_path_factory.mktemp("state")
    always, restarted = EMPTY, EMPTY
    memory = memory_in(folder)
    for number, keys in enumerate(told):
        always = tree_of(keys, always)
        if number in restarts:
            memory = memory_in(folder)
            restarted = memory.recall()
        restarted = tree_of(keys, restarted)
        memory.keep(restarted)
        assert times(restarted) == times(always)


def test_r8_the_times_of_models_that_went_are_kept_in_each_way_of_writing(tmp_path: Path) -> None:
    first = tree_of({f"{name}/1/x": ("v1", number) for number, name in enumerate("abcd", start=1)})
    tree = tree_of({"a": ("v1", 7), "b/1/x": ("v1", 2)}, first)
    assert tree.gone == {"a": 1, "c": 3, "d": 4}
    for trees in ([first, tree], [tree]):
        memory = memory_in(tmp_path, mountpoint=f"/mnt/{len(trees)}")
        for each in trees:
            memory.keep(each)
        found = memory_in(tmp_path, mountpoint=f"/mnt/{len(trees)}").recall()
        assert (found.gone, times(found)) == (tree.gone, times(tree))


def test_r7_an_object_that_was_replaced_by_an_older_one_between_two_mounts_is_newer(tmp_path: Path) -> None:
    first = tree_of({"m/1/x": ("v1", DATE_NS)})
    memory_in(tmp_path).keep(first)
    second = tree_of({"m/1/x": ("v0", 5)}, memory_in(tmp_path).recall())
    assert times(second)["m/1/x"] >= times(first)["m"] + TICK_NS


def test_r10_a_new_date_of_the_same_version_between_two_mounts_moves_nothing(tmp_path: Path) -> None:
    memory_in(tmp_path).keep(tree_of({"m/1/x": ("v1", DATE_NS)}))
    again = tree_of({"m/1/x": ("v1", DATE_NS + 10**9)}, memory_in(tmp_path).recall())
    assert times(again) == dict.fromkeys(["", "m", "m/1", "m/1/x"], DATE_NS)


def test_what_is_recalled_is_what_was_kept_with_the_stores_own_dates(tmp_path: Path) -> None:
    tree = tree_of({"m/1/x": ("v2", 5)}, tree_of({"m/1/x": ("v1", DATE_NS)}))
    memory_in(tmp_path).keep(tree)
    assert files(memory_in(tmp_path).recall()) == {"m/1/x": ObjectInfo("m/1/x", 3, "v2", 5)}


def test_a_tree_that_did_not_change_is_not_written_again(tmp_path: Path) -> None:
    memory = memory_in(tmp_path)
    tree = tree_of({"m/1/x": ("v1", 5)})
    memory.keep(tree)
    (file,) = tmp_path.iterdir()
    file.unlink()
    memory.keep(tree_of({"m/1/x": ("v1", 6)}, tree))
    assert list(tmp_path.iterdir()) == []


def test_two_mounts_of_one_repository_do_not_share_a_memory(tmp_path: Path) -> None:
    memory_in(tmp_path).keep(tree_of({"m/1/x": ("v1", 5)}))
    assert memory_in(tmp_path, mountpoint="/mnt/other").recall() is EMPTY
    assert memory_in(tmp_path, repository="s3://b/r-2").recall() is EMPTY


def test_only_the_user_may_look_at_what_is_kept(tmp_path: Path) -> None:
    memory = memory_in(tmp_path / "new" / "state")
    assert memory.recall() is EMPTY
    memory.keep(tree_of({"m/1/x": ("v1", 5)}))
    assert (tmp_path / "new" / "state").stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "new" / "state").iterdir()] == [0o600]


@pytest.mark.parametrize(
    "change",
    [
        lambda _text: b"",
        lambda text: text[: len(text) // 2],
        lambda text: text.replace(b'"format":2', b'"format":1'),
        lambda text: text.replace(b"/mnt/m", b"/mnt/n"),
        lambda text: text.replace(b'"v1"', b"1"),
        lambda text: text.replace(b",5]", b',"5"]'),
        lambda text: text.replace(b",5]", b",%d]" % 10**30),
        lambda text: text.replace(b'3,"v1"', b'-3,"v1"'),
        lambda text: text.replace(b'["m/1",', b'["m/9",'),
        lambda text: text.replace(b'["m/1",', b'["m/1/x",'),
        lambda text: text.replace(b"[]\n", b""),
        lambda text: text.replace(b"[]]\n[]\n", b'["absent"]]\n[]\n'),
        lambda _text: b"[" * 100_000,
        lambda _text: b"null",
        lambda _text: b'{"root": 1}',
    ],
)
def test_a_file_that_is_not_ours_or_not_whole_costs_one_warning_and_the_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, change: object
) -> None:
    memory_in(tmp_path).keep(tree_of({"m/1/x": ("v1", 5)}))
    (file,) = tmp_path.iterdir()
    file.write_bytes(change(file.read_bytes()))  # type: ignore[operator]  # a lambda
    memory = memory_in(tmp_path)
    assert memory.recall() is EMPTY
    assert memory.recall() is EMPTY
    assert len(caplog.records) == 1
    assert str(file) in caplog.text
    memory.keep(tree_of({"m/1/x": ("v1", 5)}))
    assert files(memory_in(tmp_path).recall()).keys() == {"m/1/x"}


def test_a_file_that_others_can_write_is_not_believed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    memory_in(tmp_path).keep(tree_of({"m/1/x": ("v1", 5)}))
    (file,) = tmp_path.iterdir()
    file.chmod(0o666)
    assert memory_in(tmp_path).recall() is EMPTY
    assert "others can write it" in caplog.text


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to have a file of another user's")
def test_a_file_of_another_user_is_not_believed(tmp_path: Path) -> None:
    memory_in(tmp_path).keep(tree_of({"m/1/x": ("v1", 5)}))
    (file,) = tmp_path.iterdir()
    os.chown(file, 1234, 1234)
    assert memory_in(tmp_path).recall() is EMPTY
    memory_in(tmp_path).keep(tree_of({"m/1/x": ("v1", 5)}))
    assert file.stat().st_uid == 0
    assert files(memory_in(tmp_path).recall()).keys() == {"m/1/x"}


def test_a_link_is_neither_followed_nor_written_to(tmp_path: Path) -> None:
    memory_in(tmp_path).keep(tree_of({"m/1/x": ("v1", 5)}))
    (file,) = tmp_path.iterdir()
    elsewhere = file.rename(tmp_path / "elsewhere")
    before = elsewhere.read_bytes()
    file.symlink_to(elsewhere)
    memory = memory_in(tmp_path)
    assert memory.recall() is EMPTY
    memory.keep(tree_of({"m/1/x": ("v2", 5)}))
    assert elsewhere.read_bytes() == before
    assert not file.is_symlink()
    assert files(memory_in(tmp_path).recall()).keys() == {"m/1/x"}


def test_what_a_crash_left_of_a_change_does_not_count_and_is_written_over(tmp_path: Path) -> None:
    first = tree_of({"m/1/x": ("v1", 5), "m/1/y": ("v1", 5)})
    memory_in(tmp_path).keep(first)
    (file,) = tmp_path.iterdir()
    before = file.read_bytes()
    memory = memory_in(tmp_path)
    memory.keep(tree_of({"m/1/x": ("v2", 6)}, memory.recall()))
    after = file.read_bytes()
    assert after.startswith(before)
    for length in range(len(before), len(after)):
        file.write_bytes(after[:length])
        again = memory_in(tmp_path)
        recalled = again.recall()
        assert times(recalled) == times(first)
        again.keep(tree_of({"m/1/x": ("v3", 7)}, recalled))
        assert {key: info.version for key, info in files(memory_in(tmp_path).recall()).items()} == {"m/1/x": "v3"}


def test_a_crash_while_the_file_is_written_anew_leaves_what_was_kept_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory_in(tmp_path).keep(tree_of({"m/1/x": ("v1", 5)}))

    def crash(_descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(KeyboardInterrupt):
        memory_in(tmp_path).keep(tree_of({"m/1/x": ("v2", 6)}))
    monkeypatch.undo()
    again = memory_in(tmp_path)
    assert files(again.recall())["m/1/x"].version == "v1"
    again.keep(tree_of({"m/1/x": ("v3", 7)}))
    assert files(memory_in(tmp_path).recall())["m/1/x"].version == "v3"


def test_a_change_costs_what_changed_and_the_file_is_written_anew_before_it_has_twice_the_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered, "APPENDED_LEAST", 0)
    keys = {f"m/1/{number:05d}": ("v0", 5) for number in range(3000)}
    memory, tree = memory_in(tmp_path), tree_of(keys)
    memory.keep(tree)
    (file,) = tmp_path.iterdir()
    whole_bytes, inode = file.stat().st_size, file.stat().st_ino
    sizes = []
    for number in range(400):
        keys[f"m/1/{number:05d}"] = (f"v{number}" + "x" * 1000, 6)
        tree = tree_of(keys, tree)
        memory.keep(tree)
        sizes.append(file.stat().st_size)
        if file.stat().st_ino != inode:
            break
    assert sizes[0] < whole_bytes + 1500
    assert max(sizes) < 3 * whole_bytes
    assert file.stat().st_ino != inode
    assert times(memory_in(tmp_path).recall()) == times(tree)


def test_a_change_that_could_not_be_written_is_written_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    memory, tree = memory_in(tmp_path), tree_of({"m/1/x": ("v1", 5)})
    memory.keep(tree)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    tree = tree_of({"m/1/x": ("v2", 5)}, tree)
    memory.keep(tree)
    monkeypatch.undo()
    tree = tree_of({"m/1/x": ("v2", 5), "n/1/x": ("v1", 7)}, tree)
    memory.keep(tree)
    assert times(memory_in(tmp_path).recall()) == times(tree)
    assert len(caplog.records) == 1


def test_whoever_writes_last_is_what_is_recalled_where_two_containers_share_a_file(tmp_path: Path) -> None:
    one, other = memory_in(tmp_path), memory_in(tmp_path)
    trees = [tree_of({"m/1/x": ("v1", 5), f"m/{number}/y": ("v", 7)}) for number in range(1, 9)]
    for number, tree in enumerate(trees):
        for memory in (one, other, other) if number % 2 else (other, one):
            memory.keep(tree)
            assert files(memory_in(tmp_path).recall()) == files(tree)
            memory.keep(trees[0])
            assert files(memory_in(tmp_path).recall()) == files(trees[0])
    (file,) = tmp_path.iterdir()
    file.unlink()
    one.keep(trees[1])
    assert files(memory_in(tmp_path).recall()) == files(trees[1])


def test_a_folder_that_cannot_be_made_costs_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    memory = memory_in(tmp_path / "file" / "state")
    memory.recall()
    memory.keep(tree_of({"m/1/x": ("v1", 5)}))
    memory.keep(tree_of({"m/1/x": ("v2", 5)}))
    assert len(caplog.records) == 1


def test_a_file_that_is_too_large_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    memory_in(tmp_path).keep(tree_of({"m/1/x": ("v1", 5)}))
    monkeypatch.setattr(remembered, "BYTES_MAX", 10)
    assert memory_in(tmp_path).recall() is EMPTY
    assert "too large" in caplog.text


def test_the_memories_of_the_mounts_not_seen_for_longest_are_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered, "MOUNTS_MAX", 3)
    for number in range(9):
        memory_in(tmp_path, mountpoint=f"/mnt/{number}").keep(tree_of({"m/1/x": ("v1", 5)}))
    assert len(list(tmp_path.iterdir())) == 4
    assert memory_in(tmp_path, mountpoint="/mnt/8").recall() is not EMPTY


def test_the_file_tells_whose_it_is_and_holds_no_more(tmp_path: Path) -> None:
    memory_in(tmp_path).keep(tree_of({"m/1/x": ("v1", 5)}))
    (file,) = tmp_path.iterdir()
    mount, *records = map(json.loads, file.read_text().splitlines())
    assert mount == {"format": 2, "repository": "s3://b/r", "mountpoint": "/mnt/m", "who": NOBODY}
    x = [5, 3, "v1", 5]
    assert records == [["", 5, {"m": 0}, []], ["m", 5, {"1": 0}, []], ["m/1", 5, {"x": x}, []], []]


def test_the_state_folder_is_the_systems_for_root_and_the_users_own_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/u")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert runtime.state_root(None) == "/var/lib/modelfs"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", "/s")
    assert runtime.state_root(None) == "/s/modelfs"
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_STATE_HOME", value)
        assert runtime.state_root(None) == "/home/u/.local/state/modelfs"
    assert runtime.state_root("/given") == "/given"


MINE, THEIRS = "a" * len(NOBODY), "b" * len(NOBODY)


def keep_as(who: str | None, folder: Path, keys: dict[str, tuple[str, int]], *, knows: bool = True) -> Tree:
    """Keep a tree as a mount does whose store lets ``who`` in, or somebody of whom nothing is known."""
    memory = memory_in(folder)
    tree = tree_of(keys, memory.recall() if knows else EMPTY)
    memory.keep(tree)  # before it is known who was let in
    if who is not None:
        memory.who = who
        memory.keep(tree)
    return tree


@pytest.mark.parametrize("knows", [False, True])
@pytest.mark.parametrize("other", [None, THEIRS])
@pytest.mark.parametrize("seen", [{"m/1/x": ("v1", 5)}, {"m/1/x": ("v1", 5), "secret/1/x": ("v1", 5)}])
def test_what_another_was_shown_is_not_recalled_for_who_was_let_in_before(
    tmp_path: Path,
    seen: dict[str, tuple[str, int]],
    other: str | None,
    knows: bool,  # noqa: FBT001  parametrized
) -> None:
    tree = keep_as(MINE, tmp_path, {"m/1/x": ("v1", 5)})
    assert memory_in(tmp_path).recall(who=THEIRS) is EMPTY
    assert times(memory_in(tmp_path).recall(who=MINE)) == times(tree)
    tree = keep_as(other, tmp_path, seen, knows=knows)
    assert memory_in(tmp_path).recall(who=MINE) is EMPTY
    assert times(memory_in(tmp_path).recall()) == times(tree)  # times go on for whoever mounts
    tree = keep_as(MINE, tmp_path, seen)
    assert times(memory_in(tmp_path).recall(who=MINE)) == times(tree)


def test_whom_the_store_let_in_goes_on_with_what_changes(tmp_path: Path) -> None:
    keep_as(MINE, tmp_path, {"m/1/x": ("v1", 5)})
    memory = memory_in(tmp_path)
    shown = memory.recall(who=MINE)
    memory.who = MINE
    for version in "v2", "v3":
        shown = tree_of({"m/1/x": (version, 5)}, shown)
        memory.keep(shown)
        assert times(memory_in(tmp_path).recall(who=MINE)) == times(shown)
