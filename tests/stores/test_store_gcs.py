"""Google Cloud Storage where it is unlike other stores: generations, tokens, the process's environment, payers."""

import gzip
import logging
import time
from pathlib import Path

import pytest
from faultserver import Bearer, FaultServer
from google_stub import GoogleStub
from stores.canned import Canned, canned
from stores.gcs_venues import NOBODY, GcsFaultVenue, open_gcs

from modelfs import gcs_tokens
from modelfs.blocks import ObjectInfo
from modelfs.engines import Engine
from modelfs.errors import AccessRefusedError, ModelfsError, UsageError
from modelfs.store import Store, Telling

NOWHERE = "http://127.0.0.1:1"
SEGMENTS = ["a//b", "/lead", "./x", "a/./b", "a/../b", "..", "a//"]


def only(store: Store) -> ObjectInfo:
    (info,) = store.list_page(None).objects
    return info


@pytest.mark.usefixtures("each_engine")
def test_read_names_the_generation_and_the_range(gcs_venue: GcsFaultVenue) -> None:
    gcs_venue.put("m/x", b"content")
    info = only(gcs_venue.store)
    gcs_venue.store.read(info, 2, 3)
    (read,) = gcs_venue.server.requests(kind="get")
    assert (read.query["generation"], read.range) == (info.version, "bytes=2-4")


@pytest.mark.usefixtures("each_engine")
def test_object_that_is_stored_compressed_is_asked_for_as_it_is_stored(gcs_venue: GcsFaultVenue) -> None:
    stored = gzip.compress(b"content" * 100)
    gcs_venue.put("m/x", stored)
    info = only(gcs_venue.store)
    assert bytes(gcs_venue.store.read(info, 0, info.size)) == stored
    (read,) = gcs_venue.server.requests(kind="get")
    assert read.headers["accept-encoding"] == "gzip"


@pytest.mark.usefixtures("each_engine")
def test_packed_answer_is_not_unpacked() -> None:
    part = {
        "ETag": '"e"',
        "x-goog-generation": "1",
        "Content-Encoding": "gzip",
        "Content-Range": "bytes 0-13/14",
        "Last-Modified": "Wed, 01 May 2024 10:11:12 GMT",
    }
    with canned(Canned(206, "fourteen bytes", part)) as url:
        store = open_gcs("gs://bkt", environment={**NOBODY, "STORAGE_EMULATOR_HOST": url})
        assert bytes(store.read(ObjectInfo("m/x", 14, "1", 0), 0, 14)) == b"fourteen bytes"


def test_generation_differs_where_two_uploads_have_the_same_content(gcs_venue: GcsFaultVenue) -> None:
    gcs_venue.server.put("bkt", "repo/m/x", b"same", etag='"same"')
    old = only(gcs_venue.store)
    gcs_venue.server.put("bkt", "repo/m/x", b"same", etag='"same"')
    assert only(gcs_venue.store).version != old.version


def test_change_of_metadata_moves_neither_version_nor_time(gcs_venue: GcsFaultVenue) -> None:
    gcs_venue.put("m/x", b"content")
    before = only(gcs_venue.store)
    gcs_venue.server.touch("bkt", "repo/m/x", mtime_ns=before.mtime_ns + 10**12)
    assert only(gcs_venue.store) == before


@pytest.mark.parametrize("key", SEGMENTS)
def test_key_that_is_no_path_is_listed_as_it_is_and_never_read_as_another(
    each_engine: Engine, gcs_venue: GcsFaultVenue, key: str
) -> None:
    for neighbour in ("a/b", "lead", "x", "b", "a"):
        gcs_venue.put(neighbour, b"0123456789")
    gcs_venue.put(key, b"the key's ")
    found = {info.key: info for info in gcs_venue.store.list_page(None).objects}
    assert key in found
    if each_engine == "fsspec":
        assert bytes(gcs_venue.store.read(found[key], 0, 10)) == b"the key's "
    else:
        with pytest.raises(ModelfsError):
            gcs_venue.store.read(found[key], 0, 10)


def test_keys_with_control_characters_are_left_out_and_told_once(
    gcs_venue: GcsFaultVenue, caplog: pytest.LogCaptureFixture
) -> None:
    gcs_venue.put("m/\n", b"x")
    gcs_venue.put("m/sound", b"x")
    with caplog.at_level(logging.WARNING, logger="modelfs"):
        for _ in range(2):
            assert only(gcs_venue.store).key == "m/sound"
    assert len(caplog.records) == 1


# -- tokens


def test_end_of_a_token_is_told_and_that_it_is_renewed(gcs_venue: GcsFaultVenue) -> None:
    assert isinstance(gcs_venue.store, Telling)
    facts = gcs_venue.store.facts()
    assert facts.renews
    assert facts.expires_at_s is not None
    assert facts.expires_at_s > time.time()


