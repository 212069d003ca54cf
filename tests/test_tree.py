"""What of a listing is shown, under which names and with which times."""

import itertools
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reference.model import FOLDER, is_hidden, is_impossible, paths_of
from reference.times import changed_paths, check_times, content, is_below, walk

from modelfs.blocks import ObjectInfo
from modelfs.growing import TICK_NS, build, graft
from modelfs.names import DEPTH_MAX
from modelfs.tree import EMPTY, Directory, File, Tree, differences

PROPERTY = settings(deadline=None, max_examples=60)  # a busy machine is no failure

ODD_NAMES = ["", ".", "..", ".git", "__pycache__", "x_$folder$", "_$folder$", "n\0", "n\n", " ", "\udc80", "é", "+=%"]
names = st.sampled_from(["a", "b", "c", "1", "2"]) | st.sampled_from(ODD_NAMES) | st.text(max_size=3)
plain_keys = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map("/".join)
MODEL_NAMES = ("config.pbtxt", "configs/x", "1/model.onnx", "1/x", "2", "01", "3.bak/x", "3.bak", f"{10**19}/x")
model_keys = st.tuples(st.sampled_from("ab"), st.sampled_from(MODEL_NAMES)).map("/".join)
odd_keys = st.lists(names, max_size=4).map("/".join)
keys = plain_keys | odd_keys | model_keys | plain_keys.map(lambda key: key + "/")
times = st.integers(0, 5).map(lambda steps: steps * TICK_NS) | st.integers(0, 2**62)


def infos(keys: st.SearchStrategy[str]) -> st.SearchStrategy[list[ObjectInfo]]:
    """Generate listings: each key once, few versions, so that two listings often share some."""
    one = st.builds(ObjectInfo, keys, st.integers(0, 2), st.sampled_from(["v1", "v2", "v3"]), times)
    # equal versions have equal sizes
    one = one.map(lambda info: info._replace(size=int(info.version[1:]) - 1))
    return st.lists(one, max_size=12, unique_by=lambda info: info.key)


listings = infos(keys)


def obj(key: str, version: str = "v1", mtime_ns: int = 0, size: int = 1) -> ObjectInfo:
    return ObjectInfo(key, size, version, mtime_ns)


def times_of(tree: Tree) -> dict[str, int]:
    return {path: node.mtime_ns for path, node in walk(tree)}


# names


@PROPERTY
@given(listings, st.booleans())
def test_every_path_is_what_the_naive_model_says(listing: list[ObjectInfo], show_hidden: bool) -> None:  # noqa: FBT001  Hypothesis passes it
    tree = build(listing, show_hidden=show_hidden)
    shown = {path: FOLDER if isinstance(node, Directory) else node.info.key for path, node in walk(tree)}
    assert shown == paths_of((info.key for info in listing), show_hidden=show_hidden)


@PROPERTY
@given(listings, st.randoms())
def test_the_order_of_a_listing_does_not_matter(listing: list[ObjectInfo], shuffler: random.Random) -> None:
    shuffled = list(listing)
    shuffler.shuffle(shuffled)
    one, other = build(listing), build(shuffled)
    assert content(one) == content(other)
    assert times_of(one) == times_of(other)
    assert sorted(one.omissions) == sorted(other.omissions)
    assert (one.files, one.total_bytes) == (other.files, other.total_bytes)


@PROPERTY
@given(listings)
def test_nothing_but_canonical_paths_is_reachable(listing: list[ObjectInfo]) -> None:
    for path, node in walk(build(listing)):
        for name in path.split("/") if path else []:
            assert name not in {"", ".", ".."}
            assert "\0" not in name
            assert len(name.encode()) <= 255
        if isinstance(node, File):
            assert node.info.key == path


@PROPERTY
@given(listings)
@example([obj("a/config.pbtxt"), obj("a/3.bak/x"), ObjectInfo("a/3.bak", 0, "v1", 0)])
def test_every_key_is_shown_or_hidden_by_rule_or_a_marker_or_told_to_the_operator(listing: list[ObjectInfo]) -> None:
    tree = build(listing)
    omitted = {omission.key for omission in tree.omissions}
    for info in listing:
        node = tree.find(info.key)
        is_shown = isinstance(node, File) and node.info == info
        hidden = any(is_hidden(name) for name in info.key.split("/"))
        is_folder = isinstance(node, Directory) or f"{info.key}/" in omitted
        is_marker = info.key.endswith("/") or not info.key or (is_folder and not info.size)
        if is_impossible(info.key):
            assert info.key in omitted
        elif not hidden and not is_marker:
            is_told = info.key in omitted or any(info.key.startswith(key) for key in omitted if key.endswith("/"))
            assert is_shown != is_told, info.key
        if is_shown:
            assert info.key not in omitted
    assert all(omission.reason for omission in tree.omissions)


