"""R5 with a real Triton: the worker is killed while models serve from mapped weights, and while a model loads."""

import contextlib
import random
import struct
import threading
from pathlib import Path

from faultserver import Fault, FaultServer, Keys, Stall
from mount.mounting_for_tests import ACCESS_KEY, PATIENCE_S, SECRET_KEY, mounted, wait_until
from mount.takeovers import kill_worker, wait_until_served
from onnx import TensorProto, helper
from tritonserver import TritonServer

START_S = 240.0
ROWS, COLUMNS = 16_384, 1024
"""Weights of 64 MiB: a row is a page, and the kernel reads the pages of those rows that are asked for."""
KILLS = 2

CONFIG = """
platform: "onnxruntime_onnx"
input [ { name: "ROW" data_type: TYPE_INT64 dims: [ 1 ] } ]
output [ { name: "VALUES" data_type: TYPE_FP32 dims: [ 1, 1024 ] } ]
"""


def value(row: int) -> float:
    """Return what every weight of a row is."""
    return float(row % 4093)


def make_mapped(folder: Path) -> None:
    """Write a model whose weights lie in a file of their own, which onnxruntime maps: it returns the row asked for."""
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(CONFIG)
    with (folder / "1" / "weights.bin").open("wb") as file:
        for row in range(ROWS):
            file.write(struct.pack("<f", value(row)) * COLUMNS)
    weights = TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=[ROWS, COLUMNS])
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="weights.bin")
    graph = helper.make_graph(
        [helper.make_node("Gather", ["weights", "ROW"], ["VALUES"])],
        "mapped",
        [helper.make_tensor_value_info("ROW", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("VALUES", TensorProto.FLOAT, [1, COLUMNS])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "1" / "model.onnx").write_bytes(model.SerializeToString())


class Asking(threading.Thread):
    """Asks for rows that nobody has asked for, until told to end, and compares."""

    def __init__(self, server: TritonServer) -> None:
        super().__init__()
        self.answers = 0
        self.wrong: list[str] = []
        self.over = threading.Event()
        self._server = server

    def run(self) -> None:
        rows = random.Random(5).sample(range(ROWS), ROWS)
        while not self.over.is_set() and not self.wrong:
            row = rows.pop()
            try:
                found = self._server.infer("mapped", {"ROW": ("INT64", [1], [row])})["VALUES"]
                states = {each["name"]: each.get("state") for each in self._server.index()}
            except Exception as error:  # noqa: BLE001  the test tells of it
                self.wrong.append(repr(error))
                return
            if found != [value(row)] * COLUMNS:
                self.wrong.append(f"row {row}: {found[:3]}")
            if states["mapped"] != "READY":
                self.wrong.append(f"{states}")
            self.answers += 1

    def go_on(self) -> None:
        """Wait for two more answers: the second was asked for after now."""
        goal = self.answers + 2
        wait_until(lambda: self.answers >= goal or self.wrong)


def put(store: FaultServer, folder: Path, name: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            store.put("models", f"repository/{name}/{path.relative_to(folder)}", path)


def is_mapped(path: Path) -> bool:
    """Tell whether some process has mapped this file."""
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):
            if str(path) in maps.read_text():
                return True
    return False


def test_r5_mapped_weights_serve_and_a_load_ends_although_the_worker_is_killed(
    triton: Path, examples: Path, tmp_path: Path
) -> None:
    with FaultServer(keys=Keys(ACCESS_KEY, SECRET_KEY)) as store:
        store.create_bucket("models")
        make_mapped(tmp_path / "mapped")
        put(store, tmp_path / "mapped", "mapped")
        url = f"s3://127.0.0.1:{store.port}/models/repository"
        with (
            # not brought before: what is in the page cache would be asked of no worker
            mounted(url, tmp_path, "--refresh", "1", "--load-ahead", "0") as mount,
            TritonServer(triton, mount.path, log=tmp_path / "triton.log", mode="poll", poll_s=1) as server,
        ):
            server.wait_ready(START_S)
            supervisor = mount.status()["pid"]
            assert is_mapped(mount.path / "mapped" / "1" / "weights.bin")
            asking = Asking(server)
            asking.start()
            try:
                for number in range(1, KILLS + 1):
                    asking.go_on()
                    kill_worker(supervisor)
                    asking.go_on()
                    wait_until_served(mount, restarts=number)
                    wait_until(lambda: mount.figures()["reads"] or asking.wrong)  # of weights, by the new one
                stalled = store.fail(Fault(Stall(), kind="get", key="repository/simple/1/model.onnx"))
                put(store, examples / "simple", "simple")
                wait_until(lambda: stalled.hits)  # Triton loads it, and waits for its first byte
                kill_worker(supervisor)
                wait_until_served(mount, restarts=KILLS + 1)
                asking.go_on()
                store.heal(stalled)
                wait_until(
                    lambda: {each["name"]: each.get("state") for each in server.index()}.get("simple") == "READY"
                )
                asking.go_on()
            finally:
                asking.over.set()
                asking.join(PATIENCE_S)
            assert asking.wrong == []
            numbers = list(range(16))
            found = server.infer("simple", {name: ("INT32", [1, 16], numbers) for name in ("INPUT0", "INPUT1")})
            assert found["OUTPUT0"] == [2 * number for number in numbers]
            assert server.log_count("successfully unloaded") == 0
            assert server.log_count("successfully loaded 'mapped'") == 1
            assert server.log_count("successfully loaded 'simple'") == 1
