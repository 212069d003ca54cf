"""The fault server as its clients see it: boto3 and obstore, on the S3 and the GCS dialect."""

import signal
import subprocess
import sys
import threading
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import md5
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import boto3
import obstore
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from faultserver import FaultServer, Keys, Stamped, stamped, write_stamped
from faultserver.listing import Position, position, take_page
from faultserver.objects import Objects
from hypothesis import given
from hypothesis import strategies as st
from obstore.exceptions import PreconditionError
from obstore.store import S3Store

KEYS = Keys("AKID", "a/secret+")
ODD_KEYS = [
    "a//b", ".", "..", "a/./b", "a/../b", "a/", "/", "new\nline", "return\r", "tab\t", "ctl\x01\x7f", " lead", "trail ",
    "+", "=", "%41", "?#&;", "<&>\"'", "\\", "ü", "e\u0301", "\ue000", "\U0001f600", "k" * 1024,
]  # fmt: skip


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        server.create_bucket("b")
        yield server


def s3_client(server: FaultServer, keys: Keys = KEYS) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id=keys.access_key_id,
        aws_secret_access_key=keys.secret_access_key,
        aws_session_token=keys.session_token,
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
    )


def s3_store(server: FaultServer, keys: Keys = KEYS) -> S3Store:
    return S3Store(
        "b",
        endpoint=server.url,
        region="us-east-1",
        access_key_id=keys.access_key_id,
        secret_access_key=keys.secret_access_key,
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )


