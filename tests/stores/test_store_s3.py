"""S3 where it is unlike other stores: keys that no path can be, the process's environment, TLS."""

import logging
import ssl
import subprocess
from pathlib import Path

import pytest
from faultserver import FaultServer
from stores.canned import Canned, canned
from stores.venues import ENVIRONMENT, FaultVenue, engine_of_now, open_url

from modelfs.blocks import ObjectInfo
from modelfs.buffers import Buffers
from modelfs.credentials import S3Keys
from modelfs.engines import s3_reader
from modelfs.errors import ModelfsError, StoreRefusedError, UsageError, VersionGoneError
from modelfs.location import parse
from modelfs.s3_address import Where
from modelfs.store import Store
from modelfs.store_s3 import S3Store

CONTROL = [*map(chr, range(0x20)), "\x7f"]
SEGMENTS = ["a//b", "/lead", "./x", "a/./b", "a/../b", "..", "a//"]


def keys_of(store: Store) -> set[str]:
    return {info.key for info in store.list_page(None).objects}


@pytest.mark.usefixtures("each_engine")
def test_every_other_character_is_served(fault_venue: FaultVenue) -> None:
    keys = {f"m/<{chr(code)}>" for code in range(0x20, 0x180) if code != 0x7F}
    for key in keys:
        fault_venue.put(key, key.encode())
    found = {info.key: info for info in fault_venue.store.list_page(None).objects}
    assert found.keys() == keys
    read = {key: bytes(fault_venue.store.read(info, 0, info.size)).decode() for key, info in found.items()}
    assert {key for key in keys if read[key] != key} == set()


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize(("etag", "ours"), [("v", True), ('"v"', True), ('W/"v"', False), ("w", False), (None, False)])
def test_etag_of_an_answer_may_lack_its_quotes_but_not_differ(etag: str | None, *, ours: bool) -> None:
    headers = {"Content-Range": "bytes 0-9/10", **({} if etag is None else {"ETag": etag})}
    with canned(Canned(206, "0123456789", headers)) as url:
        store = open_url(f"s3://{url}/bkt")
        info = ObjectInfo("m/x", 10, '"v"', 0)
        if ours:
            assert bytes(store.read(info, 0, 10)) == b"0123456789"
        else:
            with pytest.raises(VersionGoneError):
                store.read(info, 0, 10)


@pytest.mark.usefixtures("each_engine")
def test_keys_with_control_characters_are_left_out_and_told_once(
    fault_venue: FaultVenue, caplog: pytest.LogCaptureFixture
) -> None:
    for char in CONTROL:
        fault_venue.put(f"m/<{char}>", b"x")
    fault_venue.put("m/sound", b"x")
    with caplog.at_level(logging.WARNING):
        assert keys_of(fault_venue.store) == {"m/sound"}
        assert keys_of(fault_venue.store) == {"m/sound"}
    assert len(caplog.records) == len(CONTROL)
    assert caplog.records[0].getMessage().startswith("not shown, its key has a control character")
    assert "\n" not in caplog.records[10].getMessage()


@pytest.mark.parametrize("key", SEGMENTS)
def test_key_that_is_no_path_is_listed_as_it_is(fault_venue: FaultVenue, key: str) -> None:
    fault_venue.put("m/sound", b"x")
    fault_venue.put(key, b"x")
    assert keys_of(fault_venue.store) == {"m/sound", key}


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("key", [*SEGMENTS, *(f"m/{char}" for char in CONTROL)])
def test_key_that_is_no_path_is_never_read_as_another(fault_venue: FaultVenue, key: str) -> None:
    for neighbour in ("a/b", "lead", "x", "b", "a", "m/", "m"):
        fault_venue.put(neighbour, b"0123456789")
    (info, *_) = fault_venue.store.list_page(None).objects
    with pytest.raises(ModelfsError):
        fault_venue.store.read(info._replace(key=key), 0, 10)


def test_folder_marker_and_file_of_one_name_are_two(fault_venue: FaultVenue) -> None:
    fault_venue.put("m", b"file")
    fault_venue.put("m/", b"")
    fault_venue.put("m/x", b"below")
    found = {info.key: info for info in fault_venue.store.list_page(None).objects}
    assert found.keys() == {"m", "m/", "m/x"}
    assert bytes(fault_venue.store.read(found["m"], 0, 4)) == b"file"


# -- the process's environment


