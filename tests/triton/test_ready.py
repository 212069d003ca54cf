"""A stock Triton serves its eight example models through a mount: of each kind of store, in each mode."""

from collections.abc import Iterator
from pathlib import Path

import embedded_s3
import models
import pytest
from mount.mounting_for_tests import Mount, mounted
from stores.azurite import ACCOUNT, KEY, Azurite, container_sas
from tritonserver import Mode, TritonServer

START_S = 240.0
AZURE = ("azure, key", "azure, SAS", "azure, connection string")


@pytest.fixture(scope="module", params=["s3", "gcs", *AZURE, "folder"])
def mount(request: pytest.FixtureRequest, examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    """Mount the example repository from one of its homes."""
    url, environment = str(examples), {}
    if request.param == "s3":
        url = request.getfixturevalue("s3_url")
        environment = {
            "AWS_ACCESS_KEY_ID": embedded_s3.ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": embedded_s3.SECRET_KEY,
            "AWS_DEFAULT_REGION": embedded_s3.REGION,
        }
    elif request.param == "gcs":
        url = "gs://models/triton/examples"
        environment = {"STORAGE_EMULATOR_HOST": request.getfixturevalue("gcs_emulator")}
    elif request.param in AZURE:
        url, environment = _azure(request.param, request.getfixturevalue("azure_emulator"))
    with mounted(url, tmp_path_factory.mktemp("mount"), **environment) as mount:
        yield mount


def _azure(param: str, server: Azurite) -> tuple[str, dict[str, str]]:
    url = f"as://{server.place}/models/triton/examples"
    if param == "azure, key":
        return url, {"AZURE_STORAGE_KEY": KEY}
    if param == "azure, SAS":
        return f"{url}?{container_sas('models')}", {}
    return f"as://{ACCOUNT}/models/triton/examples", {"AZURE_STORAGE_CONNECTION_STRING": server.connection_string}


@pytest.mark.parametrize("mode", ["none", "poll", "explicit"])
def test_the_eight_example_models_are_ready_and_answer_through_a_mount(
    mount: Mount, triton: Path, tmp_path: Path, mode: Mode
) -> None:
    at_start = models.NAMES[:4] if mode == "explicit" else ()
    with TritonServer(triton, mount.path, log=tmp_path / "log", mode=mode, models=at_start) as server:
        server.wait_ready(START_S)
        if mode == "explicit":
            for name in models.NAMES[4:]:
                server.load(name)
        table = [(row["name"], row.get("version"), row.get("state")) for row in server.index()]
        assert table == [(name, "1", "READY") for name in models.NAMES], server.log_tail()
        _check_answers(server)


def _check_answers(server: TritonServer) -> None:
    left, right = list(range(16)), [3] * 16
    sums, differences = [value + 3 for value in left], [value - 3 for value in left]
    for model, kind in (("simple", "INT32"), ("simple_int8", "INT8")):
        answer = server.infer(model, {"INPUT0": (kind, [1, 16], left), "INPUT1": (kind, [1, 16], right)})
        assert answer == {"OUTPUT0": sums, "OUTPUT1": differences}
    texts = [[str(value) for value in values] for values in (left, right, sums, differences)]
    answer = server.infer("simple_string", {f"INPUT{i}": ("BYTES", [1, 16], texts[i]) for i in (0, 1)})
    assert answer == {"OUTPUT0": texts[2], "OUTPUT1": texts[3]}
    assert server.infer("simple_identity", {"INPUT0": ("BYTES", [1, 2], ["naïve", ""])}) == {"OUTPUT0": ["naïve", ""]}
    assert _sequence(server, "simple_sequence") == [6, 6, 7]
    assert _sequence(server, "simple_dyna_sequence") == [6, 6, 7 + 42]
    picture = server.infer("densenet_onnx", {"data_0": ("FP32", [3, 224, 224], [0.5] * (3 * 224 * 224))})
    assert len(picture["fc6_1"]) == 1000
    picture = server.infer("inception_graphdef", {"input": ("FP32", [1, 299, 299, 3], [0.5] * (299 * 299 * 3))})
    assert sum(picture["InceptionV3/Predictions/Softmax"]) == pytest.approx(1.0, abs=1e-3)


def _sequence(server: TritonServer, model: str) -> list[int]:
    """Send 5, 6 and 7 as one sequence: the model adds 1 at its start, and may add its id, 42, at its end."""
    answers = []
    for value in (5, 6, 7):
        inputs = {"INPUT": ("INT32", [1, 1], [value])}
        answer = server.infer(model, inputs, sequence_id=42, sequence_start=value == 5, sequence_end=value == 7)
        answers += answer["OUTPUT"]
    return answers
