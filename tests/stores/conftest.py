"""The venues of the contract suite."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from faultserver import FaultServer
from stores.venues import KEYS, FaultVenue, LocalVenue, MemoryVenue, MotoVenue, Place, Venue, moto_server

_bucket_numbers = itertools.count()


@pytest.fixture(autouse=True)
def _no_cloud(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep botocore, which reads the process's environment, from a person's own credentials and from any cloud."""
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    absent = tmp_path_factory.getbasetemp() / "absent"
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(absent))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(absent))


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    with moto_server() as url:
        yield url


@pytest.fixture
def fault_venue() -> Iterator[FaultVenue]:
    with FaultServer(keys=KEYS) as server:
        yield FaultVenue(server)


@pytest.fixture(params=["local", "fault server", "moto"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "local":
        return LocalVenue(tmp_path)
    if request.param == "moto":
        return MotoVenue(request.getfixturevalue("moto"), f"bkt{next(_bucket_numbers)}")
    venue: FaultVenue = request.getfixturevalue("fault_venue")
    return venue


@pytest.fixture(params=["memory", "local", "fault server", "moto"])
def venue(request: pytest.FixtureRequest, tmp_path: Path) -> Venue:
    if request.param == "memory":
        return MemoryVenue()
    if request.param == "local":
        return LocalVenue(tmp_path)
    if request.param == "moto":
        return MotoVenue(request.getfixturevalue("moto"), f"bkt{next(_bucket_numbers)}")
    faulty: FaultVenue = request.getfixturevalue("fault_venue")
    return faulty
