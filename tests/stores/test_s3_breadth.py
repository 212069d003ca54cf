"""S3 in all its places: another region, another server, behind a proxy, with a payer and an owner, without a name."""

import contextlib
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from faultserver import FaultServer
from forward_proxy import Proxy
from stores.venues import ENVIRONMENT, FaultVenue, engine_of_now
from tls_front import TlsFront

from modelfs.blocks import ObjectInfo
from modelfs.engines import open_store
from modelfs.errors import AccessRefusedError, ModelfsError, StoreUnavailableError
from modelfs.location import parse
from modelfs.s3_address import AddressingStyle
from modelfs.store import Store

NOWHERE = "http://127.0.0.1:1"


def open_with(
    url: str, *, environment: Mapping[str, str] = ENVIRONMENT, region: str | None = None, **more: Any
) -> Store:
    return open_store(
        parse(url),
        engine=engine_of_now.get(),
        region=region,
        connect_timeout_s=5,
        stall_timeout_s=10,
        max_connections=4,
        environment=environment,
        **more,
    )


def read_all(store: Store) -> bytes:
    (info,) = store.list_page(None).objects
    return bytes(store.read(info, 0, info.size))


# -- regions


@contextlib.contextmanager
def regional(server: FaultServer, region: str, *, status: int) -> Iterator[tuple[str, list[str]]]:
    """Stand before ``server`` as a bucket of ``region`` does, and yield the URL and the paths that were refused."""
    refused: list[str] = []

    class Front(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if f"/{region}/s3/" in self.headers["Authorization"]:
                body, answer = relay(server.port, f"GET {self.path} HTTP/1.1", self.headers.items())
                self.send_response(answer)
            else:
                refused.append(self.path)
                body = b"<Error><Code>PermanentRedirect</Code></Error>"
                self.send_response(status)
                self.send_header("x-amz-bucket-region", region)
            self.send_header("Content-Length", str(len(body)))
            for name, value in relayed_headers:
                self.send_header(name, value)
            relayed_headers.clear()
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is http.server's
            pass

    relayed_headers: list[tuple[str, str]] = []

    def relay(port: int, line: str, headers: object) -> tuple[bytes, int]:
        import http.client  # noqa: PLC0415  only here

        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.putrequest("GET", line.split()[1], skip_host=True, skip_accept_encoding=True)
        for name, value in headers:  # type: ignore[attr-defined]  # pairs
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read()
        kept = ("etag", "content-range", "last-modified")
        relayed_headers.extend((name, value) for name, value in answer.getheaders() if name.lower() in kept)
        connection.close()
        return body, answer.status

    with serving(Front) as url:
        yield url, refused


@contextlib.contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as front:
        front.daemon_threads = True
        thread = threading.Thread(target=front.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{front.server_port}"
        finally:
            front.shutdown()
            thread.join(10)


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("status", [301, 307, 400])
def test_region_that_nobody_gave_is_the_buckets_and_costs_one_request(fault_venue: FaultVenue, status: int) -> None:
    fault_venue.put("m/x", b"content")
    with regional(fault_venue.server, "eu-west-3", status=status) as (url, refused):
        store = open_with(f"s3://{url}/bkt/repo")
        for _ in range(3):
            assert read_all(store) == b"content"
        assert len(refused) == 1


def test_right_region_costs_no_request_more(fault_venue: FaultVenue) -> None:
    fault_venue.put("m/x", b"content")
    with regional(fault_venue.server, "us-east-1", status=301) as (url, refused):
        assert read_all(open_with(f"s3://{url}/bkt/repo")) == b"content"
        assert refused == []


def test_given_region_is_not_second_guessed(fault_venue: FaultVenue) -> None:
    with regional(fault_venue.server, "eu-west-3", status=301) as (url, _):
        store = open_with(f"s3://{url}/bkt/repo", region="eu-west-1")
        with pytest.raises(Exception, match="set AWS_REGION=eu-west-3"):
            store.list_page(None)


# -- endpoints


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_endpoint_of_the_environment_serves_a_plain_url(fault_venue: FaultVenue, variable: str) -> None:
    fault_venue.put("m/x", b"content")
    environment = {**ENVIRONMENT, variable: fault_venue.server.url}
    assert read_all(open_with("s3://bkt/repo", environment=environment)) == b"content"


def test_url_wins_over_the_option_and_that_over_the_environment(fault_venue: FaultVenue) -> None:
    fault_venue.put("m/x", b"content")
    here = fault_venue.server.url
    environment = {**ENVIRONMENT, "AWS_ENDPOINT_URL": NOWHERE}
    assert read_all(open_with("s3://bkt/repo", environment=environment, endpoint_url=here)) == b"content"
    assert read_all(open_with(f"s3://{here}/bkt/repo", environment=environment, endpoint_url=NOWHERE)) == b"content"


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize(
    ("style", "address"),
    [
        ("virtual", "http://bkt-1.s3.eu-west-3.amazonaws.com/"),
        ("path", "http://s3.eu-west-3.amazonaws.com/bkt-1/"),
        ("auto", "http://s3.eu-west-3.amazonaws.com/bkt-1/"),
    ],
)
def test_listings_and_reads_name_the_bucket_in_the_same_place(
    fault_venue: FaultVenue, style: AddressingStyle, address: str
) -> None:
    with Proxy(fault_venue.server.port) as proxy:  # which leads every host to the fault server
        environment = {**ENVIRONMENT, "HTTP_PROXY": proxy.url}
        endpoint = "http://s3.eu-west-3.amazonaws.com"
        store = open_with(
            "s3://bkt-1/repo",
            environment=environment,
            endpoint_url=endpoint,
            region="eu-west-3",
            addressing_style=style,
        )
        for call in (lambda: store.list_page(None), lambda: store.read(ObjectInfo("m/x", 10, '"1"', 0), 0, 10)):
            with pytest.raises(ModelfsError):  # there is no such bucket here, nor is one sought in a host's name
                call()
        listing, read = (asked.split()[1] for asked in proxy.asked)
        assert listing.startswith(f"{address}?")
        assert read == f"{address}repo/m/x"


# -- payer and owner


@pytest.mark.usefixtures("each_engine")
def test_payer_and_owner_go_with_every_request_signed(fault_venue: FaultVenue) -> None:
    fault_venue.put("m/x", b"content")
    url = f"s3://{fault_venue.server.url}/bkt/repo"
    store = open_with(url, request_payer=True, expected_bucket_owner="123456789012")
    assert read_all(store) == b"content"
    requests = fault_venue.server.requests()
    assert len(requests) == 2
    for request in requests:
        assert request.headers["x-amz-request-payer"] == "requester"
        assert request.headers["x-amz-expected-bucket-owner"] == "123456789012"
        signed = request.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
        assert {"x-amz-request-payer", "x-amz-expected-bucket-owner"} <= set(signed)


def test_neither_is_sent_unasked(fault_venue: FaultVenue) -> None:
    fault_venue.put("m/x", b"content")
    read_all(fault_venue.store)
    for request in fault_venue.server.requests():
        assert not {"x-amz-request-payer", "x-amz-expected-bucket-owner"} & set(request.headers)


@pytest.mark.usefixtures("each_engine")
def test_unsigned_requests_ignore_all_keys() -> None:
    with FaultServer() as server:
        server.put("bkt", "m/x", b"content")
        store = open_with(f"s3://{server.url}/bkt", sign_requests=False)
        assert read_all(store) == b"content"
        assert not [request for request in server.requests() if "authorization" in request.headers]


def test_unsigned_requests_are_refused_where_keys_are_asked_for(fault_venue: FaultVenue) -> None:
    url = f"s3://{fault_venue.server.url}/bkt/repo"
    with pytest.raises(AccessRefusedError):
        open_with(url, sign_requests=False).list_page(None)


# -- proxies


@pytest.mark.usefixtures("each_engine")
def test_listings_and_reads_go_through_the_proxy(fault_venue: FaultVenue) -> None:
    fault_venue.put("m/x", b"content")
    with Proxy(fault_venue.server.port) as proxy:
        environment = {**ENVIRONMENT, "HTTP_PROXY": proxy.url}
        store = open_with("s3://http://store.test:80/bkt/repo", environment=environment)
        assert read_all(store) == b"content"
        assert len(proxy.asked) == 2
        for asked in proxy.asked:
            assert asked.startswith("GET http://store.test/bkt/")
            assert "proxy-authorization: basic dXNlcjpwYXNzQHdvcmQ=" in asked.replace("Proxy-A", "proxy-a").replace(
                "Basic", "basic"
            )


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a self-signed certificate for store.test, with its key beside it."""
    path = tmp_path_factory.mktemp("tls") / "cert.pem"
    named = ["-subj", "/CN=x", "-addext", "subjectAltName=DNS:store.test", "-addext", "basicConstraints=CA:FALSE"]
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(path) + ".key"]
    command = ["openssl", "req", "-x509", "-days", "2", *named, *new_key, "-out", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return path


@pytest.mark.usefixtures("each_engine")
def test_https_store_is_reached_through_a_tunnel_of_the_proxy(fault_venue: FaultVenue, certificate: Path) -> None:
    fault_venue.put("m/x", b"content")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, f"{certificate}.key")
    with TlsFront(fault_venue.server.port, context) as port, Proxy(port) as proxy:
        environment = {**ENVIRONMENT, "HTTPS_PROXY": proxy.url, "NO_PROXY": "other.test"}
        store = open_with("s3://https://store.test:8443/bkt/repo", environment=environment, ca_bundle=str(certificate))
        assert read_all(store) == b"content"
        assert {asked.split()[1] for asked in proxy.asked} == {"store.test:8443"}
        assert {asked.split()[0] for asked in proxy.asked} == {"CONNECT"}


@pytest.mark.usefixtures("each_engine")
def test_exempt_store_is_spoken_to_directly(fault_venue: FaultVenue) -> None:
    fault_venue.put("m/x", b"content")
    port = fault_venue.server.port
    with Proxy(port) as proxy:
        environment = {**ENVIRONMENT, "HTTP_PROXY": proxy.url}
        assert read_all(open_with(f"s3://localhost:{port}/bkt/repo", environment=environment)) == b"content"
        assert proxy.asked == []


@pytest.mark.usefixtures("each_engine")
def test_proxy_that_is_away_is_an_outage_and_does_not_show_its_password(fault_venue: FaultVenue) -> None:
    fault_venue.put("m/x", b"content")
    (info,) = fault_venue.store.list_page(None).objects
    environment = {**ENVIRONMENT, "HTTP_PROXY": "http://user:hunter2@127.0.0.1:1"}
    store = open_with("s3://store.test:80/bkt/repo", environment=environment)
    for call in (lambda: store.list_page(None), lambda: store.read(info, 0, 7)):
        with pytest.raises(StoreUnavailableError) as caught:
            call()
        assert "hunter2" not in str(caught.value)


# -- authorities


@pytest.mark.usefixtures("each_engine")
def test_bundle_of_the_option_wins_over_the_variable(tmp_path: Path) -> None:
    environment = {**ENVIRONMENT, "AWS_CA_BUNDLE": "/absent-variable.pem"}
    with pytest.raises(Exception, match="absent-option"):
        open_with("s3://https://127.0.0.1:9/bkt", environment=environment, ca_bundle=str(tmp_path / "absent-option"))
