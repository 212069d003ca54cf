"""The parts of the acceptance runs that say what is right, without a store, a mount or a server."""

import random
from pathlib import Path

import pytest
from soak.publication import PARTS, SCRIPT, Model, Publication
from soak.scenarios import SCENARIOS, together
from soak.triton_log import TritonLog

SETTLE_S = 2.0


def applied(store: dict[str, bytes], publication: Publication) -> None:
    """Do to a store what a publication says."""
    away: dict[str, bytes] = {}
    for write in publication.writes:
        if write.data is not None:
            store[write.path] = write.data
        elif not write.is_again:
            away |= {write.path: store.pop(write.path)} if write.path in store else {}
        elif write.path in away:
            store[write.path] = away[write.path]


def numbers_in(store: dict[str, bytes], version: int) -> set[int]:
    """Return the numbers that stand in the files of a version."""
    script = store[f"{version}/{SCRIPT}"].decode()
    told = script.partition("self.told = [")[2].partition("]")[0]
    return {int(told), *(int(store[f"{version}/{name}"]) for name in PARTS)}


@pytest.mark.parametrize("seed", range(5))
def test_what_a_publication_says_of_its_end_is_what_a_store_then_holds(seed: int) -> None:
    model, store = Model("m", random.Random(seed), SETTLE_S), dict[str, bytes]()
    kinds = set()
    for _ in range(400):
        publication = model.publish()
        kinds.add(publication.kind)
        before = dict(store)
        applied(store, publication)
        there = {int(path.partition("/")[0]) for path in store if path.endswith(SCRIPT)}
        assert there == model.versions.keys()
        assert publication.served == max(there, default=None)
        assert all(numbers_in(store, version) == {number} for version, number in model.versions.items())
        if publication.load is not None:
            assert publication.load.version == publication.served
            assert {*publication.load.told} == numbers_in(store, publication.load.version)
        elif publication.served is not None:
            served = f"{publication.served}/"
            assert {path: data for path, data in store.items() if path.startswith(served)} == {
                path: data for path, data in before.items() if path.startswith(served)
            }
    assert len(kinds) == 15


@pytest.mark.parametrize("seed", range(3))
def test_a_pause_is_long_only_where_names_or_uploads_tell_that_something_is_missing(seed: int) -> None:
    model, store = Model("m", random.Random(seed), SETTLE_S), dict[str, bytes]()
    for _ in range(400):
        publication = model.publish()
        version = publication.writes[-1].path.partition("/")[0]
        for write in publication.writes:
            if write.pause_s >= SETTLE_S and write.path != f"{version}/{SCRIPT}":
                assert write.is_guarded
                assert write.is_in_parts or f"{version}/{SCRIPT}" not in store
            applied(store, Publication("", "m", (write,), None, None))


def test_scenarios_of_one_server_have_no_model_in_common_and_each_stands_in_a_group() -> None:
    for mode in ("poll", "explicit"):
        groups = together(mode)
        assert sorted(each.name for group in groups for each in group) == sorted(
            scenario.name for scenario in SCENARIOS if mode in scenario.modes
        )
        for group in groups:
            models = [model for scenario in group for model in scenario.models]
            assert len(models) == len(set(models))


def test_log_is_read_line_by_line_as_it_grows_also_where_a_model_speaks_in_the_middle_of_one(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"")
    log = TritonLog(path, lambda text: text.replace("/mnt", "REPOSITORY"))
    begin = b"I1129 18:20:56.415126 31127 "
    lines = [
        begin + b'server.cc:376] "Polling model repository"\n',
        begin + b'model_lifecycle.cc:472] "loading: m:2"\n',
        begin
        + b'stub_launcher.cc:385] "Starting Python backend stub:  exec /stub /mnt/m/2/model.py y"witness m 2 7 7\n\n',
        b"E1129 18:20:57.1 1 model_lifecycle.cc:642] \"failed to load 'm' version 2: no /mnt/m/2/a\"\n",
    ]
    for line in lines:
        half = len(line) // 2
        for part in (line[:half], line[half:]):
            with path.open("ab") as file:
                file.write(part)
            log.read()
    assert log.polls == 1
    assert [(event.kind, event.version, event.text) for event in log.events] == [
        ("loading", "2", "loading: m:2"),
        ("witness", "2", "7 7"),
        ("starts", "2", ""),
        ("failed", "2", "failed to load 'm' version 2: no REPOSITORY/m/2/a"),
    ]
    assert log.live() == {("m", "2"): 0}
