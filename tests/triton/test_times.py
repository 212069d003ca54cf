"""R6 to R10 and R20 as Triton sees them, which is by what it loads: once for each change, and never for anything else.

All that the tests ask about happens to different models on one server, at once; the tests judge what was seen.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from faultserver import FaultServer
from soak.playing import Stage, stage
from soak.scenario import Files
from soak.stores import LONG_AGO_NS, NAME, PREFIX, Bucket, fault_bucket
from soak.targets import mounted_bucket, write
from soak.witness import config, script, version

DAY_NS = 86_400 * 10**9
ALL = "version_policy { all {} }"
IMPORTING = script(1, extra="import importlib.util; import sys; sys.path.insert(0, folder); import beside")

INITIAL: Files = {
    path: data
    for name in ("quiet", "dated", "older", "same", "future", "twice")
    for path, data in {f"{name}/config.pbtxt": config(), **version(f"{name}/1", 1, ("a",))}.items()
} | {
    "labelled/config.pbtxt": config(),
    "labelled/labels.txt": b"cat",
    **version("labelled/1", 1),
    "shrinks/config.pbtxt": config(),
    **version("shrinks/1", 1),
    **version("shrinks/2", 2),
    "two/config.pbtxt": config(ALL),
    **version("two/1", 1),
    **version("two/2", 2),
    "imports/config.pbtxt": config(),
    "imports/1/model.py": IMPORTING,
    "imports/1/beside.py": b"x = 1\n",
}

Loads = dict[str, list[str]]
"""What each model loaded: the version, and what stood in its files."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was loaded at the start, after the first changes, and after the second. ``noticed`` are modified models."""

    at_start: Loads
    first: Loads
    noticed: set[str]
    second: Loads


def put(store: FaultServer, path: str, number: int, mtime_ns: int) -> None:
    """Replace both files of a version."""
    for name, data in version(path, number, ("a",)).items():
        store.put(NAME, f"{PREFIX}/{name}", data, mtime_ns=mtime_ns)


@pytest.fixture(scope="module")
def seen(triton: Path, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """Do all that the tests ask about, in two rounds, each seen by one listing."""
    scratch = tmp_path_factory.mktemp("times")
    with _serving(triton, scratch) as (bucket, server):
        store = bucket.server
        assert store is not None
        server.wait_quiet()
        at_start, _ = _loads(server)
        with bucket.held():
            put(store, "older/1", 2, LONG_AGO_NS - DAY_NS)
            put(store, "same/1", 2, LONG_AGO_NS)
            put(store, "future/1", 2, time.time_ns() + DAY_NS)
            put(store, "twice/1", 2, time.time_ns())
            put(store, "twice/1", 3, time.time_ns())
            for name in ("config.pbtxt", "1/a", "1/model.py"):
                store.touch(NAME, f"{PREFIX}/dated/{name}", mtime_ns=time.time_ns())
            changes = {**version("two/1", 11), "labelled/labels.txt": None, **dict.fromkeys(version("shrinks/2", 2))}
            write(bucket, changes)
        first, noticed = _after(server, {"older", "same", "future", "twice", "two", "labelled", "shrinks"})
        Path("/proc/sys/vm/drop_caches").write_text("2\n")
        with bucket.held():
            put(store, "future/1", 3, time.time_ns())
        second, _ = _after(server, {"future"})
        return Seen(at_start, first, noticed, second)


def test_r6_what_nobody_changed_is_loaded_once_and_never_again(seen: Seen) -> None:
    assert seen.at_start["quiet"] == ["1: 1 1"]
    assert "quiet" not in seen.first.keys() | seen.second.keys() | seen.noticed


def test_r7_an_older_object_that_is_put_back_is_one_load(seen: Seen) -> None:
    assert seen.first["older"] == ["1: 2 2"]


def test_r7_an_object_of_the_same_date_is_one_load(seen: Seen) -> None:
    assert seen.first["same"] == ["1: 2 2"]


def test_r7_an_object_of_the_future_is_one_load_and_so_is_the_one_after_it(seen: Seen) -> None:
    assert seen.first["future"] == ["1: 2 2"]
    assert seen.second == {"future": ["1: 3 3"]}


def test_r7_two_objects_of_one_moment_are_one_load_of_the_second(seen: Seen) -> None:
    assert seen.first["twice"] == ["1: 3 3"]


def test_r8_labels_that_are_deleted_are_noticed_and_so_is_a_version(seen: Seen) -> None:
    assert {"labelled", "shrinks"} <= seen.noticed
    assert seen.first["shrinks"] == ["1: 1"]


def test_r9_a_change_in_one_version_moves_nothing_of_another(seen: Seen) -> None:
    assert seen.first["two"] == ["1: 11"]


def test_r10_new_dates_of_the_same_objects_are_not_noticed(seen: Seen) -> None:
    assert "dated" not in seen.first.keys() | seen.noticed


def test_r20_a_python_model_that_imports_what_lies_beside_it_is_loaded_once(seen: Seen) -> None:
    assert seen.at_start["imports"] == ["1: 1"]
    assert "imports" not in seen.first.keys() | seen.second.keys() | seen.noticed


@contextmanager
def _serving(triton: Path, scratch: Path) -> Iterator[tuple[Bucket, Stage]]:
    with fault_bucket("s3") as bucket:
        write(bucket, INITIAL)
        with (
            mounted_bucket(bucket, scratch, settle_s=0) as target,
            stage(triton, target, scratch, "poll") as server,
        ):
            yield bucket, server


def _after(server: Stage, changed: set[str]) -> tuple[Loads, set[str]]:
    """Return what was loaded and noticed since the last time, once all of ``changed`` was and nothing more is."""
    server.wait_noticed(changed)
    server.wait_quiet()
    return _loads(server)


def _loads(server: Stage) -> tuple[Loads, set[str]]:
    found = server.seen("", ())
    loads: Loads = {}
    for model, events in found.events.items():
        for event in events:
            kind, number, told = f"{event}  ".split(" ", 2)
            if kind == "witness":
                loads.setdefault(model, []).append(f"{number}: {told.strip()}")
    return loads, {each.partition(":")[0] for each in found.loading}