@PROPERTY
@given(listings)
def test_the_sums_are_of_what_is_shown(listing: list[ObjectInfo]) -> None:
    tree = build(listing)
    files = [node for _, node in walk(tree) if isinstance(node, File)]
    assert (tree.files, tree.total_bytes) == (len(files), sum(file.info.size for file in files))
    largest = tree.largest()
    assert (largest.size if largest else None) == max((file.info.size for file in files), default=None)


@PROPERTY
@given(listings, keys)
@example([obj("a")], "a/b")
@example([obj("a/b")], "a/")
@example([obj("a/b")], "/a/b")
@example([obj("a/b")], "a/../a/b")
def test_find_answers_only_paths_that_a_walk_meets(listing: list[ObjectInfo], path: str) -> None:
    tree = build(listing)
    assert tree.find(path) is dict(walk(tree)).get(path)


@pytest.mark.parametrize(
    "key",
    [
        *("a//b", "//", "/", "/a", "./a", "a/.", "a/..", "../a", "a/../../etc/passwd", "a/\0", "a\0b/c", "\udc80/a"),
        *("a" * 256, "é" * 128, "a" * 256 + "/b", "x" * 1024),
        *("/".join(["d"] * 256), "/".join(["d"] * 257) + "/"),
    ],
)
def test_a_key_that_can_be_no_path_is_omitted_with_a_reason_and_breaks_nothing(key: str) -> None:
    tree = build([obj(key), obj("m/1/model.onnx")])
    assert [omission.key for omission in tree.omissions] == [key]
    assert set(content(tree)) == {"", "m", "m/1", "m/1/model.onnx"}


@pytest.mark.parametrize(
    "key",
    [
        *("a\nb", "a b", " ", "a+b=c%20", "\t", "模型/1/模型.onnx", "\u202e", "-rf", "\\", "a:b", "*"),
        *("a" * 255, "é" * 127, "/".join(["d"] * 255), "/".join(["a" * 255] * 4)),
    ],
)
def test_an_odd_but_possible_key_is_shown_as_it_is(key: str) -> None:
    node = build([obj(key)]).find(key)
    assert isinstance(node, File)
    assert node.info.key == key


def test_a_marker_as_deep_as_possible_is_a_folder() -> None:
    path = "/".join(["d"] * DEPTH_MAX)
    assert isinstance(build([obj(path + "/")]).find(path), Directory)


def test_a_folder_wins_over_a_file_of_its_name_and_the_operator_is_told() -> None:
    tree = build([obj("a", size=3), obj("a/b")])
    assert isinstance(tree.find("a"), Directory)
    assert [omission.key for omission in tree.omissions] == ["a"]


def test_an_empty_object_beside_a_folder_of_its_name_is_a_marker() -> None:
    tree = build([obj("a", size=0), obj("a/b")])
    assert isinstance(tree.find("a"), Directory)
    assert not tree.omissions


@pytest.mark.parametrize("key", ["m/", "m/.gitkeep", "m/_$folder$", "m/__pycache__/x.pyc", "m/.git/objects/aa"])
def test_what_only_marks_a_folder_makes_an_empty_one(key: str) -> None:
    tree = build([obj(key, mtime_ns=7)])
    assert content(tree) == {"": None, "m": None}
    assert not tree.omissions
    assert times_of(tree) == {"": 7, "m": 7}


def test_hidden_objects_are_shown_when_asked_for() -> None:
    tree = build([obj("m/.git/config"), obj("m/__pycache__/x"), obj("m_$folder$")], show_hidden=True)
    assert {path for path, node in walk(tree) if isinstance(node, File)} == {
        "m/.git/config",
        "m/__pycache__/x",
        "m_$folder$",
    }


