"""Google Cloud Storage and Azure as private networks have them: behind a proxy, with an authority of one's own.

``test_s3_breadth`` and ``test_store_s3`` have the same for S3.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from faultserver import DialectName, FaultServer
from forward_proxy import Proxy
from tls_front import TlsFront, make_authority, server_context

from modelfs.engines import Engine, open_store
from modelfs.errors import StoreRefusedError
from modelfs.location import parse
from modelfs.store import Store


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    make_authority(folder)
    return folder


@pytest.fixture(params=["gcs", "azure"])
def server(request: pytest.FixtureRequest) -> Iterator[tuple[DialectName, FaultServer]]:
    with FaultServer(request.param) as running:
        running.put("bkt", "repo/m/x", b"content")
        yield request.param, running


@pytest.fixture(params=["obstore", "fsspec"])
def engine(request: pytest.FixtureRequest) -> Engine:
    found: Engine = request.param
    return found


def open_at(
    dialect: DialectName,
    address: str,
    engine: Engine,
    *,
    environment: Mapping[str, str] | None = None,
    ca_bundle: Path | None = None,
) -> Store:
    """Open the repository of the server at ``address``, without credentials."""
    url = "gs://bkt/repo" if dialect == "gcs" else f"as://{address}/account/bkt/repo"
    return open_store(
        parse(url),
        region=None,
        connect_timeout_s=5,
        stall_timeout_s=10,
        max_connections=4,
        environment=environment or {},
        endpoint_url=address if dialect == "gcs" else None,
        sign_requests=False,
        ca_bundle=str(ca_bundle) if ca_bundle else None,
        engine=engine,
    )


def content_of(store: Store) -> bytes:
    (info,) = store.list_page(None).objects
    return bytes(store.read(info, 0, info.size))


def test_private_authority_is_trusted_by_listings_and_reads_alike(
    server: tuple[DialectName, FaultServer], engine: Engine, authority: Path
) -> None:
    dialect, store = server
    with TlsFront(store.port, server_context(authority)) as port:
        address = f"https://127.0.0.1:{port}"
        assert content_of(open_at(dialect, address, engine, ca_bundle=authority / "ca.pem")) == b"content"
        stranger = open_at(dialect, address, engine)
        with pytest.raises(StoreRefusedError, match="--ca-bundle"):
            stranger.list_page(None)
        with pytest.raises(StoreRefusedError, match="--ca-bundle"):
            stranger.read(open_at(dialect, store.url, engine).list_page(None).objects[0], 0, 1)


def test_listings_and_reads_go_through_the_proxys_tunnel(
    server: tuple[DialectName, FaultServer], engine: Engine, authority: Path
) -> None:
    dialect, store = server
    with TlsFront(store.port, server_context(authority)) as port, Proxy(port) as proxy:
        environment = {"HTTPS_PROXY": proxy.url, "NO_PROXY": "other.test"}
        opened = open_at(
            dialect, "https://store.test:8443", engine, environment=environment, ca_bundle=authority / "ca.pem"
        )
        assert content_of(opened) == b"content"
        assert {tuple(asked.split()[:2]) for asked in proxy.asked} == {("CONNECT", "store.test:8443")}
        assert len(proxy.asked) >= 2


def test_store_on_loopback_is_never_reached_through_a_proxy(
    server: tuple[DialectName, FaultServer], engine: Engine
) -> None:
    dialect, store = server
    nowhere = {"HTTP_PROXY": "http://127.0.0.1:1", "HTTPS_PROXY": "http://127.0.0.1:1"}
    assert content_of(open_at(dialect, store.url, engine, environment=nowhere)) == b"content"
