"""Every scripted fault of the fault server, as a plain HTTP client sees it."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPResponse, IncompleteRead

import pytest
from faultserver import (
    Excess,
    Fault,
    FaultServer,
    IgnoreRange,
    IgnoreVersion,
    Latency,
    Rate,
    Reset,
    Stall,
    Stamped,
    Status,
    TotalRate,
    Truncate,
    WrongLength,
    WrongRange,
    stamped,
)

SIZE = 100_000
CONTENT = stamped("k", "1", SIZE)
LONG_S = 30.0  # bounds a hang; nothing here comes near it


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        server.put("b", "k", CONTENT)
        yield server


def ask(
    server: FaultServer, target: str = "/b/k", headers: dict[str, str] | None = None, *, timeout_s: float = LONG_S
) -> tuple[HTTPConnection, HTTPResponse]:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=timeout_s)
    connection.request("GET", target, headers=headers or {})
    return connection, connection.getresponse()


def read(server: FaultServer, target: str = "/b/k", headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    connection, answer = ask(server, target, headers)
    try:
        return answer.status, answer.read()
    finally:
        connection.close()


# -- what goes wrong


def test_latency_delays_the_first_byte(server: FaultServer) -> None:
    server.fail(Fault(Latency(0.2)))
    begun = time.monotonic()
    assert read(server) == (200, CONTENT)
    assert time.monotonic() - begun >= 0.2


def test_a_rate_holds_for_each_connection(server: FaultServer) -> None:
    server.fail(Fault(Rate(SIZE / 0.2)))
    begun = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: read(server), range(4))) == [(200, CONTENT)] * 4
    assert time.monotonic() - begun >= 0.2


def test_a_total_rate_holds_for_all_connections_together(server: FaultServer) -> None:
    server.fail(Fault(TotalRate(SIZE / 0.1)))
    begun = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: read(server), range(4))) == [(200, CONTENT)] * 4
    assert time.monotonic() - begun >= 0.4


def test_healing_ends_a_rate_in_mid_body(server: FaultServer) -> None:
    fault = server.fail(Fault(Rate(10)))
    connection, answer = ask(server)
    assert answer.read(1) == CONTENT[:1]
    server.heal(fault)
    assert answer.read() == CONTENT[1:]
    connection.close()


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (403, b"AccessDenied"),
        (429, b"TooManyRequests"),
        (500, b"InternalError"),
        (503, b"SlowDown"),
        (599, b"Internal"),
    ],
)
def test_a_status_is_answered_with_its_xml_and_retry_after(server: FaultServer, status: int, code: bytes) -> None:
    server.fail(Fault(Status(status, retry_after_s=7)))
    connection, answer = ask(server)
    assert (answer.status, answer.getheader("Retry-After")) == (status, "7")
    assert b"<Code>" + code in answer.read()
    connection.request("HEAD", "/b/k")
    assert (answer := connection.getresponse()).status == status
    assert answer.read() == b""
    server.heal()
    connection.request("GET", "/b/k")
    assert connection.getresponse().read() == CONTENT
    connection.close()


def test_a_status_may_carry_another_code(server: FaultServer) -> None:
    server.fail(Fault(Status(400, "ExpiredToken")))
    assert b"<Code>ExpiredToken</Code>" in read(server)[1]


def test_a_reset_ends_the_connection_before_or_within_the_body(server: FaultServer) -> None:
    server.fail(Fault(Reset(), times=1))
    with pytest.raises(ConnectionResetError):
        read(server)
    server.fail(Fault(Reset(after_bytes=1000)))
    connection, answer = ask(server)
    with pytest.raises(ConnectionResetError):
        answer.read()
    connection.close()
    assert server.wait_until_idle()
    assert [(each.status, each.bytes_sent) for each in server.requests()] == [(None, 0), (200, 1000)]


def test_a_truncated_body_is_shorter_than_content_length_said(server: FaultServer) -> None:
    server.fail(Fault(Truncate(after_bytes=1234)))
    connection, answer = ask(server)
    with pytest.raises(IncompleteRead) as caught:
        answer.read()
    assert caught.value.partial == CONTENT[:1234]
    assert answer.getheader("Content-Length") == str(SIZE)
    connection.close()


def test_an_excess_body_is_longer_than_content_length_said(server: FaultServer) -> None:
    server.fail(Fault(Excess(extra_bytes=7)))
    with socket.create_connection(("127.0.0.1", server.port), LONG_S) as sock:
        sock.sendall(b"GET /b/k HTTP/1.1\r\n\r\n")
        received = b"".join(iter(lambda: sock.recv(1 << 16), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    assert f"Content-Length: {SIZE}\r\n".encode() in head
    assert body == CONTENT + b"\xee" * 7


@pytest.mark.parametrize("delta", [-5, 5])
def test_a_wrong_length_is_sound_http_of_another_range(server: FaultServer, delta: int) -> None:
    server.fail(Fault(WrongLength(delta)))
    connection, answer = ask(server, headers={"Range": "bytes=100-199"})
    assert (answer.status, answer.getheader("Content-Length")) == (206, str(100 + delta))
    assert answer.getheader("Content-Range") == f"bytes 100-{199 + delta}/{SIZE}"
    assert answer.read() == CONTENT[100 : 200 + delta]
    connection.close()


@pytest.mark.parametrize(("admit", "told"), [(True, "4196-4295"), (False, "100-199")])
def test_a_wrong_range_is_admitted_or_not(server: FaultServer, admit: bool, told: str) -> None:  # noqa: FBT001  parametrized
    server.fail(Fault(WrongRange(4096, admit=admit)))
    connection, answer = ask(server, headers={"Range": "bytes=100-199"})
    assert answer.getheader("Content-Range") == f"bytes {told}/{SIZE}"
    assert answer.read() == CONTENT[4196:4296]
    connection.close()


def test_an_ignored_range_is_answered_with_the_whole_object(server: FaultServer) -> None:
    server.fail(Fault(IgnoreRange()))
    assert read(server, headers={"Range": "bytes=100-199"}) == (200, CONTENT)


def test_a_lying_store_ignores_the_version_that_is_asked_for(server: FaultServer) -> None:
    assert read(server, headers={"If-Match": '"other"'})[0] == 412
    server.fail(Fault(IgnoreVersion()))
    assert read(server, headers={"If-Match": '"other"'}) == (200, CONTENT)
    with FaultServer("gcs") as gcs:
        gcs.put("b", "k", CONTENT)
        assert read(gcs, "/b/k?generation=1")[0] == 404
        gcs.fail(Fault(IgnoreVersion()))
        assert read(gcs, "/b/k?generation=1") == (200, CONTENT)


@pytest.mark.parametrize("after_bytes", [None, 0, 5000])
def test_a_stall_ends_when_it_is_healed(server: FaultServer, after_bytes: int | None) -> None:
    fault = server.fail(Fault(Stall(after_bytes)))
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(read, server)
        with pytest.raises(TimeoutError):
            answer.result(0.1)
        server.heal(fault)
        assert answer.result(LONG_S) == (200, CONTENT)


def test_hundreds_of_stalled_requests_do_not_stop_the_others(server: FaultServer) -> None:
    server.put("b", "other", b"x")
    fault = server.fail(Fault(Stall(), key="k"))
    stalled = [HTTPConnection("127.0.0.1", server.port, timeout=LONG_S) for _ in range(300)]
    for connection in stalled:
        connection.request("GET", "/b/k")
    assert read(server, "/b/other") == (200, b"x")
    server.heal(fault)
    for connection in stalled:
        assert connection.getresponse().read() == CONTENT
        connection.close()


def test_faults_act_together(server: FaultServer) -> None:
    server.fail(Fault(Latency(0.1)))
    server.fail(Fault(Rate(SIZE / 0.1)))
    server.fail(Fault(Truncate(SIZE // 2)))
    begun = time.monotonic()
    connection, answer = ask(server)
    with pytest.raises(IncompleteRead):
        answer.read()
    assert time.monotonic() - begun >= 0.15
    connection.close()


# -- which requests it goes wrong with


def test_a_fault_matches_by_kind_key_and_condition(server: FaultServer) -> None:
    server.put("b", "m/1/model.onnx", b"x")
    server.fail(Fault(Status(500), kind="get", key="m/*.onnx"))
    server.fail(Fault(Status(501), when=lambda record: record.range == "bytes=1-1"))
    assert read(server)[0] == 200
    assert read(server, headers={"Range": "bytes=1-1"})[0] == 501
    assert read(server, "/b/m/1/model.onnx")[0] == 500
    assert read(server, "/b?list-type=2")[0] == 200


def test_one_page_of_a_listing_fails(server: FaultServer) -> None:
    for number in range(5):
        server.put("b", f"k{number}", b"")
    fault = server.fail(Fault(Status(500), kind="list", page=2, times=1))
    status, first = read(server, "/b?list-type=2&max-keys=2")
    token = first.partition(b"<NextContinuationToken>")[2].partition(b"<")[0].decode()
    second = f"/b?list-type=2&max-keys=2&continuation-token={token}"
    assert [status, read(server, second)[0], read(server, second)[0]] == [200, 500, 200]
    assert (fault.seen, fault.hits) == (2, 1)


def test_a_fault_acts_on_the_nth_every_and_so_many_times(server: FaultServer) -> None:
    fault = server.fail(Fault(Status(500), nth=2, every=3, times=2))
    assert [read(server)[0] for _ in range(10)] == [200, 500, 200, 200, 500, 200, 200, 200, 200, 200]
    assert (fault.seen, fault.hits) == (10, 2)


def test_healing_one_fault_leaves_the_others(server: FaultServer) -> None:
    first = server.fail(Fault(Status(500), kind="get"))
    server.fail(Fault(Status(503), kind="list"))
    server.heal(first)
    assert (read(server)[0], read(server, "/b?list-type=2")[0]) == (200, 503)
    server.heal()
    assert (read(server)[0], read(server, "/b?list-type=2")[0]) == (200, 200)


# -- the whole store away


def test_a_store_that_is_down_refuses_and_comes_back_on_its_port(server: FaultServer) -> None:
    url = server.url
    connection, answer = ask(server)
    answer.read()
    for _ in range(3):
        server.down()
        with pytest.raises(ConnectionRefusedError):
            read(server)
        server.up()
        assert read(server) == (200, CONTENT)
    assert server.url == url
    assert connection.sock.recv(1) == b""  # the old connection has ended
    connection.close()


def test_going_down_ends_a_body_in_flight_and_a_stall(server: FaultServer) -> None:
    server.put("b", "endless", Stamped("k", "1", 1 << 40))
    server.fail(Fault(Stall(), key="k"))
    connection, answer = ask(server, "/b/endless")
    stalled = HTTPConnection("127.0.0.1", server.port, timeout=LONG_S)
    stalled.request("GET", "/b/k")
    answer.read(10)
    server.down()
    assert sum(len(piece) for piece in iter(lambda: answer.read(1 << 20), b"")) < 1 << 30
    with pytest.raises(ConnectionError):
        stalled.getresponse()
    connection.close()
    stalled.close()


def test_a_black_hole_connects_and_never_answers(server: FaultServer) -> None:
    server.black_hole()
    with pytest.raises(TimeoutError):
        ask(server, timeout_s=0.1)
    assert server.requests() == []
    server.up()
    assert read(server) == (200, CONTENT)


def test_a_black_hole_may_swallow_connecting_too(server: FaultServer) -> None:
    kept, answer = ask(server)
    answer.read()
    for _ in range(2):
        server.black_hole(connects=False)
        with pytest.raises(TimeoutError):
            socket.create_connection(("127.0.0.1", server.port), 0.2)
        server.up()
        assert read(server) == (200, CONTENT)
    kept.close()


def test_stopping_within_a_black_hole_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    for connects in [True, False]:
        with FaultServer() as server:
            connection = HTTPConnection("127.0.0.1", server.port, timeout=LONG_S)
            connection.request("GET", "/b/k")
            connection.getresponse().read()
            server.black_hole(connects=connects)
            connection.request("GET", "/b/k")
        connection.close()
        assert set(threading.enumerate()) == before