@pytest.mark.parametrize("key", ["m/config.pbtxt", "m/configs/a.pbtxt", "m/7/model.py", "m/7/model.savedmodel/x"])
def test_r18_what_triton_would_take_for_a_version_is_not_shown_in_a_model(key: str) -> None:
    misread = {"3.bak", "01", "00", "9" * 19, "1" * 20, "2 (copy)", "+5", "-4"}
    others = {"1", "0", "9" * 18, "assets", "v2"}
    keys = [key, *(f"m/{name}/x" for name in misread | others), "m/1a.txt", "m/1/3.bak/x"]
    tree = build([obj(each) for each in keys])
    folder = tree.find("m")
    assert isinstance(folder, Directory)
    assert folder.children.keys() >= {*others, "1a.txt"}
    assert not folder.children.keys() & misread
    assert tree.find("m/1/3.bak/x")  # it is not the model's own
    assert {omission.key for omission in tree.omissions} == {f"m/{name}/" for name in misread}
    assert all("name it 1, 2, 3" in omission.reason for omission in tree.omissions)
    everything = build([obj(each) for each in keys], show_hidden=True)
    assert all(everything.find(f"m/{name}/x") for name in misread)


def test_r18_a_bucket_that_is_mounted_above_its_repository_loses_no_folder() -> None:
    keys = ["models/3d-unet/1/model.onnx", "models/3d-unet/config.pbtxt", "models/01/1/x", "data/2026-01/x", "data/1/y"]
    tree = build([obj(key) for key in keys])
    assert all(tree.find(key) for key in keys)
    assert tree.omissions == ()


def test_r18_a_folder_that_becomes_a_model_hides_them_and_its_time_goes_on() -> None:
    before = build([obj("m/1/x", mtime_ns=5), obj("m/3.bak/x", mtime_ns=9)])
    after = build([obj("m/1/x", mtime_ns=5), obj("m/3.bak/x", mtime_ns=9), obj("m/config.pbtxt")], previous=before)
    assert before.find("m/3.bak/x")
    assert after.find("m/3.bak") is None
    assert times_of(after)["m"] > times_of(before)["m"]


def test_a_folder_of_5000_files_lists_each_once() -> None:
    tree = build([obj(f"m/{number}") for number in range(5000)])
    folder = tree.find("m")
    assert isinstance(folder, Directory)
    entries = list(folder.entries())
    assert {entry.name for entry in entries} == {str(number) for number in range(5000)}
    assert len(entries) == 5000


# times


@PROPERTY
@given(listings)
def test_a_first_tree_shows_the_stores_times_and_their_maxima(listing: list[ObjectInfo]) -> None:
    tree = build(listing)
    for _, node in walk(tree):
        if isinstance(node, File):
            assert node.mtime_ns == node.info.mtime_ns
        elif node.children:
            assert node.mtime_ns == max(child.mtime_ns for child in node.children.values())


@PROPERTY
@given(listings)
def test_the_same_listing_again_is_the_same_tree(listing: list[ObjectInfo]) -> None:
    tree = build(listing)
    again = build(reversed(listing), previous=tree)
    assert again.root is tree.root
    assert differences(tree, again) == []


@PROPERTY
@given(st.lists(listings, min_size=1, max_size=3), listings, st.sampled_from(["a", "b", "c"]), st.booleans())
def test_a_model_that_is_grafted_makes_the_tree_that_building_all_makes(
    history: list[list[ObjectInfo]],
    listing: list[ObjectInfo],
    model: str,
    show_hidden: bool,  # noqa: FBT001  Hypothesis passes it
) -> None:
    previous = EMPTY
    for each in history:
        # a file in the root that a folder hides is in no tree, so it cannot come back with the folder's end
        is_folder = any(info.key.startswith(f"{model}/") for info in each)
        others = [info for info in each if info.key != model or not is_folder]
        previous = build(others, previous=previous, show_hidden=show_hidden)
    own = [info for info in listing if info.key.startswith(f"{model}/")]
    rest = [info for info in others if not info.key.startswith(f"{model}/")]
    expected = build([*rest, *own], previous=previous, show_hidden=show_hidden)
    found = graft(previous, {model: own}, show_hidden=show_hidden)
    assert content(found) == content(expected)
    assert times_of(found) == times_of(expected)
    assert sorted(found.omissions) == sorted(expected.omissions)
    assert (found.files, found.total_bytes) == (expected.files, expected.total_bytes)
    assert all(node is previous.root.children[name] for name, node in found.root.children.items() if name != model)


@PROPERTY
@given(listings, st.lists(times, min_size=12, max_size=12))
def test_new_dates_of_the_same_versions_move_nothing(listing: list[ObjectInfo], dates: list[int]) -> None:
    tree = build(listing)
    dated_anew = [info._replace(mtime_ns=date) for info, date in zip(listing, dates, strict=False)]
    assert times_of(build(dated_anew, previous=tree)) == times_of(tree)


