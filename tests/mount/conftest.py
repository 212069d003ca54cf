"""Fixtures for tests on real mounts, which run wherever the machine can mount."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from faultserver import FaultServer, Keys
from mount.mounting_for_tests import ACCESS_KEY, SECRET_KEY


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what stands in this folder, and skip it where nothing can be mounted."""
    here = Path(__file__).parent
    able = os.geteuid() == 0 and Path("/dev/fuse").exists()
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.fuse)
            if not able:
                item.add_marker(pytest.mark.skip(reason="mounting needs root and /dev/fuse"))


@pytest.fixture
def store() -> Iterator[FaultServer]:
    """Run an S3 store on loopback, with the bucket "models", that asks for keys."""
    with FaultServer(keys=Keys(ACCESS_KEY, SECRET_KEY)) as server:
        server.create_bucket("models")
        yield server


@pytest.fixture
def url(store: FaultServer) -> str:
    """Return the URL of the repository in that store."""
    return f"s3://127.0.0.1:{store.port}/models/repository"
