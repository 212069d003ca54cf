"""What ``modelfs lint`` calls an error is what the real tritonserver does not load, and the other way round."""

from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import pytest
from mount.mounting_for_tests import wait_until
from tritonserver import TritonError, TritonServer

from modelfs.config import Config
from modelfs.linting import lint_repository

START_S = 240.0
PYTHON = 'backend: "python" '
ONNX = 'backend: "onnxruntime" '
IO = 'input { name: "a" data_type: TYPE_INT32 dims: [1] } output { name: "b" data_type: TYPE_INT32 dims: [1] }'
LABELLED = IO.replace("dims: [1] }", 'dims: [1] label_filename: "l.txt" }').replace(' label_filename: "l.txt"', "", 1)
STEP = (
    'step { model_name: "%s" model_version: -1 input_map { key: "a" value: "a" } output_map { key: "b" value: "b" } }'
)
ENSEMBLE = 'platform: "ensemble" ' + IO + " ensemble_scheduling { " + STEP + " }"
SCRIPT = "class TritonPythonModel:\n    def execute(self, requests):\n        return []\n"
COMPLETING = SCRIPT + "    @staticmethod\n    def auto_complete_config(config):\n        return config\n"

MODELS: dict[str, dict[str, str]] = {
    "sound": {"config.pbtxt": PYTHON + IO, "1/model.py": SCRIPT},
    "completing": {"1/model.py": COMPLETING},
    "no_backend": {"config.pbtxt": IO, "1/model.py": SCRIPT},
    "labelled": {"config.pbtxt": PYTHON + LABELLED, "l.txt": "x\n", "1/model.py": SCRIPT},
    "no_config": {"1/model.py": SCRIPT},
    "some_versions": {
        "config.pbtxt": PYTHON + IO + " version_policy { specific { versions: [1, 3] } }",
        "1/model.py": SCRIPT,
    },
    "zero": {"config.pbtxt": PYTHON + IO, "0/model.py": SCRIPT},
    "ensemble": {"config.pbtxt": ENSEMBLE % "sound", "1/": ""},
    "other_name": {"config.pbtxt": 'name: "other" ' + PYTHON + IO, "1/model.py": SCRIPT},
    "open_brace": {"config.pbtxt": PYTHON + IO + " output {", "1/model.py": SCRIPT},
    "no_labels": {"config.pbtxt": PYTHON + LABELLED, "1/model.py": SCRIPT},
    "no_version": {"config.pbtxt": PYTHON + IO, "model.py": SCRIPT},
    "no_such_version": {
        "config.pbtxt": PYTHON + IO + " version_policy { specific { versions: 3 } }",
        "1/model.py": SCRIPT,
    },
    "leading_zero": {"config.pbtxt": PYTHON + IO, "01/model.py": SCRIPT},
    "backup": {"config.pbtxt": ONNX + IO, "3.bak/model.onnx": "x"},
    "unknown": {"config.pbtxt": IO, "1/x": "x"},
    "no_bytes": {"config.pbtxt": PYTHON + IO, "1/model.py": ""},
    "no_files": {"config.pbtxt": ONNX + IO, "1/": ""},
    "no_model": {"config.pbtxt": ONNX + IO, "1/x": "x"},
    "pytorch": {"1/model.pt": "x"},
    "ensemble_without_version": {"config.pbtxt": ENSEMBLE % "sound"},
}
TOO_LARGE = {"config.pbtxt": PYTHON + IO, "9" * 20 + "/model.py": SCRIPT}


def write(repository: Path, name: str, files: dict[str, str]) -> None:
    for path, text in files.items():
        file = repository / name / path
        if path.endswith("/"):
            file.mkdir(parents=True)
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)


@pytest.fixture
def server(triton: Path, tmp_path: Path) -> Iterator[TritonServer]:
    repository = tmp_path / "repository"
    for name, files in MODELS.items():
        write(repository, name, files)
    with TritonServer(triton, repository, log=tmp_path / "triton.log", mode="explicit") as server:
        server.wait_ready(START_S)
        yield server


def is_loaded(server: TritonServer, model: str) -> bool:
    try:
        server.load(model)
    except TritonError:
        return False
    return True


def has_ended(server: TritonServer) -> bool:
    try:
        server.started()
    except TritonError:
        return True
    return False


def erring(repository: Path) -> set[str]:
    """Return the models on which lint has an error."""
    return {
        found.path.partition("/")[0]
        for found in lint_repository(str(repository), Config())
        if found.severity == "error"
    }


def test_an_error_is_what_triton_does_not_load_and_20_digits_end_it(server: TritonServer, tmp_path: Path) -> None:
    loaded = {name for name in MODELS if is_loaded(server, name)}
    assert MODELS.keys() - erring(tmp_path / "repository") == loaded
    assert 8 <= len(loaded) < len(MODELS)
    write(tmp_path / "repository", "too_large", TOO_LARGE)
    assert "too_large" in erring(tmp_path / "repository")
    with suppress(OSError, HTTPException):
        server.load("too_large")
    wait_until(lambda: has_ended(server))