@PROPERTY
@given(st.lists(listings, min_size=2, max_size=4))
def test_times_move_where_something_changed_and_nowhere_else(history: list[list[ObjectInfo]]) -> None:
    old = build(history[0])
    shown: dict[str, int] = {}  # of every model that there ever was
    for listing in history[1:]:
        new = build(listing, previous=old)
        check_times(old, new)
        shown |= {name: node.mtime_ns for name, node in old.root.children.items() if isinstance(node, Directory)}
        for name, node in new.root.children.items():
            assert isinstance(node, File) or node.mtime_ns >= shown.get(name, node.mtime_ns)
        old = new


def test_a_replaced_file_is_newer_than_all_its_model_ever_showed_also_when_the_store_dates_it_older() -> None:
    old = build([obj("m/1/model.onnx", "v1", 100), obj("m/1/labels.txt", mtime_ns=900)])
    new = build([obj("m/1/model.onnx", "v2", 50), obj("m/1/labels.txt", mtime_ns=900)], previous=old)
    assert times_of(new) == {
        "": 900 + TICK_NS,
        "m": 900 + TICK_NS,
        "m/1": 900 + TICK_NS,
        "m/1/model.onnx": 900 + TICK_NS,
        "m/1/labels.txt": 900,
    }


@pytest.mark.parametrize(
    ("name", "least_ns"),
    [("env.tar.gz", 10**9), ("env.zip", 10**9), ("env.tgz", 10**9), ("model.onnx", TICK_NS), ("targz", TICK_NS)],
)
def test_r7_a_replaced_archive_is_newer_by_a_whole_second(name: str, least_ns: int) -> None:
    """Triton compares the times of an environment in whole seconds before it unpacks it anew."""
    old = build([obj(f"m/{name}", "v1", 100), obj("m/1/model.py", mtime_ns=900)])
    new = build([obj(f"m/{name}", "v2", 50), obj("m/1/model.py", mtime_ns=900)], previous=old)
    assert times_of(new)[f"m/{name}"] == times_of(new)["m"] == 900 + least_ns


def test_what_changes_deep_in_an_old_version_moves_the_greatest_time_of_its_model() -> None:
    """Triton compares the maximum over the model's folder, so a tick inside an old corner of it would go unseen."""
    newest = obj("m/2/model.onnx", mtime_ns=10**15)
    old = build([obj("m/1/saved/assets/vocab.txt", mtime_ns=1), obj("m/1/saved/model.pb", mtime_ns=2), newest])
    new = build([obj("m/1/saved/model.pb", mtime_ns=2), newest], previous=old)
    moved = 10**15 + TICK_NS
    assert [new.find(path).mtime_ns for path in ("m", "m/1", "m/1/saved")] == [moved] * 3  # type: ignore[union-attr]  # all exist
    assert [new.find(path).mtime_ns for path in ("m/2", "m/1/saved/model.pb")] == [10**15, 2]  # type: ignore[union-attr]  # all exist


def test_a_change_in_one_model_moves_no_other() -> None:
    others = [obj("b/1/x", mtime_ns=50), obj("c/config.pbtxt", mtime_ns=70)]
    old = build([obj("a/1/x", mtime_ns=10), *others])
    new = build([obj("a/1/x", "v2", mtime_ns=5), *others], previous=old)
    assert {path: time for path, time in times_of(new).items() if path and path[0] in "bc"} == {
        path: time for path, time in times_of(old).items() if path and path[0] in "bc"
    }
    assert times_of(new)["a"] == 10 + TICK_NS


def test_r8_a_model_that_comes_back_with_older_files_is_newer_than_it_was_when_it_went() -> None:
    """A Triton that did not poll in between has loaded the one that went."""
    always = obj("n/1/x", mtime_ns=5)
    tree = build([always, obj("m/1/x", "v2", 9 * TICK_NS)])
    for after in ([always], [always, obj("m")]):
        gone = build(after, previous=tree)
        assert gone.gone == {"m": 9 * TICK_NS}
        longer = build([*after, obj("n/2/x")], previous=gone)
        for back in (
            build([obj("m/1/x", mtime_ns=TICK_NS), always, obj("n/2/x")], previous=longer),
            graft(longer, {"m": [obj("m/1/x", mtime_ns=TICK_NS)], "": []}),
        ):
            moved = times_of(back)
            assert (moved["m"], moved["m/1"], moved["m/1/x"]) == (10 * TICK_NS, TICK_NS, TICK_NS)
            assert moved["n"] == times_of(longer)["n"]
            assert back.gone == {}
        later = build([obj("m/1/x", mtime_ns=20 * TICK_NS), always, obj("n/2/x")], previous=longer)
        assert times_of(later)["m"] == 20 * TICK_NS  # as on every other host


