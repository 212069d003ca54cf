"""A stock Triton serves its eight example models through a mount: of each kind of store, with each engine and mode.

Each kind of store is read in all modes once. What differs in credentials, encryption or engine alone is read in one
mode: it is over when the files have been read, and Triton sees the same files.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import embedded_s3
import models
import pytest
from mount.mounting_for_tests import Mount, mounted
from stores.azurite import ACCOUNT, KEY, Azurite, container_sas
from tls_front import TlsFront, make_authority, server_context
from tritonserver import Mode, TritonServer

START_S = 240.0
MODES: tuple[Mode, ...] = ("none", "poll", "explicit")
ENGINES = ("obstore", "fsspec")
BY_DEFAULT = ("S3", "auto")
"""Over plain HTTP the default is no library, but connections of modelfs's own."""


@dataclass(frozen=True, slots=True)
class Home:
    """Where the example repository is, and what a mount of it is told."""

    url: str
    options: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


def _s3(request: pytest.FixtureRequest) -> Home:
    environment = {
        "AWS_ACCESS_KEY_ID": embedded_s3.ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": embedded_s3.SECRET_KEY,
        "AWS_DEFAULT_REGION": embedded_s3.REGION,
    }
    return Home(request.getfixturevalue("s3_url"), (), environment)


def _s3_over_https(request: pytest.FixtureRequest) -> Home:
    plain, (port, authority) = _s3(request), request.getfixturevalue("s3_over_https")
    path = plain.url.partition("//")[2].partition("/")[2]
    return Home(f"s3://https://127.0.0.1:{port}/{path}", ("--ca-bundle", str(authority)), plain.environment)


def _gcs(request: pytest.FixtureRequest) -> Home:
    return Home("gs://models/triton/examples", (), {"STORAGE_EMULATOR_HOST": request.getfixturevalue("gcs_emulator")})


def _azure_key(request: pytest.FixtureRequest) -> Home:
    server: Azurite = request.getfixturevalue("azure_emulator")
    return Home(f"as://{server.place}/models/triton/examples", (), {"AZURE_STORAGE_KEY": KEY})


def _azure_sas(request: pytest.FixtureRequest) -> Home:
    server: Azurite = request.getfixturevalue("azure_emulator")
    return Home(f"as://{server.place}/models/triton/examples?{container_sas('models')}")


def _azure_connection_string(request: pytest.FixtureRequest) -> Home:
    server: Azurite = request.getfixturevalue("azure_emulator")
    environment = {"AZURE_STORAGE_CONNECTION_STRING": server.connection_string}
    return Home(f"as://{ACCOUNT}/models/triton/examples", (), environment)


def _folder(request: pytest.FixtureRequest) -> Home:
    return Home(str(request.getfixturevalue("examples")))


HOMES: dict[str, Callable[[pytest.FixtureRequest], Home]] = {
    "S3": _s3,
    "S3 over HTTPS": _s3_over_https,
    "GCS": _gcs,
    "Azure, SAS": _azure_sas,
    "Azure, key": _azure_key,
    "Azure, connection string": _azure_connection_string,
    "folder": _folder,
}
IN_ALL_MODES = ("S3", "GCS", "Azure, SAS", "folder")
MOUNTS = [(home, engine) for home in HOMES for engine in ENGINES if (home, engine) != ("folder", "fsspec")]
MOUNTS.append(BY_DEFAULT)
"""A folder has no engine: its files are opened."""
CASES = [
    pytest.param(mount, mode, id=f"{mount[0]}, {mount[1]}, {mode}")
    for mount in MOUNTS
    for mode in (MODES if mount[0] in IN_ALL_MODES and mount[1] == "obstore" else MODES[:1])
]


@pytest.fixture(scope="session")
def s3_over_https(s3_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """Put TLS before the S3 server, and return its port and the file with the authority that nobody else knows."""
    folder = tmp_path_factory.mktemp("tls")
    make_authority(folder)
    port = int(s3_url.partition("//")[2].partition("/")[0].rpartition(":")[2])
    with TlsFront(port, server_context(folder)) as front:
        yield front, folder / "ca.pem"


@pytest.fixture(scope="module")
def mount(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    """Mount the example repository from one of its homes, with one engine."""
    name, engine = request.param
    home = HOMES[name](request)
    folder = tmp_path_factory.mktemp("mount")
    with mounted(home.url, folder, "--engine", engine, *home.options, **home.environment) as mount:
        assert mount.engine() == ("" if name == "folder" or engine == "auto" else engine)
        yield mount


@pytest.mark.parametrize(("mount", "mode"), CASES, indirect=["mount"])
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