@pytest.mark.usefixtures("each_engine")
def test_process_environment_does_not_disturb_a_loopback_store(
    fault_venue: FaultVenue, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fault_venue.put("m/x", b"content")
    nowhere = "http://127.0.0.1:1"
    for name, value in {
        "AWS_ACCESS_KEY_ID": "wrong",
        "AWS_SECRET_ACCESS_KEY": "wrong",
        "AWS_SESSION_TOKEN": "wrong",
        "AWS_ENDPOINT_URL": nowhere,
        "AWS_ENDPOINT_URL_S3": nowhere,
        "AWS_BUCKET": "wrong",
        "AWS_REGION": "wrong-1",
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true",
        "AWS_S3_EXPRESS": "true",
        "AWS_REQUEST_PAYER": "true",
        "AWS_TIMEOUT": "1ms",
        "AWS_ALLOW_HTTP": "false",
        "AWS_PROXY_URL": nowhere,
        "HTTP_PROXY": nowhere,
        "http_proxy": nowhere,
        "HTTPS_PROXY": nowhere,
        "ALL_PROXY": nowhere,
        "all_proxy": nowhere,
        "AWS_CA_BUNDLE": str(tmp_path / "absent.pem"),
        "SSL_CERT_FILE": str(tmp_path / "absent.pem"),
        "SSL_CERT_DIR": str(tmp_path / "absent"),
    }.items():
        monkeypatch.setenv(name, value)
    environment = {**ENVIRONMENT, "AWS_CA_BUNDLE": str(tmp_path / "absent.pem")}
    store = open_url(f"s3://{fault_venue.server.url}/bkt/repo", environment=environment)
    (info,) = store.list_page(None).objects
    assert bytes(store.read(info, 0, 7)) == b"content"


@pytest.mark.usefixtures("each_engine")
def test_anonymous_requests_are_not_signed() -> None:
    with FaultServer() as server:
        server.put("bkt", "m/x", b"content")
        store = open_url(f"s3://{server.url}/bkt", environment={})
        (info,) = store.list_page(None).objects
        assert bytes(store.read(info, 0, 7)) == b"content"
        for request in server.requests():
            assert "authorization" not in request.headers


@pytest.mark.usefixtures("each_engine")
def test_rotated_keys_are_used_by_the_next_request(fault_venue: FaultVenue) -> None:
    fault_venue.put("m/x", b"content")
    now = [S3Keys("AKIDEXAMPLE", "wrong", "token/+=")]
    store = S3Store(
        parse(f"s3://{fault_venue.server.url}/bkt/repo"),
        open_reader=s3_reader(engine_of_now.get(), Buffers()),
        where=Where(fault_venue.server.url),
        region="eu-west-3",
        keys=lambda: now[0],
        connect_timeout_s=1,
        stall_timeout_s=5,
        max_connections=2,
        ca_bundle=None,
    )
    (info,) = fault_venue.store.list_page(None).objects
    for call in (lambda: store.list_page(None), lambda: store.read(info, 0, 7)):
        now[0] = S3Keys("AKIDEXAMPLE", "wrong", "token/+=")
        with pytest.raises(ModelfsError, match="SignatureDoesNotMatch"):
            call()
        now[0] = S3Keys("AKIDEXAMPLE", ENVIRONMENT["AWS_SECRET_ACCESS_KEY"], "token/+=")
        call()


# -- TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a self-signed certificate for 127.0.0.1, with its key beside it.

    It says CA:FALSE, since rustls, unlike OpenSSL, takes no authority's certificate for a server's.
    """
    path = tmp_path_factory.mktemp("tls") / "cert.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    request = ["openssl", "req", "-x509", "-days", "2", *subject, "-addext", "basicConstraints=critical,CA:FALSE"]
    key = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-keyout",
        str(path.with_name("key.pem")),
    ]
    subprocess.run([*request, *key, "-out", str(path)], check=True, capture_output=True)
    return path


LISTING = (
    "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>m/x</Key><Size>14</Size><ETag>e</ETag>"
    "<LastModified>2024-05-01T10:11:12Z</LastModified></Contents></ListBucketResult>"
)


def https(authority: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, authority.with_name("key.pem"))
    return context


@pytest.mark.usefixtures("each_engine")
def test_private_authority_is_trusted_by_listings_and_reads_alike(authority: Path) -> None:
    environment = {**ENVIRONMENT, "AWS_CA_BUNDLE": str(authority)}
    with canned(Canned(200, LISTING), tls=https(authority)) as url:
        store = open_url(f"s3://{url}/bkt", environment=environment)
        (info,) = store.list_page(None).objects
        assert info.key == "m/x"
    part = {"ETag": '"e"', "Content-Range": "bytes 0-13/14", "Last-Modified": "Wed, 01 May 2024 10:11:12 GMT"}
    with canned(Canned(206, "fourteen bytes", part), tls=https(authority)) as url:
        store = open_url(f"s3://{url}/bkt", environment=environment)
        assert bytes(store.read(info, 0, 14)) == b"fourteen bytes"


@pytest.mark.usefixtures("each_engine")
def test_unknown_authority_is_refused_with_what_to_do(authority: Path) -> None:
    with canned(Canned(200, LISTING), tls=https(authority)) as url:
        store = open_url(f"s3://{url}/bkt")
        info = ObjectInfo("m/x", 10, '"e"', 0)
        for call in (lambda: store.list_page(None), lambda: store.read(info, 0, 10)):
            with pytest.raises(StoreRefusedError, match="--ca-bundle"):
                call()


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize(
    "text", [None, "", "no certificate", "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----"]
)
def test_unusable_bundle_is_a_usage_error(tmp_path: Path, text: str | None) -> None:
    bundle = tmp_path / "bundle.pem"
    if text is not None:
        bundle.write_text(text)
    with pytest.raises(UsageError, match=r"CA bundle .*bundle\.pem"):
        open_url("s3://https://127.0.0.1:9/bkt", environment={**ENVIRONMENT, "AWS_CA_BUNDLE": str(bundle)})
