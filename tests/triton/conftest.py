"""Fixtures for tests with the real tritonserver: it and the example models are had once for all tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import models
import pytest
import tritonserver
from embedded_s3 import EmbeddedS3
from stores.azurite import Azurite, azurite
from stores.fake_gcs import FakeGcsBucket, fake_gcs_program, fake_gcs_server

CACHE = Path(__file__).resolve().parents[2] / ".cache"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what stands in this folder, and skip it where nothing can be mounted."""
    here = Path(__file__).parent
    able = os.geteuid() == 0 and Path("/dev/fuse").exists()
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.triton)
            if not able:
                item.add_marker(pytest.mark.skip(reason="mounting needs root and /dev/fuse"))


@pytest.fixture(scope="session")
def triton() -> Path:
    """Return the folder that holds tritonserver."""
    return tritonserver.install(CACHE)


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with Triton's eight example models."""
    folder = tmp_path_factory.mktemp("examples")
    models.make(folder)
    return folder


@pytest.fixture(scope="session")
def gcs_emulator(examples: Path) -> Iterator[str]:
    """Run fake-gcs-server with the example models at gs://models/triton/examples, and return its address."""
    program = fake_gcs_program()
    if program is None:
        pytest.skip("there is no fake-gcs-server for this machine")
    with fake_gcs_server(program) as url:
        bucket = FakeGcsBucket(url, "models")
        for path in sorted(path for path in examples.rglob("*") if path.is_file()):
            bucket.upload(f"triton/examples/{path.relative_to(examples).as_posix()}", path.read_bytes())
        for folder in sorted(path for path in examples.rglob("*") if path.is_dir() and not any(path.iterdir())):
            bucket.upload(f"triton/examples/{folder.relative_to(examples).as_posix()}/", b"")
        yield url


@pytest.fixture(scope="session")
def azure_emulator(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """Run Azurite with the example models in models/triton/examples. Empty folders are as Hadoop leaves them."""
    with azurite(tmp_path_factory.mktemp("azurite")) as server:
        server.create_container("models")
        for path in sorted(examples.rglob("*")):
            name = f"triton/examples/{path.relative_to(examples).as_posix()}"
            if path.is_file():
                server.put("models", name, path.read_bytes())
            elif not any(path.iterdir()):
                server.put("models", name, b"", {"hdi_isfolder": "true"})
        yield server


@pytest.fixture(scope="session")
def s3_url(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run moto's S3 over HTTP with the example models, and return their URL."""
    with EmbeddedS3(tmp_path_factory.mktemp("moto")) as store:
        store.upload(examples, "models", "triton/examples")
        yield f"s3://127.0.0.1:{store.port}/models/triton/examples"
