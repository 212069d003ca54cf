"""Showing: building only the models that have changed makes the tree that building all of them makes."""

import math
import random
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelfs import collector
from modelfs.blocks import ObjectInfo
from modelfs.settle import Moment
from modelfs.showing import Showing, Shown
from modelfs.tree import Directory, File, Node, Tree

KEYS = [
    *("m/config.pbtxt", "m/1/a", "m/1/b", "m/2/a", "m/", "m/1/", "n/1/a", "n/x", "n", "m", "top", "o/1/a", "o"),
    *("m//x", ".h/x", "n/.h/x", "m/../x", "p/", "p/__pycache__/x"),
]


def nodes(tree: Tree) -> Iterator[tuple[str, Node]]:
    waiting: list[tuple[str, Node]] = [("", tree.root)]
    while waiting:
        path, node = waiting.pop()
        yield path, node
        if isinstance(node, Directory):
            waiting += [(f"{path}/{name}", child) for name, child in node.children.items()]


def told(shown: Shown) -> dict[str, object]:
    """Return all that a mount tells of what is shown."""
    tree = shown.tree
    found: dict[str, object] = {
        path: (node.mtime_ns, node.info if isinstance(node, File) else None) for path, node in nodes(tree)
    }
    omissions = sorted(tree.omissions)
    return {**found, "counts": (tree.files, tree.total_bytes), "omitted": omissions, "pending": shown.pending}


steps = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from(KEYS), st.integers(0, 2), max_size=12), st.booleans(), st.integers(0, 15)
    ),
    min_size=1,
    max_size=8,
)


@pytest.mark.parametrize("settle_s", [0.0, 10.0])
@given(steps)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_tree_of_some_models_anew_is_the_tree_of_all_anew(
    settle_s: float, history: list[tuple[dict[str, int], bool, int]]
) -> None:
    some, all_of_them = (Showing(show_hidden=False, settle_s=settle_s, memory=None) for _ in range(2))
    now_s = 0.0
    for content, may_withdraw, pause_s in history:
        listing = [ObjectInfo(key, version, f"v{version}", 10**18 + version) for key, version in content.items()]
        now_s += pause_s
        moment = Moment(now_s, now_s, 2 * 10**18)
        all_of_them._built = None
        found = []
        for each in (some, all_of_them):
            texts: dict[str, bytes | None] = {
                info.key: b'backend: "x"' for info in each.take(listing, moment, may_withdraw=may_withdraw)
            }
            found.append(told(each.show(texts)))
        assert found[0] == found[1]


def test_a_listing_that_brings_nothing_new_makes_no_tree() -> None:
    showing = Showing(show_hidden=False, settle_s=10.0, memory=None)
    listing = [ObjectInfo(f"m{number}/1/x", 1, "v", 10**18) for number in range(100)]
    trees = []
    for now_s in (0.0, 20.0, 40.0):
        showing.take(
            [showing.gate.recall(info) for info in listing], Moment(now_s, now_s, 2 * 10**18), may_withdraw=True
        )
        trees.append(showing.show({}).tree)
    assert trees[0] is trees[1] is trees[2]


def test_known_objects_are_recalled_so_that_there_is_one_of_each() -> None:
    showing = Showing(show_hidden=False, settle_s=0.0, memory=None)
    known = ObjectInfo("m/1/x", 1, "v", 10**18)
    showing.take([known], Moment(0, 0, 0), may_withdraw=True)
    assert showing.gate.recall(ObjectInfo(*known)) is known
    for other in (known._replace(version="w"), known._replace(mtime_ns=1), known._replace(key="m/1/y")):
        assert showing.gate.recall(other) is other


def test_what_came_in_large_numbers_is_set_aside_once(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen = []
    monkeypatch.setattr(collector, "MANY", 100)
    monkeypatch.setattr("modelfs.collector.gc.freeze", lambda: frozen.append(True))
    showing = Showing(show_hidden=False, settle_s=0.0, memory=None)
    for number, expected in ((60, 0), (99, 0), (100, 1), (150, 1), (201, 2)):
        listing = [ObjectInfo(f"m/1/{index}", 1, "v", 10**18) for index in range(number)]
        showing.take(listing, Moment(math.inf, math.inf, 0), may_withdraw=True)
        showing.show({})
        assert len(frozen) == expected


def test_order_of_a_large_folder_is_made_with_the_tree_and_follows_its_changes() -> None:
    showing = Showing(show_hidden=False, settle_s=0.0, memory=None)
    names = [f"{number:05d}" for number in range(5000)]
    chance = random.Random(5)
    for _ in range(12):
        listing = [ObjectInfo(f"m/1/{name}", 1, "v", 10**18) for name in names]
        showing.take(listing, Moment(0, 0, 0), may_withdraw=True)
        folder = showing.show({}).tree.find("m/1")
        assert isinstance(folder, Directory)
        assert folder._order
        anew = Directory(folder.children, 0)
        assert list(folder.entries()) == list(anew.entries())
        kept = set(chance.sample(names, len(names) - chance.choice((0, 1, 7, 900))))
        names = [name for name in names if name in kept]
        names += [f"new{chance.random()}" for _ in range(chance.choice((0, 1, 5, 1200)))]
