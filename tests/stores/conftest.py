"""The venues of the contract suite."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from faultserver import Bearer, FaultServer
from google_stub import GoogleStub
from stores.azure_venues import KINDS, AzureFaultVenue, AzuriteVenue, Kind
from stores.azurite import Azurite, azurite
from stores.fake_gcs import fake_gcs_program, fake_gcs_server
from stores.gcs_venues import FakeGcsVenue, GcsFaultVenue
from stores.unpinned_venues import FsspecMemoryVenue, WebVenue
from stores.venues import KEYS, FaultVenue, LocalVenue, MemoryVenue, MotoVenue, Place, Venue, engine_of_now, moto_server
from web_server import WebServer

from modelfs.engines import Engine

STALL_S = 1.0
PATIENT_S = 10.0

_bucket_numbers = itertools.count()


@pytest.fixture(autouse=True)
def _engine() -> Iterator[None]:
    """Have each test begin with the same engine."""
    token = engine_of_now.set("obstore")
    yield
    engine_of_now.reset(token)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give ``each_engine`` its engines: "auto" is one of its own, the direct one, on S3 without TLS alone."""
    if "each_engine" in metafunc.fixturenames:
        own = ["auto"] if "s3" in metafunc.module.__name__ else []
        metafunc.parametrize("each_engine", [*own, "obstore", "fsspec"], indirect=True)


@pytest.fixture
def each_engine(request: pytest.FixtureRequest) -> Engine:
    """Run the test once with each engine. Ask for it before a venue."""
    engine: Engine = request.param
    engine_of_now.set(engine)
    return engine


@pytest.fixture
def stall_timeout_s(request: pytest.FixtureRequest) -> float:
    """Return STALL_S where a stall is what the test is about, and else more than a busy machine takes for an answer."""
    about = ("stall", "slow", "late", "drips")
    return STALL_S if any(word in request.node.name.lower() for word in about) else PATIENT_S


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


@pytest.fixture(scope="session")
def fake_gcs() -> Iterator[str]:
    program = fake_gcs_program()
    if program is None:
        pytest.skip("there is no fake-gcs-server for this machine")
    with fake_gcs_server(program) as url:
        yield url


@pytest.fixture(scope="session")
def azurite_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    with azurite(tmp_path_factory.mktemp("azurite")) as server:
        yield server


_AZURITE: dict[str, Kind] = {f"Azurite, {kind}": kind for kind in KINDS}


@pytest.fixture
def gcs_venue() -> Iterator[GcsFaultVenue]:
    with GoogleStub() as stub, FaultServer("gcs", keys=Bearer("token-1", "token-2", "token-3")) as server:
        yield GcsFaultVenue(server, stub)


@pytest.fixture
def azure_venue() -> Iterator[AzureFaultVenue]:
    with FaultServer("azure, hierarchical", unsorted=True) as server:
        yield AzureFaultVenue(server)


@pytest.fixture
def web_venue() -> Iterator[WebVenue]:
    with WebServer() as server:
        yield WebVenue(server)


_FAULTY = {
    "fault server": "fault_venue",
    "gcs fault server": "gcs_venue",
    "azure fault server": "azure_venue",
    "web server": "web_venue",
}
_BY_FSSPEC = " by fsspec"
_BY_US = " by our own connections"
_CLOUDS = ("moto", "fake-gcs-server", "fault server", "gcs fault server", "azure fault server", *_AZURITE)
_ONCE = ("local", "fsspec's memory", "web server", *_CLOUDS)
_PLACES = (
    *_ONCE,
    *(f"{cloud}{_BY_FSSPEC}" for cloud in _CLOUDS),
    *(f"{cloud}{_BY_US}" for cloud in ("moto", "fault server")),
)


def _place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    name: str = request.param
    engine_of_now.set("fsspec" if name.endswith(_BY_FSSPEC) else "auto" if name.endswith(_BY_US) else "obstore")
    return _venue(name.removesuffix(_BY_FSSPEC).removesuffix(_BY_US), request, tmp_path)


def _venue(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if kind := _AZURITE.get(name):
        return AzuriteVenue(request.getfixturevalue("azurite_server"), kind)
    if fixture := _FAULTY.get(name):
        faulty: Place = request.getfixturevalue(fixture)
        return faulty
    if name == "fake-gcs-server":
        return FakeGcsVenue(request.getfixturevalue("fake_gcs"), f"bkt{next(_bucket_numbers)}")
    if name == "fsspec's memory":
        return FsspecMemoryVenue(f"folder{next(_bucket_numbers)}")
    if name == "local":
        return LocalVenue(tmp_path)
    return MotoVenue(request.getfixturevalue("moto"), f"bkt{next(_bucket_numbers)}")


@pytest.fixture(params=_PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return _place(request, tmp_path)


@pytest.fixture(params=["memory", *(name for name in _ONCE if name not in list(_AZURITE)[1:])])
def listed_venue(request: pytest.FixtureRequest, tmp_path: Path) -> Venue:
    """Return each venue once: for long listings, which are the same code with both engines and all credentials."""
    return MemoryVenue() if request.param == "memory" else _place(request, tmp_path)


@pytest.fixture(params=["memory", *_PLACES])
def venue(request: pytest.FixtureRequest, tmp_path: Path) -> Venue:
    return MemoryVenue() if request.param == "memory" else _place(request, tmp_path)