@pytest.mark.usefixtures("each_engine")
def test_token_goes_with_listings_and_reads_and_is_asked_for_once(gcs_venue: GcsFaultVenue) -> None:
    gcs_venue.put("m/x", b"content")
    info = only(gcs_venue.store)
    for _ in range(5):
        gcs_venue.store.read(info, 0, 7)
    assert {request.headers["authorization"] for request in gcs_venue.server.requests()} == {"Bearer token-1"}


@pytest.mark.usefixtures("each_engine")
def test_token_that_the_store_refuses_in_mid_read_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gcs_tokens, "_PAUSE_S", 0.0)
    keys = Bearer("token-1")
    with GoogleStub() as stub, FaultServer("gcs", keys=keys) as server:
        server.put("bkt", "m/x", b"content")
        environment = {"HOME": "/nonexistent", "GCE_METADATA_HOST": stub.host}
        store = open_gcs("gs://bkt", environment=environment, endpoint_url=server.url)
        info = only(store)
        assert bytes(store.read(info, 0, 7)) == b"content"
        for number, call in ((2, lambda: store.read(info, 0, 7)), (3, lambda: store.list_page(None))):
            keys.tokens = {f"token-{number}"}
            with pytest.raises(AccessRefusedError, match="401"):
                call()
            call()


@pytest.mark.usefixtures("each_engine")
def test_anonymous_requests_carry_no_token(gcs_venue: GcsFaultVenue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nonexistent/key.json")
    with FaultServer("gcs") as server:
        server.put("bkt", "m/x", b"content")
        environment = {**gcs_venue.environment, "STORAGE_EMULATOR_HOST": server.url}
        store = open_gcs("gs://bkt", environment=environment)
        assert bytes(store.read(only(store), 0, 7)) == b"content"
        assert all("authorization" not in request.headers for request in server.requests())


@pytest.mark.usefixtures("each_engine")
def test_token_does_not_travel_without_encryption_but_on_loopback(gcs_venue: GcsFaultVenue) -> None:
    with pytest.raises(UsageError, match="without encryption"):
        open_gcs("gs://bkt", environment=gcs_venue.environment, endpoint_url="http://store.example.org")
    for endpoint in ("https://store.example.org", "http://localhost:9", "http://[::1]:9"):
        open_gcs("gs://bkt", environment=gcs_venue.environment, endpoint_url=endpoint)
    open_gcs("gs://bkt", environment={**NOBODY, "STORAGE_EMULATOR_HOST": "store.example.org:4443"})


@pytest.mark.usefixtures("each_engine")
def test_project_that_pays_is_named_with_listings_and_reads(gcs_venue: GcsFaultVenue) -> None:
    gcs_venue.put("m/x", b"content")
    environment = {**gcs_venue.environment, "GOOGLE_CLOUD_QUOTA_PROJECT": "payer-1"}
    store = open_gcs("gs://bkt/repo", environment=environment, endpoint_url=gcs_venue.server.url)
    store.read(only(store), 0, 7)
    assert [each.headers.get("x-goog-user-project") for each in gcs_venue.server.requests()] == ["payer-1", "payer-1"]


# -- the process's environment


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("anonymous", [False, True])
def test_process_environment_does_not_disturb_a_loopback_store(
    gcs_venue: GcsFaultVenue, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, anonymous: bool
) -> None:
    gcs_venue.put("m/x", b"content")
    for name, value in {
        "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "absent.json"),
        "GOOGLE_SERVICE_ACCOUNT": str(tmp_path / "absent.json"),
        "GOOGLE_SERVICE_ACCOUNT_PATH": str(tmp_path / "absent.json"),
        "GOOGLE_SERVICE_ACCOUNT_KEY": "no JSON",
        "SERVICE_ACCOUNT": "my-account",
        "GOOGLE_BASE_URL": NOWHERE,
        "GOOGLE_BEARER_TOKEN": "wrong",
        "GOOGLE_SKIP_SIGNATURE": "false" if anonymous else "true",
        "GOOGLE_BUCKET": "wrong",
        "GOOGLE_BUCKET_NAME": "wrong",
        "GOOGLE_TIMEOUT": "1ms",
        "GOOGLE_ALLOW_HTTP": "false",
        "GOOGLE_PROXY_URL": NOWHERE,
        "STORAGE_EMULATOR_HOST": NOWHERE,
        "HTTP_PROXY": NOWHERE,
        "http_proxy": NOWHERE,
        "ALL_PROXY": NOWHERE,
        "SSL_CERT_FILE": str(tmp_path / "absent.pem"),
        "SSL_CERT_DIR": str(tmp_path / "absent"),
    }.items():
        monkeypatch.setenv(name, value)
    environment = gcs_venue.environment
    if anonymous:
        gcs_venue.server._site.keys = None
        environment = {**NOBODY, "STORAGE_EMULATOR_HOST": gcs_venue.server.url}
    store = open_gcs("gs://bkt/repo", environment=environment, endpoint_url=None if anonymous else gcs_venue.server.url)
    assert bytes(store.read(only(store), 0, 7)) == b"content"
