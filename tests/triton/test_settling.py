"""R11 on a real Triton that polls: what is uploaded slowly is loaded once, whole, and never fails to load."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from faultserver import FaultServer, Keys
from mount.mounting_for_tests import ACCESS_KEY, SECRET_KEY, mounted, wait_until
from tritonserver import TritonServer

START_S = 240.0
SETTLE_S = 3.0
LONG_AGO_NS = 1_700_000_000 * 10**9

CONFIG = """
backend: "python"
input [ { name: "IN" data_type: TYPE_INT32 dims: [ 1 ] } ]
output [ { name: "OUT" data_type: TYPE_INT32 dims: [ 3 ] } ]
"""

MODEL = """
import os
import numpy
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        folder = os.path.join(args["model_repository"], args["model_version"])
        def number(name):
            with open(os.path.join(folder, name)) as file:
                return int(file.read())
        self.told = [TAG, number("a"), number("b")]

    def execute(self, requests):
        told = numpy.array(self.told, dtype=numpy.int32)
        return [pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("OUT", told)]) for _ in requests]
"""

Parts = Sequence[tuple[str, bytes]]


def version(number: int, tag: int) -> Parts:
    """Return the files of a version that tells ``tag`` three times, from three files; model.py is the last."""
    files = [("a", str(tag)), ("b", str(tag)), ("model.py", MODEL.replace("TAG", str(tag)))]
    return [(f"slow/{number}/{name}", text.encode()) for name, text in files]


class Uploads:
    """A store, a Triton that polls a mount of it, and uploads with pauses shorter and longer than the settling time."""

    def __init__(self, store: FaultServer, server: TritonServer) -> None:
        self.store = store
        self.server = server

    def upload(self, parts: Parts, pauses_s: Sequence[float]) -> None:
        """Put ``parts`` one after the other; nothing of them may be loaded before the last."""
        loads = self.loads()
        for (name, data), pause_s in zip(parts, pauses_s, strict=True):
            assert self.loads() == loads
            self.store.put("models", f"repository/{name}", data)
            time.sleep(pause_s)

    def loads(self) -> int:
        return self.server.log_count("successfully loaded 'slow'")

    def tells(self) -> list[int]:
        return self.server.infer("slow", {"IN": ("INT32", [1], [0])})["OUT"]

    def states(self) -> dict[str, str]:
        return {row.get("version", ""): row.get("state", "") for row in self.server.index() if row["name"] == "slow"}


@pytest.fixture
def uploads(triton: Path, tmp_path: Path) -> Iterator[Uploads]:
    """Have a Triton poll a mount of a store that has one other model."""
    with FaultServer(keys=Keys(ACCESS_KEY, SECRET_KEY)) as store:
        for name, data in [("slow/config.pbtxt", CONFIG.encode()), *version(1, 0)]:
            other = name.replace("slow", "other")
            store.put("models", f"repository/{other}", data, mtime_ns=LONG_AGO_NS)
        url = f"s3://127.0.0.1:{store.port}/models/repository"
        with (
            mounted(url, tmp_path, "--refresh", "1", "--settle", str(SETTLE_S)) as mount,
            TritonServer(triton, mount.path, log=tmp_path / "log", mode="poll", poll_s=1) as server,
        ):
            server.wait_ready(START_S)
            yield Uploads(store, server)


def test_r11_slow_uploads_in_any_order_are_one_load_each_and_no_load_fails(uploads: Uploads) -> None:
    short, long = SETTLE_S / 3, SETTLE_S * 2
    config = ("slow/config.pbtxt", CONFIG.encode())
    a, b, model = version(1, 1)
    uploads.upload([b, config, a, model], [long, long, short, 0])
    wait_until(uploads.loads)
    assert uploads.tells() == [1, 1, 1]

    uploads.upload(version(1, 2), [short, short, 0])  # each over the one before
    wait_until(lambda: uploads.tells() == [2, 2, 2])
    assert uploads.loads() == 2

    uploads.upload(version(2, 3), [long, short, 0])
    wait_until(lambda: uploads.states() == {"1": "UNAVAILABLE", "2": "READY"})
    time.sleep(2 * SETTLE_S)  # three polls and more: nothing is loaded twice
    assert uploads.tells() == [3, 3, 3]
    assert uploads.loads() == 3
    for complaint in ("failed to load", "failed to poll", "Poll failed"):
        assert uploads.server.log_count(complaint) == 0
