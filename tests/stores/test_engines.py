"""What holds for the readers of both engines, on every cloud."""

import subprocess
import sys
from collections.abc import Mapping
from typing import NamedTuple

import fsspec.config
import pytest
from faultserver import FaultServer
from stores.azurite import KEY
from stores.canned import Canned, canned
from stores.gcs_venues import open_gcs
from stores.venues import ENVIRONMENT, open_url

from modelfs.blocks import ObjectInfo
from modelfs.engines import Engine, open_store
from modelfs.errors import ModelfsError
from modelfs.location import parse
from modelfs.store import Store, Telling

INFO = ObjectInfo("m/x", 10, '"1"', 0)
GCS_INFO = ObjectInfo("m/x", 10, "1", 0)


class Cloud(NamedTuple):
    """How the store of a cloud is opened at any address."""

    scheme: str
    environment: Mapping[str, str]
    info: ObjectInfo
    drivers: tuple[str, str]

    def open(self, url: str) -> Store:
        """Open the store at ``url``."""
        if self.scheme == "gs":
            return open_gcs("gs://bkt", environment=self.environment, endpoint_url=url)
        path = f"s3://{url}/bkt" if self.scheme == "s3" else f"as://{url}/account/bkt"
        return open_url(path, environment=self.environment)


CLOUDS = [
    Cloud("s3", ENVIRONMENT, INFO, ("obstore", "s3fs")),
    Cloud("gs", {"HOME": "/nonexistent", "NO_GCE_CHECK": "true"}, GCS_INFO, ("obstore", "gcsfs")),
    Cloud("as", {"AZURE_STORAGE_KEY": KEY}, INFO, ("obstore", "adlfs")),
]


@pytest.fixture(params=CLOUDS, ids=lambda cloud: cloud.scheme)
def cloud(request: pytest.FixtureRequest) -> Cloud:
    found: Cloud = request.param
    return found


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirect_is_an_error_and_takes_no_signature_along(each_engine: Engine, cloud: Cloud, status: int) -> None:
    with FaultServer() as elsewhere, canned(Canned(status, "", {"Location": f"{elsewhere.url}/bkt/m/x"})) as url:
        with pytest.raises(ModelfsError, match="m/x"):
            cloud.open(url).read(cloud.info, 0, 10)
        followed = elsewhere.requests()
        # obstore (0.12) follows, and cannot be told not to
        assert len(followed) == (each_engine == "obstore")
        assert not [request for request in followed if "authorization" in request.headers]


def test_store_tells_who_fetches_its_bytes(each_engine: Engine, cloud: Cloud) -> None:
    store = cloud.open("http://127.0.0.1:9")
    assert isinstance(store, Telling)
    assert store.facts().engine == cloud.drivers[each_engine == "fsspec"]


def test_folder_is_read_by_the_same_code_with_each_engine() -> None:
    opened = {type(_open("/srv", engine)) for engine in ("auto", "obstore", "fsspec")}
    assert len(opened) == 1


def test_auto_is_obstore(cloud: Cloud) -> None:
    url = {"s3": "s3://b", "gs": "gs://b", "as": "as://a/c"}[cloud.scheme]
    store = _open(url, "auto", cloud.environment)
    assert isinstance(store, Telling)
    assert store.facts().engine == "obstore"


def _open(url: str, engine: Engine, environment: Mapping[str, str] = {}) -> Store:
    return open_store(
        parse(url),
        engine=engine,
        region="eu-west-3",
        connect_timeout_s=1,
        stall_timeout_s=5,
        max_connections=2,
        environment=environment,
    )


@pytest.mark.usefixtures("each_engine")
def test_configuration_of_the_libraries_is_not_used(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = "http://127.0.0.1:1"
    for protocol in ("s3", "gs", "gcs", "abfs", "az"):
        told = {"endpoint_url": nowhere, "requester_pays": True, "version_aware": True, "account_host": "127.0.0.1:1"}
        monkeypatch.setitem(fsspec.config.conf, protocol, told)
    for name, value in {
        "AWS_PROFILE": "no-such-profile",
        "AWS_ENDPOINT_URL_S3": nowhere,
        "AWS_CA_BUNDLE": "/nonexistent",
        "AWS_DATA_PATH": "/nonexistent",
        "AWS_MAX_ATTEMPTS": "9",
        "AWS_RETRY_MODE": "nonsense",
        "AWS_USE_FIPS_ENDPOINT": "true",
        "AWS_USE_DUALSTACK_ENDPOINT": "true",
        "AWS_DEFAULTS_MODE": "nonsense",
        "GCSFS_DEFAULT_PROJECT": "nonsense",
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "true",
        "STORAGE_EMULATOR_HOST": nowhere,
        "AZURE_STORAGE_ACCOUNT_NAME": "nonsense",
        "AZURE_STORAGE_CONNECTION_STRING": "nonsense",
        "AZURE_STORAGE_CLIENT_ID": "nonsense",
        "AZURE_HTTP_LOGGING": "true",
        "HTTP_PROXY": nowhere,
        "HTTPS_PROXY": nowhere,
        "ALL_PROXY": nowhere,
    }.items():
        monkeypatch.setenv(name, value)
    part = {
        "ETag": '"1"',
        "x-goog-generation": "1",
        "Content-Range": "bytes 2-4/10",
        "Last-Modified": "Wed, 01 May 2024 10:11:12 GMT",
    }
    with canned(Canned(206, "abc", part)) as url:
        assert bytes(cloud.open(url).read(cloud.info, 2, 3)) == b"abc"


LIBRARIES = {"obstore", "fsspec", "aiohttp", "s3fs", "gcsfs", "adlfs"}


@pytest.mark.parametrize(
    ("engine", "imported"),
    [
        ("obstore", {"s3": {"obstore"}, "gs": {"obstore"}, "as": {"obstore"}}),
        (
            "fsspec",
            {
                "s3": {"fsspec", "aiohttp", "s3fs"},
                "gs": {"fsspec", "aiohttp", "gcsfs"},
                "as": {"fsspec", "aiohttp", "adlfs"},
            },
        ),
    ],
)
def test_engine_imports_only_what_it_needs(cloud: Cloud, engine: Engine, imported: dict[str, set[str]]) -> None:
    url = {"s3": "s3://b", "gs": "gs://b", "as": "as://a/c"}[cloud.scheme]
    code = f"""
import sys
from modelfs.engines import open_store
from modelfs.location import parse
open_store(parse({url!r}), engine={engine!r}, region="eu-west-3", connect_timeout_s=1, stall_timeout_s=1,
    max_connections=2, environment={dict(cloud.environment)!r})
print(*sorted({LIBRARIES!r} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert set(done.stdout.split()) == imported[cloud.scheme]
    assert done.stderr == ""