def raw(
    server: FaultServer, method: str, target: str, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request(method, target, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def listed(client: Any, **how: Any) -> tuple[list[str], list[str]]:
    keys: list[str] = []
    prefixes: list[str] = []
    for page in client.get_paginator("list_objects_v2").paginate(Bucket="b", **how):
        keys += [each["Key"] for each in page.get("Contents", [])]
        prefixes += [each["Prefix"] for each in page.get("CommonPrefixes", [])]
    return keys, prefixes


# -- listings


def test_keys_of_any_shape_are_listed_as_they_are(server: FaultServer) -> None:
    for key in ODD_KEYS:
        server.put("b", key, b"")
    keys, _ = listed(s3_client(server), PaginationConfig={"PageSize": 5})
    assert keys == sorted(ODD_KEYS, key=str.encode)


@pytest.mark.parametrize("key", [each for each in ODD_KEYS if each not in {".", "..", "a/./b", "a/../b"}])
def test_keys_of_any_shape_can_be_put_and_read_by_boto3(server: FaultServer, key: str) -> None:
    client = s3_client(server)
    client.put_object(Bucket="b", Key=key, Body=key.encode())
    assert client.get_object(Bucket="b", Key=key)["Body"].read() == key.encode()
    assert server.get("b", key) is not None


def test_a_listing_of_1100_keys_takes_two_requests(server: FaultServer) -> None:
    wanted = [f"m/{number:04d}" for number in range(1100)]
    for key in wanted:
        server.put("b", key, b"x")
    assert listed(s3_client(server), Prefix="m/") == (wanted, [])
    assert [each.page for each in server.requests(kind="list")] == [1, 2]
    assert {each["path"] for page in s3_store(server).list("m") for each in page} == set(wanted)


def test_delimiter_groups_keys_into_common_prefixes_across_pages(server: FaultServer) -> None:
    for key in ["a", "a/1", "a/2", "b/1", "b/2/3", "c", "c/"]:
        server.put("b", key, b"")
    for size in range(1, 7):
        assert listed(s3_client(server), Delimiter="/", PaginationConfig={"PageSize": size}) == (
            ["a", "c"],
            ["a/", "b/", "c/"],
        )
    assert listed(s3_client(server), Delimiter="/", Prefix="b/") == (["b/1"], ["b/2/"])


def test_start_after_and_max_keys_cut_a_listing(server: FaultServer) -> None:
    for key in "abcd":
        server.put("b", key, b"")
    client = s3_client(server)
    page = client.list_objects_v2(Bucket="b", StartAfter="a", MaxKeys=2)
    assert [each["Key"] for each in page["Contents"]] == ["b", "c"]
    assert page["IsTruncated"]
    assert not client.list_objects_v2(Bucket="b", MaxKeys=0)["IsTruncated"]


def test_a_listing_without_url_encoding_escapes_xml(server: FaultServer) -> None:
    server.put("b", "<&>\n", b"")
    _, _, body = raw(server, "GET", "/b?list-type=2")
    assert b"<Key>&lt;&amp;&gt;&#10;</Key>" in body


def test_a_listing_tells_milliseconds_and_a_head_whole_seconds(server: FaultServer) -> None:
    server.put("b", "k", b"x", mtime_ns=1_700_000_000_987_654_321)
    client = s3_client(server)
    told = client.list_objects_v2(Bucket="b")["Contents"][0]["LastModified"]
    assert told == datetime.fromtimestamp(1_700_000_000, UTC).replace(microsecond=987_000)
    assert client.head_object(Bucket="b", Key="k")["LastModified"] == told.replace(microsecond=0)


def test_a_wrong_token_is_refused(server: FaultServer) -> None:
    for token in ["nonsense", "WzFd", "WzEsMiwzXQ=="]:
        assert raw(server, "GET", f"/b?list-type=2&continuation-token={token}")[0] == 400
    assert [each.page for each in server.requests(kind="list")] == [0, 0, 0]


@given(
    keys=st.sets(st.text("ab/\U0001f600\ue000", min_size=1, max_size=5)),
    prefix=st.text("ab/", max_size=2),
    delimiter=st.sampled_from(["", "/", "b/"]),
    size=st.integers(1, 4),
)
def test_pages_give_every_key_or_prefix_exactly_once(keys: set[str], prefix: str, delimiter: str, size: int) -> None:
    objects = Objects()
    objects.create_bucket("b")
    for key in keys:
        objects.put("b", key, b"", mtime_ns=0, etag=None)
    found: list[str] = []
    start: Position | None = Position()
    for _ in range(len(keys) + 1):
        assert start is not None
        page = take_page(objects.listing("b"), prefix=prefix, delimiter=delimiter, start=start, max_keys=size)
        found += [each.key for each in page.objects] + page.prefixes
        start = position(page.following.token()) if page.following else None
        if start is None:
            break
    assert start is None
    wanted = set()
    for key in keys:
        if key.startswith(prefix):
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            wanted.add(key if cut < 0 else key[: cut + len(delimiter)])
    assert sorted(found) == sorted(wanted)


# -- objects


@pytest.mark.parametrize("size", [1, 4095, 4096, 4097, 1 << 20])
def test_ranges_are_exact_from_memory_from_a_file_and_stamped(server: FaultServer, tmp_path: Path, size: int) -> None:
    content = stamped("k", "1", size)
    write_stamped(tmp_path / "file", "k", "1", size)
    server.put("b", "memory", content)
    server.put("b", "file", tmp_path / "file")
    server.put("b", "stamped", Stamped("k", "1", size))
    store = s3_store(server)
    for key in ["memory", "file", "stamped"]:
        assert bytes(obstore.get(store, key).bytes()) == content
        for start, end in [(0, 1), (size - 1, size), (size // 3, size // 2 + 1), (0, size)]:
            assert bytes(obstore.get_range(store, key, start=start, end=end)) == content[start:end]


def test_stamps_differ_in_every_32_bytes_by_key_version_and_place() -> None:
    base, other_version, other_key = stamped("k", "1", 9000), stamped("k", "2", 9000), stamped("l", "1", 9000)
    for at in range(0, 8960, 32):
        assert len({base[at : at + 32], other_version[at : at + 32], other_key[at : at + 32]}) == 3
    assert base[:32] != base[4096 : 4096 + 32]


def test_a_read_pinned_to_a_replaced_version_is_refused(server: FaultServer) -> None:
    old = server.put("b", "k", b"old")
    new = server.put("b", "k", b"new")
    assert old.etag != new.etag
    store = s3_store(server)
    with pytest.raises(PreconditionError):
        obstore.get(store, "k", options={"range": (0, 2), "if_match": old.etag})
    assert bytes(obstore.get(store, "k", options={"range": (0, 2), "if_match": new.etag}).bytes()) == b"ne"


def test_the_same_content_put_again_is_a_new_version_and_a_touch_is_not(server: FaultServer) -> None:
    first = server.put("b", "k", b"same", mtime_ns=1)
    touched = server.touch("b", "k", mtime_ns=2)
    assert (touched.etag, touched.generation, touched.mtime_ns) == (first.etag, first.generation, 2)
    again = server.put("b", "k", b"same")
    assert again.etag != first.etag
    assert again.generation > first.generation
    assert server.put("b", "k", b"same", etag='"mine"').etag == '"mine"'


@pytest.mark.parametrize(
    ("asked", "status", "told", "body"),
    [
        ("bytes=2-4", 206, "bytes 2-4/10", b"234"),
        ("bytes=7-", 206, "bytes 7-9/10", b"789"),
        ("bytes=-3", 206, "bytes 7-9/10", b"789"),
        ("bytes=-99", 206, "bytes 0-9/10", b"0123456789"),
        ("bytes=8-99", 206, "bytes 8-9/10", b"89"),
        ("bytes=0-1,3-4", 200, None, b"0123456789"),
        ("lines=1-2", 200, None, b"0123456789"),
        ("bytes=-", 200, None, b"0123456789"),
        ("bytes=10-", 416, "bytes */10", None),
        ("bytes=-0", 416, "bytes */10", None),
    ],
)
def test_ranges_are_answered_as_by_s3(
    server: FaultServer, asked: str, status: int, told: str | None, body: bytes | None
) -> None:
    server.put("b", "k", b"0123456789")
    got_status, headers, got = raw(server, "GET", "/b/k", {"Range": asked})
    assert (got_status, headers.get("content-range")) == (status, told)
    assert got == body or (body is None and b"<Code>InvalidRange</Code>" in got)


def test_missing_keys_and_buckets_are_told_apart(server: FaultServer) -> None:
    client = s3_client(server)
    with pytest.raises(ClientError, match="NoSuchKey"):
        client.get_object(Bucket="b", Key="none")
    with pytest.raises(ClientError, match="NoSuchBucket"):
        client.list_objects_v2(Bucket="none")
    with pytest.raises(ClientError, match="404"):
        client.head_object(Bucket="b", Key="none")
    server.delete_bucket("b")
    with pytest.raises(ClientError, match="NoSuchBucket"):
        client.get_object(Bucket="b", Key="none")


def test_boto3_and_obstore_can_fill_and_empty_the_server(server: FaultServer, tmp_path: Path) -> None:
    client, store = s3_client(server), s3_store(server)
    client.create_bucket(Bucket="new")
    (tmp_path / "big").write_bytes(big := stamped("big", "1", 20_000_000))
    client.upload_file(str(tmp_path / "big"), "new", "big")
    obstore.put(store, "big", big)
    for bucket in ["new", "b"]:
        assert client.get_object(Bucket=bucket, Key="big")["Body"].read() == big
    obstore.delete(store, "big")
    client.delete_object(Bucket="new", Key="big")
    assert server.get("b", "big") is None
    assert server.get("new", "big") is None
    server.put("b", "a/b", b"")
    client.delete_objects(Bucket="b", Delete={"Objects": [{"Key": "a/b"}]})
    assert server.get("b", "a/b") is None


# -- who may ask


def test_wrong_keys_are_refused_as_by_s3() -> None:
    with FaultServer(keys=KEYS) as server:
        server.put("b", "a b/c+d=é", b"x")
        assert listed(s3_client(server), Prefix="a b/", Delimiter="+")[1] == ["a b/c+"]
        assert bytes(obstore.get(s3_store(server), "a b/c+d=é").bytes()) == b"x"
        for keys, code in [
            (Keys("OTHER", "a/secret+"), "InvalidAccessKeyId"),
            (Keys("AKID", "other"), "SignatureDoesNotMatch"),
            (Keys("AKID", "a/secret+", "token"), "InvalidToken"),
        ]:
            with pytest.raises(ClientError, match=code):
                s3_client(server, keys).list_objects_v2(Bucket="b")
        status, _, body = raw(server, "GET", "/b?list-type=2")
        assert (status, b"<Code>AccessDenied</Code>" in body) == (403, True)


# -- GCS


def test_gcs_pins_a_read_by_generation_and_ignores_if_match() -> None:
    with FaultServer("gcs") as server:
        old = server.put("b", "k", b"old")
        new = server.put("b", "k", b"new")
        assert raw(server, "GET", f"/b/k?generation={old.generation}")[0] == 404
        status, headers, body = raw(server, "GET", f"/b/k?generation={new.generation}", {"Range": "bytes=0-1"})
        assert (status, body, headers["x-goog-generation"]) == (206, b"ne", str(new.generation))
        assert headers["x-goog-hash"] == f"md5={b64encode(md5(b'new', usedforsecurity=False).digest()).decode()}"
        assert raw(server, "GET", "/b/k", {"If-Match": '"wrong"'})[0] == 200
        assert raw(server, "GET", "/b/k", {"x-goog-if-generation-match": "1"})[0] == 412
        assert f"<Generation>{new.generation}</Generation>".encode() in raw(server, "GET", "/b?list-type=2")[2]


# -- log and life


def test_the_log_tells_what_was_asked_and_answered(server: FaultServer) -> None:
    server.put("b", "k", b"0123456789")
    raw(server, "GET", "/b?list-type=2&prefix=k")
    raw(server, "GET", "/b/k", {"Range": "bytes=1-3"})
    raw(server, "HEAD", "/b/none")
    assert server.wait_until_idle()
    told = [(each.kind, each.bucket, each.key, each.range, each.status) for each in server.requests()]
    assert told == [
        ("list", "b", "", None, 200),
        ("get", "b", "k", "bytes=1-3", 206),
        ("head", "b", "none", None, 404),
    ]
    assert server.requests(kind="get")[0].bytes_sent == 3
    assert server.requests(kind="list")[0].query == {"list-type": "2", "prefix": "k"}
    assert server.requests(key="none")[0].bytes_sent == 0
    server.clear_log()
    assert server.requests() == []


def test_a_connection_is_kept_alive(server: FaultServer) -> None:
    server.put("b", "k", b"0123456789")
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.connect()
    first = connection.sock
    for method in ["GET", "HEAD", "GET"]:
        connection.request(method, "/b/k")
        connection.getresponse().read()
        connection.request(method, "/b/none")
        connection.getresponse().read()
    assert connection.sock is first
    connection.close()


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_stopping_leaves_no_thread_and_no_descriptor() -> None:
    before = set(threading.enumerate()), _descriptors()
    clients = []
    with FaultServer() as server:
        for _ in range(20):
            client = HTTPConnection("127.0.0.1", server.port, timeout=30)
            client.request("GET", "/b/k")
            client.getresponse().read()
            clients.append(client)
    for client in clients:
        client.close()
    assert (set(threading.enumerate()), _descriptors()) == before


def test_the_command_serves_a_folder_until_it_is_told_to_end(tmp_path: Path) -> None:
    (tmp_path / "b" / "a").mkdir(parents=True)
    (tmp_path / "b" / "a" / "k").write_bytes(b"content")
    with subprocess.Popen(
        [sys.executable, "-m", "faultserver", str(tmp_path), "--latency-ms", "1", "--mb-per-s", "90"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent,
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().rpartition(":")[2])
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/b/a/k")
        assert connection.getresponse().read() == b"content"
        connection.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