def test_a_folder_emptied_but_for_its_marker_moves_forward() -> None:
    old = build([obj("m/", mtime_ns=5), obj("m/x", mtime_ns=100)])
    new = build([obj("m/", mtime_ns=5)], previous=old)
    assert times_of(new)["m"] == 100 + TICK_NS


def test_the_time_of_a_deletion_stays_when_something_older_changes_elsewhere() -> None:
    history = [[obj("a/x"), obj("b/x", mtime_ns=100)], [obj("a/x")], [obj("a/x"), obj("a/y")]]
    tree = EMPTY
    for listing in history:
        tree = build(listing, previous=tree)
    assert times_of(tree) == {"": 100 + TICK_NS, "a": TICK_NS, "a/x": 0, "a/y": 0}


def test_a_repository_that_was_empty_takes_the_times_of_what_arrives() -> None:
    tree = build([obj("m/x", mtime_ns=10**15)], previous=build([]))
    assert times_of(tree) == {"": 10**15, "m": 10**15, "m/x": 10**15}


# sharing and differences


@PROPERTY
@given(listings, listings)
def test_unchanged_folders_are_shared_and_the_differences_are_what_a_dumb_comparison_finds(
    one: list[ObjectInfo], other: list[ObjectInfo]
) -> None:
    old = build(one)
    new = build(other, previous=old)
    before, after, changed = dict(walk(old)), dict(walk(new)), changed_paths(old, new)
    for path, node in after.items():
        if not any(is_below(other_path, path) for other_path in changed):
            assert node is before[path]
    found = differences(old, new)
    assert len({difference.path for difference in found}) == len(found)
    expected = {}
    for path, was in before.items():
        now = after.get(path)
        if isinstance(was, Directory) and isinstance(now, Directory) and was is not now:
            prefix = f"{path}/" if path else ""
            expected[path] = {
                name
                for name in was.children.keys() | now.children.keys()
                if prefix + name in changed or (prefix + name in before) != (prefix + name in after)
            }
    assert {path: set(names) for path, names in found} == expected


def test_parents_come_before_their_children_in_the_differences() -> None:
    old = build([obj("a/b/c/d")])
    found = differences(old, build([obj("a/b/c/d", "v2")], previous=old))
    assert found == [("", ()), ("a", ()), ("a/b", ()), ("a/b/c", ("d",))]


# listing a folder page by page


@PROPERTY
@given(st.sets(st.text("abcdef", min_size=1, max_size=3), max_size=20))
def test_cookies_rise_strictly_and_fit_where_the_kernel_keeps_them(names: set[str]) -> None:
    entries = list(build([obj(name) for name in names]).root.entries())
    cookies = [0, *(entry.cookie for entry in entries), 2**62]
    assert all(one < other for one, other in itertools.pairwise(cookies))
    assert {entry.name for entry in entries} == names


@PROPERTY
@given(
    st.lists(st.sets(st.text("abc", min_size=1, max_size=2), max_size=12), min_size=1, max_size=5),
    st.integers(1, 5),
)
def test_paging_while_the_tree_is_swapped_neither_repeats_nor_loses_a_child_that_stayed(
    history: list[set[str]], page: int
) -> None:
    tree = EMPTY
    seen: list[str] = []
    start = 0
    for step in range(20):
        now = history[min(step, len(history) - 1)]
        tree = build([obj(name) for name in now], previous=tree)
        taken = [entry for entry, _ in zip(tree.root.entries(start), range(page), strict=False)]
        seen += [entry.name for entry in taken]
        if not taken:
            break
        start = taken[-1].cookie + 1
    assert len(seen) == len(set(seen))
    assert set.intersection(*history) <= set(seen)


def test_two_names_of_one_hash_have_two_cookies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelfs.cookies.name_hash", lambda _name: 0)
    entries = list(build([obj("a"), obj("b"), obj("c")]).root.entries())
    assert [(entry.cookie, entry.name) for entry in entries] == [(1, "a"), (2, "b"), (3, "c")]


def test_a_million_bytes_of_slashes_do_not_exhaust_the_stack() -> None:
    tree = build([obj("/".join("d" * 500_000)), obj("/" * 1_000_000)])
    assert len(tree.omissions) == 2
    assert not tree.root.children
