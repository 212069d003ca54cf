"""R26: many models in one repository. How long a poll of 1,000 takes is measured by the benchmark's row ``poll``."""

from collections.abc import Iterator
from pathlib import Path

import many_models
import pytest
from faultserver import FaultServer, Keys
from mount.mounting_for_tests import ACCESS_KEY, SECRET_KEY, mounted, wait_until
from tritonserver import TritonServer

MODELS = 60
START_S = 240.0
LONG_AGO_NS = 1_700_000_000 * 10**9


@pytest.fixture
def store() -> Iterator[FaultServer]:
    """Run a store that holds the models."""
    with FaultServer(keys=Keys(ACCESS_KEY, SECRET_KEY)) as server:
        for key, data in many_models.files(MODELS).items():
            server.put("models", f"repository/{key}", data, mtime_ns=LONG_AGO_NS)
        yield server


def test_r26_of_many_models_all_are_ready_and_a_poll_loads_only_what_changed(
    store: FaultServer, triton: Path, tmp_path: Path
) -> None:
    names = many_models.names(MODELS)
    with (
        mounted(f"s3://127.0.0.1:{store.port}/models/repository", tmp_path, "--refresh", "1") as mount,
        TritonServer(triton, mount.path, log=tmp_path / "log", mode="poll", poll_s=1) as server,
    ):
        server.wait_ready(START_S)
        assert {row["name"]: row.get("state") for row in server.index()} == dict.fromkeys(names, "READY")
        store.clear_log()
        changed = names[MODELS // 2]
        store.put("models", f"repository/{changed}/labels_0.txt", b"changed\n")
        wait_until(lambda: server.log_count(f"successfully loaded '{changed}'") == 2)
        store.delete("models", f"repository/{names[-1]}/labels_1.txt")
        wait_until(lambda: server.log_count(f"successfully loaded '{names[-1]}'") == 2)
        loaded = {name: server.log_count(f"successfully loaded '{name}'") for name in names}
        assert loaded == {name: 2 if name in {changed, names[-1]} else 1 for name in names}
        wait_until(lambda: server.log_count("successfully unloaded") == 2)  # what was served before, of each of the two
        assert {each.key for each in store.requests(kind="get")} <= {
            f"repository/{name}/{file}" for name in (changed, names[-1]) for file in many_models.FILES
        }
