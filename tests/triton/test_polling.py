"""R22: Triton polls its eight example models again and again, and the store hears of nothing but refreshes."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import models
import pytest
from faultserver import FaultServer, Keys, Record
from mount.mounting_for_tests import ACCESS_KEY, SECRET_KEY, mounted, wait_until
from soak.triton_log import TritonLog
from tritonserver import TritonServer

START_S = 240.0
REFRESH_S = 2.0
LISTINGS, POLLS = 6, 12
"""So many are waited for, however long they take."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the store was asked for meanwhile, and what Triton had loaded in the end."""

    requests: list[Record]
    states: dict[str, str]
    loads: int
    polls: int


def _is_refresh(record: Record) -> bool:
    return record.kind == "list" and record.query["prefix"] == "repository/"


@pytest.fixture(scope="module")
def seen(triton: Path, examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """Have a Triton poll the example models, and wait."""
    folder = tmp_path_factory.mktemp("quiet")
    log = TritonLog(folder / "log")
    with FaultServer(keys=Keys(ACCESS_KEY, SECRET_KEY)) as store:
        for path in sorted(path for path in examples.rglob("*") if path.is_file()):
            store.put("models", f"repository/{path.relative_to(examples)}", path)
        url = f"s3://127.0.0.1:{store.port}/models/repository"
        options = ["--log-verbose=1"]  # tells of polls
        with (
            mounted(url, folder, "--refresh", str(REFRESH_S)) as mount,
            TritonServer(triton, mount.path, log=log.path, mode="poll", extra_arguments=options) as server,
        ):
            server.wait_ready(START_S)
            assert store.wait_until_idle()
            store.clear_log()
            log.read()
            before = log.polls

            def has_seen_enough() -> bool:
                log.read()
                return log.polls - before >= POLLS and sum(map(_is_refresh, store.requests())) >= LISTINGS

            wait_until(has_seen_enough, within_s=START_S)
            states = {row["name"]: row.get("state", "") for row in server.index()}
            requests = store.requests()
            log.read()
            yield Seen(requests, states, server.log_count("successfully loaded"), log.polls - before)


def test_r22_idle_polls_cost_the_store_exactly_the_refresh_listings(seen: Seen) -> None:
    assert {(record.kind, record.page) for record in seen.requests} == {("list", 1)}
    refreshes = [record for record in seen.requests if _is_refresh(record)]
    gaps = [later.time_s - earlier.time_s for earlier, later in itertools.pairwise(refreshes)]
    assert min(gaps) >= 0.9 * REFRESH_S - 0.1  # a tenth is the refresh's jitter
    # R14: a poll that had to wait for a core in between is taken for a load, at most once, and only then
    assert len(seen.requests) - len(refreshes) <= seen.polls


def test_r6_idle_polls_take_nothing_for_modified(seen: Seen) -> None:
    assert seen.states == dict.fromkeys(models.NAMES, "READY")
    assert seen.loads == len(models.NAMES)
