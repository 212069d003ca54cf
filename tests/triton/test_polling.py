"""Triton polls two mounts once a second for more than two minutes; one has a quiet store, the other a bad day.

The two run side by side because each takes minutes by its nature; the tests judge what was seen.
"""

import itertools
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import models
import pytest
from faultserver import Fault, FaultServer, Keys, Record, Status
from mount.mounting_for_tests import ACCESS_KEY, SECRET_KEY, mounted
from tritonserver import TritonServer

START_S = 240.0
QUIET_REFRESH_S = 10.0
BAD_REFRESH_S = 2.0
FAILING_S = 15.0
AWAY_S = 120.0
SEEN_WITHIN_S = 60.0

States = dict[str, str]


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen in those minutes. States are Triton's whole table, once a second."""

    quiet_requests: list[Record]
    quiet_s: float
    quiet_states: States
    quiet_loads: int
    failed_pages: int
    served_pages: set[int]
    while_page_2_failed: list[States]
    while_away: list[States]
    unloads: int
    after: States


@pytest.fixture(scope="module")
def seen(triton: Path, examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """Run both Tritons and do to the second store what the tests ask about."""
    small = [name for name in models.NAMES if name.startswith("simple")]
    folders = [tmp_path_factory.mktemp(name) for name in ("quiet", "bad")]
    with (
        _polled(triton, examples, list(models.NAMES), folders[0], QUIET_REFRESH_S) as (quiet_store, quiet),
        _polled(triton, examples, small, folders[1], BAD_REFRESH_S) as (bad_store, bad),
    ):
        quiet_store.clear_log()
        began = time.monotonic()

        bad_store.clear_log()
        fault = bad_store.fail(Fault(Status(503), kind="list", page=2))
        while_page_2_failed = _sample(bad, FAILING_S)
        bad_store.heal(fault)
        served = {record.page for record in bad_store.requests(kind="list") if record.status == 200}

        bad_store.down()
        while_away = _sample(bad, AWAY_S)
        unloads = bad.log_count("successfully unloaded")
        bad_store.up()
        _put_model(bad_store, _renamed(examples / "simple", folders[1] / "late"), "late")
        deadline = time.monotonic() + SEEN_WITHIN_S
        while _states(bad).get("late") != "READY" and time.monotonic() < deadline:
            time.sleep(0.5)

        return Seen(
            quiet_requests=quiet_store.requests(),
            quiet_s=time.monotonic() - began,
            quiet_states=_states(quiet),
            quiet_loads=quiet.log_count("successfully loaded"),
            failed_pages=fault.hits,
            served_pages=served,
            while_page_2_failed=while_page_2_failed,
            while_away=while_away,
            unloads=unloads,
            after=_states(bad),
        )


def test_r22_idle_polls_cost_the_store_exactly_the_refresh_listings(seen: Seen) -> None:
    assert seen.quiet_s >= 60
    assert {(record.kind, record.page) for record in seen.quiet_requests} == {("list", 1)}
    times = [record.time_s for record in seen.quiet_requests]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert min(gaps) >= 0.9 * QUIET_REFRESH_S - 0.1  # a tenth is the refresh's jitter
    assert len(times) >= seen.quiet_s / (1.1 * QUIET_REFRESH_S) - 3  # slack for a busy machine
    assert seen.quiet_states == dict.fromkeys(models.NAMES, "READY")
    assert seen.quiet_loads == len(models.NAMES)  # each once: no poll took anything for modified


def test_r2_nothing_disappears_when_page_2_of_3_of_a_listing_fails(seen: Seen) -> None:
    assert seen.failed_pages
    assert {1, 2} - seen.served_pages == {2}
    _assert_all_ready(seen.while_page_2_failed)


def test_r1_nothing_unloads_while_the_store_is_away_for_two_minutes(seen: Seen) -> None:
    assert len(seen.while_away) > 60
    _assert_all_ready(seen.while_away)
    assert seen.unloads == 0


def test_a_new_model_is_served_when_the_store_is_back(seen: Seen) -> None:
    assert seen.after["late"] == "READY"


@contextmanager
def _polled(
    triton: Path, examples: Path, names: list[str], folder: Path, refresh_s: float
) -> Iterator[tuple[FaultServer, TritonServer]]:
    """Put ``names`` into a store, mount it below ``folder`` and have Triton poll it; the store has three pages or one.

    The files that fill the pages stand in one model beside its version, where Triton stats them at every poll.
    """
    with FaultServer(keys=Keys(ACCESS_KEY, SECRET_KEY)) as store:
        for name in names:
            _put_model(store, examples / name, name)
        if len(names) < len(models.NAMES):
            for number in range(2100):
                store.put("models", f"repository/simple/extra/{number:04d}", b"")
        url = f"s3://127.0.0.1:{store.port}/models/repository"
        with (
            mounted(url, folder, "--refresh", str(refresh_s)) as mount,
            TritonServer(triton, mount.path, log=folder / "log", mode="poll", poll_s=1) as server,
        ):
            server.wait_ready(START_S)
            yield store, server


def _put_model(store: FaultServer, folder: Path, name: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            store.put("models", f"repository/{name}/{path.relative_to(folder)}", path)


def _renamed(model: Path, to: Path) -> Path:
    """Copy ``model`` to the folder ``to``, whose name becomes the model's."""
    shutil.copytree(model, to)
    config = to / "config.pbtxt"
    config.write_text(config.read_text().replace(f'"{model.name}"', f'"{to.name}"'))
    return to


def _states(server: TritonServer) -> States:
    return {row["name"]: row.get("state", "") for row in server.index()}


def _sample(server: TritonServer, for_s: float) -> list[States]:
    """Return Triton's table of each of ``for_s`` seconds."""
    samples = []
    deadline = time.monotonic() + for_s
    while time.monotonic() < deadline:
        samples.append(_states(server))
        time.sleep(1)
    return samples


def _assert_all_ready(samples: list[States]) -> None:
    expected = {name: "READY" for name in models.NAMES if name.startswith("simple")}
    assert all(sample == expected for sample in samples), next(sample for sample in samples if sample != expected)
