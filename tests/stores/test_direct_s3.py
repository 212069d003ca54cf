"""The direct engine: when it is taken, and what it makes of the keys and answers of a hostile store."""

import traceback
from collections.abc import Mapping

import pytest
from faultserver import FaultServer
from raw_server import raw_server, saying, whole
from stores.venues import ENVIRONMENT, KEYS, engine_of_now, open_url

from modelfs.blocks import ObjectInfo
from modelfs.engines import Engine, open_store
from modelfs.errors import CorruptAnswerError, ModelfsError, StoreUnavailableError, VersionGoneError
from modelfs.location import parse
from modelfs.store import Store, Telling

INFO = ObjectInfo("m/x", 10, '"1"', 0)
PROXY = "http://127.0.0.1:1"


def opened(url: str, engine: Engine = "auto", environment: Mapping[str, str] = ENVIRONMENT) -> Store:
    return open_store(
        parse(url),
        engine=engine,
        region="eu-west-3",
        connect_timeout_s=1,
        stall_timeout_s=2,
        max_connections=2,
        environment=environment,
    )


@pytest.mark.parametrize(
    ("url", "environment", "engine"),
    [
        ("s3://http://store.test:80/b", {}, "direct"),
        ("s3://store.test:9000/b", {}, "direct"),
        ("s3://[::1]:9000/b", {}, "direct"),
        ("s3://store.test:9000/b", {"HTTP_PROXY": PROXY, "NO_PROXY": "store.test"}, "direct"),
        ("s3://store.test:9000/b", {"HTTP_PROXY": PROXY}, "obstore"),
        ("s3://https://store.test:9000/b", {}, "obstore"),
        ("s3://b", {}, "obstore"),
    ],
)
def test_auto_is_our_own_connections_over_plain_http_to_the_store_itself(
    url: str, environment: Mapping[str, str], engine: str
) -> None:
    store = opened(url, environment={**ENVIRONMENT, **environment})
    assert isinstance(store, Telling)
    assert store.facts().engine == engine
    chosen = opened(url, "obstore", {**ENVIRONMENT, **environment})
    assert isinstance(chosen, Telling)
    assert chosen.facts().engine == "obstore"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirect_is_an_error_and_is_not_followed(status: int) -> None:
    with FaultServer() as elsewhere:
        said = whole(b"", f"Location: {elsewhere.url}/bkt/m/x", status=f"{status} elsewhere")
        with raw_server(saying(said)) as server, pytest.raises(ModelfsError, match="m/x"):
            open_url(f"s3://127.0.0.1:{server.port}/bkt").read(INFO, 0, 10)
        assert elsewhere.requests() == []


@pytest.fixture(autouse=True)
def _direct(_engine: None) -> None:
    """Have each test begin with the direct engine."""
    engine_of_now.set("auto")


def part(begin: int, body: bytes, size: int = 10, etag: str | None = '"1"') -> bytes:
    headers = [f"Content-Range: bytes {begin}-{begin + len(body) - 1}/{size}"]
    return whole(body, *headers, *([] if etag is None else [f"ETag: {etag}"]))


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (part(2, b"abc"), None),
        (part(2, b"abc", etag="1"), None),  # without its quotes
        (part(2, b"abc", etag='"2"'), VersionGoneError),
        (part(2, b"abc", etag='W/"1"'), VersionGoneError),
        (part(2, b"abc", etag=None), VersionGoneError),
        (part(2, b"abc", size=11), VersionGoneError),
        (part(3, b"abc"), CorruptAnswerError),
        (part(0, b"abc"), CorruptAnswerError),
        (whole(b"abc", 'ETag: "1"'), VersionGoneError),  # all of an object of three bytes
        (whole(b"abc", 'ETag: "1"', "Content-Range: bytes */10"), VersionGoneError),
        (whole(b"abc", 'ETag: "1"', f"Content-Range: bytes {'9' * 50}-4/10"), CorruptAnswerError),
        (whole(b"0123456789", 'ETag: "1"', status="200 OK"), CorruptAnswerError),
        (whole(b"abc", 'ETag: "1"', "Content-Encoding: gzip", "Content-Range: bytes 2-4/10"), None),
        (whole(b"", status="304 Not Modified"), ModelfsError),
        (whole(b"<Error><Code>SlowDown</Code></Error>", status="503 no"), StoreUnavailableError),
        (whole(b"<Error><Code>NoSuchKey</Code></Error>", status="404 no"), VersionGoneError),
        (whole(b"", status="404 no"), StoreUnavailableError),
        (whole(b"", status="412 no"), VersionGoneError),
        (whole(b"", status="416 no"), VersionGoneError),
    ],
)
def test_only_the_range_of_the_version_that_was_asked_for_is_given_out(
    said: bytes, kind: type[ModelfsError] | None
) -> None:
    with raw_server(saying(said)) as server:
        store = open_url(f"s3://127.0.0.1:{server.port}/bkt", stall_timeout_s=2)
        if kind is None:
            assert bytes(store.read(INFO, 2, 3)) == b"abc"
        else:
            with pytest.raises(kind, match="m/x") as caught:
                store.read(INFO, 2, 3)
            assert KEYS.secret_access_key not in "".join(traceback.format_exception(caught.value))
        assert len(server.asked) == 1
        assert b'\r\nIf-Match: "1"\r\n' in server.asked[0].head
        assert b"\r\nRange: bytes=2-4\r\n" in server.asked[0].head


@pytest.mark.parametrize(
    "key",
    [
        "a\r\nX-Injected: 1",
        "a b",
        "a?versionId=2",
        "a#b",
        "a%2e",
        "../../x",
        "//x",
        "\u65e5\u672c",
        "a\x7f",
        "\U0001f600",
    ],
)
def test_a_key_of_any_content_is_one_path_and_nothing_else(key: str) -> None:
    with raw_server(saying(part(0, b"0123456789"))) as server:
        open_url(f"s3://127.0.0.1:{server.port}/bkt/repo").read(INFO._replace(key=key), 0, 10)
        line, *headers = server.asked[0].head.decode("ascii").split("\r\n")
        method, path, version = line.split(" ")
        assert (method, version) == ("GET", "HTTP/1.1")
        assert path.startswith("/bkt/repo/")
        assert "?" not in path
        assert "#" not in path
        assert not any(header.startswith("X-Injected") for header in headers)


@pytest.mark.parametrize("etag", ['"1"\r\nX-Injected: 1', '"1\n"', '"\u20ac"', '"\x00"'])
def test_a_listed_version_of_any_content_injects_no_header(etag: str) -> None:
    with raw_server(saying(part(0, b"0123456789"))) as server:
        store = open_url(f"s3://127.0.0.1:{server.port}/bkt")
        with pytest.raises(ModelfsError, match="m/x"):
            store.read(INFO._replace(version=etag), 0, 10)
        assert not any(b"X-Injected" in each.head for each in server.asked)
