"""Hostile and clumsy clients of the fault server: whatever they send or do, it lives and leaves nothing behind."""

import socket
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection, IncompleteRead
from pathlib import Path

import pytest
from faultserver import FaultServer, Stamped, stamped
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CONTENT = stamped("k", "1", 100_000)
LONG_S = 30.0  # bounds a hang; nothing here comes near it


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        server.put("b", "k", CONTENT)
        yield server


def read(server: FaultServer, target: str = "/b/k") -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=LONG_S)
    try:
        connection.request("GET", target)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /b/k\r\n\r\n", 400),
        (b"GET b/k HTTP/1.1\r\n\r\n", 400),
        (b"GET /b/k HTTP/9\r\n\r\n", 505),
        (b"GET /b/%ff HTTP/1.1\r\n\r\n", 400),
        (b"GET /b/k?%ff=1 HTTP/1.1\r\n\r\n", 400),
        (b"GET /b/k HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"PUT /b/k HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"PUT /b/k HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", 413),
        (b"PUT /b/k HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 501),
        (b"GET /b/k HTTP/1.1\r\nx: " + b"y" * 100_000, 431),
        (b"GET /b/k HTTP/1.1\r\nHost: elsewhere.example\r\nConnection: close\r\n\r\n", 200),
        (b"GET / HTTP/1.0\r\n\r\n", 405),
        (b"BREW /b/k HTTP/1.0\r\n\r\n", 501),
        (b"POST /b HTTP/1.0\r\n\r\n", 501),
        (b"POST /b?delete HTTP/1.0\r\nContent-Length: 1\r\n\r\n<", 400),
        (b"POST /b/k?uploadId=none HTTP/1.0\r\n\r\n", 404),
        (b"PUT /b/k?partNumber=x HTTP/1.0\r\n\r\n", 400),
        (b"PUT /b/k HTTP/1.0\r\nx-amz-decoded-content-length: 9\r\nContent-Length: 1\r\n\r\nz", 400),
        (b"GET /b?list-type=2&max-keys=many HTTP/1.0\r\n\r\n", 400),
        (b"GET /b?list-type=1 HTTP/1.0\r\n\r\n", 501),
    ],
)
def test_a_hostile_request_is_refused_and_the_server_lives(server: FaultServer, sent: bytes, status: int) -> None:
    with socket.create_connection(("127.0.0.1", server.port), LONG_S) as sock:
        sock.sendall(sent)
        received = b"".join(iter(lambda: sock.recv(1 << 16), b""))
    assert received.startswith(f"HTTP/1.1 {status} ".encode())
    assert read(server) == (200, CONTENT)


@given(sent=st.binary(max_size=200), head=st.sampled_from([b"", b"GET /b/k", b"PUT /b/k HTTP/1.1\r\n", b"POST /b?"]))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_crash_the_server(
    server: FaultServer, caplog: pytest.LogCaptureFixture, sent: bytes, head: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), LONG_S) as sock:
        sock.sendall(head + sent + b"\r\n\r\n")
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(1 << 16):
            pass
    assert not caplog.records


def test_clients_that_vanish_leave_nothing_behind(server: FaultServer, caplog: pytest.LogCaptureFixture) -> None:
    before = set(threading.enumerate())
    server.put("b", "endless", Stamped("k", "1", 1 << 40))
    for sent in [
        b"",
        b"GET /b/end",
        b"GET /b/endless HTTP/1.1\r\n\r\n",
        b"PUT /b/k HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf",
    ]:
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", server.port), LONG_S) as sock:
                sock.sendall(sent)
    deadline = time.monotonic() + LONG_S
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)  # the server takes the last connections only now
    assert set(threading.enumerate()) <= before
    assert read(server) == (200, CONTENT)
    assert not caplog.records


def test_a_file_that_was_cut_short_on_disk_ends_the_connection(server: FaultServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    server.put("b", "file", tmp_path / "file")
    (tmp_path / "file").write_bytes(CONTENT[:100])
    with pytest.raises(IncompleteRead):
        read(server, "/b/file")
