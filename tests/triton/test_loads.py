"""R1 and R22 to R27 as a Triton that loads by hand sees them: what a load costs the store, and whom it holds up.

What has to happen while something else hangs is awaited while it hangs: no test here measures a time.
"""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from faultserver import Fault, FaultServer, Keys, Stall, Stamped
from mount.mounting_for_tests import ACCESS_KEY, SECRET_KEY, Mount, mounted, wait_until
from soak.stores import LONG_AGO_NS, NAME, PREFIX, s3_url
from soak.triton_log import VERBOSE
from soak.witness import ASKED, config, script
from tritonserver import TritonServer

START_S = 240.0
SIZE = 3_000_000
FOUR = "instance_group { count: 4 kind: KIND_CPU }"
READS = script(1, extra='self.told.append(sum(open(os.path.join(folder, "weights"), "rb").read()) % 1000)')
SERIAL = ("--model-load-thread-count=1",)


def put_model(store: FaultServer, name: str, *numbers: int, more: str = "") -> None:
    """Put a model that reads SIZE bytes when it is loaded."""
    files = {f"{name}/config.pbtxt": config(more)}
    for number in numbers:
        files[f"{name}/{number}/model.py"] = READS
        weights = Stamped(f"{name}/{number}", "v", SIZE)
        store.put(NAME, f"{PREFIX}/{name}/{number}/weights", weights, mtime_ns=LONG_AGO_NS)
    for path, data in files.items():
        store.put(NAME, f"{PREFIX}/{path}", data, mtime_ns=LONG_AGO_NS)


@pytest.fixture
def store() -> Iterator[FaultServer]:
    """Run a store that asks for keys."""
    with FaultServer(keys=Keys(ACCESS_KEY, SECRET_KEY)) as store:
        store.create_bucket(NAME)
        yield store


@pytest.fixture
def mount(store: FaultServer, tmp_path: Path) -> Iterator[Mount]:
    """Mount it, once a test has put what it needs, and list it no more."""
    for number in range(4):
        put_model(store, f"old{number}", 1, 2)
    put_model(store, "instances", 1, more=FOUR)
    for number in range(6):
        put_model(store, f"side{number}", 1)
    with mounted(s3_url(store), tmp_path, "--refresh", "3600") as mount:
        yield mount


@pytest.fixture
def server(triton: Path, mount: Mount, tmp_path: Path) -> Iterator[TritonServer]:
    """Serve nothing yet."""
    log = tmp_path / "triton.log"
    with TritonServer(triton, mount.path, log=log, mode="explicit", extra_arguments=VERBOSE) as server:
        server.wait_ready(START_S)
        yield server


def is_ready(server: TritonServer, model: str) -> bool:
    """Tell whether a version of the model is served."""
    return any(row["name"] == model and row.get("state") == "READY" for row in server.index())


def fetched(store: FaultServer, key: str) -> int:
    """Return how many bytes the store sent of an object."""
    assert store.wait_until_idle()
    return sum(record.bytes_sent for record in store.requests(kind="get", key=f"{PREFIX}/{key}"))


def test_r22_to_r25_a_load_costs_the_bytes_of_what_is_served_once_and_nothing_else(
    store: FaultServer, server: TritonServer
) -> None:
    """Absent names that Triton looks for, versions that it does not load, and three more instances cost nothing."""
    store.clear_log()
    server.load("old0")
    server.load("instances")
    assert len(server.infer("instances", ASKED)["OUT"]) == 2
    looks = [record.query["prefix"] for record in store.requests(kind="list")]
    assert set(looks) <= {f"{PREFIX}/old0/", f"{PREFIX}/instances/"}  # R14: what is loaded is looked for first
    assert {record.kind for record in store.requests()} <= {"get", "list"}
    keys = {record.key.removeprefix(f"{PREFIX}/") for record in store.requests(kind="get")}
    served = {f"{folder}/{name}" for folder in ("old0/2", "instances/1") for name in ("model.py", "weights")}
    assert keys == served | {"old0/config.pbtxt", "instances/config.pbtxt"}
    assert [fetched(store, key) for key in ("old0/2/weights", "instances/1/weights")] == [SIZE, SIZE]


def test_r24_the_weights_of_all_models_are_on_their_way_while_the_first_is_loaded(
    store: FaultServer, mount: Mount, triton: Path, tmp_path: Path
) -> None:
    """Triton reads all configs before it loads one model after the other, as it does with those of ONNX."""
    stall = store.fail(Fault(Stall(0), kind="get", key="*/weights"))
    log = tmp_path / "triton.log"
    models = [f"side{number}" for number in range(6)]
    options = [*VERBOSE, *SERIAL]
    with TritonServer(triton, mount.path, log=log, models=models, mode="explicit", extra_arguments=options) as server:
        wait_until(
            lambda: (
                {record.key for record in store.requests(kind="get") if "side" in record.key}
                >= {f"{PREFIX}/{model}/1/weights" for model in models}
            )
        )
        store.heal(stall)
        server.wait_ready(START_S)
        assert [row.get("state") for row in server.index() if row["name"] in models] == ["READY"] * 6


def test_r27_loads_that_hang_hold_up_no_other_and_nothing_that_is_served(
    store: FaultServer, server: TritonServer
) -> None:
    server.load("side0")
    stall = store.fail(Fault(Stall(1000), kind="get", key=f"{PREFIX}/old*/weights"))
    loads = [threading.Thread(target=server.load, args=(f"old{number}",)) for number in range(2)]
    for load in loads:
        load.start()
    wait_until(lambda: stall.hits >= len(loads))
    for model in ("side1", "side2"):
        server.load(model)
        assert is_ready(server, model)
    assert server.infer("side0", ASKED)["OUT"]
    assert all(load.is_alive() for load in loads)
    store.heal(stall)
    for load in loads:
        load.join(START_S)
    assert is_ready(server, "old0")
    assert is_ready(server, "old1")


def test_r1_what_was_read_is_loaded_again_while_the_store_refuses_and_what_was_not_waits(
    store: FaultServer, mount: Mount, server: TritonServer
) -> None:
    server.load("old0")
    kept = [path.open("rb") for path in sorted((mount.path / "old0").rglob("*")) if path.is_file()]
    try:
        store.let_in(Keys("another", "another"))
        server.unload("old0")
        wait_until(lambda: not is_ready(server, "old0"))
        server.load("old0")
        assert is_ready(server, "old0")
        store.clear_log()
        loading = threading.Thread(target=server.load, args=("old1",))
        loading.start()
        wait_until(lambda: len([record for record in store.requests(kind="get") if record.status == 403]) > 3)
        assert loading.is_alive()
        assert not is_ready(server, "old1")
        store.let_in(Keys(ACCESS_KEY, SECRET_KEY))
        loading.join(START_S)
        assert is_ready(server, "old1")
    finally:
        for file in kept:
            file.close()
