"""The direct client against a server that answers word for word what it is told."""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from modelfs.buffers import Buffers
from modelfs.direct_client import DirectClient
from modelfs.errors import CorruptAnswerError

LENGTH = 300_000
BODY = b"x" * LENGTH
PARTIAL = b"HTTP/1.1 206 Partial Content\r\nContent-Length: %d\r\n" % LENGTH


class _Script:
    """Gives the next of ``answers`` to each request, on whatever connection it comes; an empty one ends it there."""

    def __init__(self, answers: Sequence[bytes]) -> None:
        self._answers = iter(answers)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.connections = 0
        self._open: list[socket.socket] = []

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return  # the test is over
            self.connections += 1
            self._open.append(connection)
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        asked = connection.makefile("rb")
        try:
            while asked.readline():
                while asked.readline().strip():
                    pass
                answer = next(self._answers)
                connection.sendall(answer)
                if b"Connection: close" in answer[:200] or answer.startswith(b"HTTP/1.0"):
                    connection.shutdown(socket.SHUT_RDWR)
        except (OSError, StopIteration):
            return

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self._open:
            connection.close()


@contextmanager
def _client(*answers: bytes) -> Iterator[tuple[DirectClient, _Script]]:
    script = _Script(answers)
    thread = threading.Thread(target=script.serve, daemon=True)
    thread.start()
    port = script.listener.getsockname()[1]
    try:
        yield (
            DirectClient("127.0.0.1", port, connect_timeout_s=20, stall_timeout_s=20, most=2, buffers=Buffers()),
            script,
        )
    finally:
        script.close()
        thread.join(10)


def _get(client: DirectClient) -> bytes:
    answer = client.get("/key", {"Host": "store"}, length=LENGTH, what="cannot read 'key'")
    assert answer.status == 206
    return bytes(answer.body)


@pytest.mark.parametrize(
    "head",
    [PARTIAL + b"Connection: close\r\n\r\n", PARTIAL.replace(b"HTTP/1.1", b"HTTP/1.0") + b"\r\n"],
    ids=["connection-close", "http-1.0"],
)
def test_an_answer_after_which_the_store_closes_the_connection_is_read_whole(head: bytes) -> None:
    with _client(head + BODY, head + BODY) as (client, script):
        assert _get(client) == BODY
        assert _get(client) == BODY
        assert script.connections == 2


def _chunked(body: bytes, *, end: bytes = b"0\r\n\r\n") -> bytes:
    pieces = [body[start : start + 70_001] for start in range(0, len(body), 70_001)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return b"HTTP/1.1 206 Partial Content\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + end


def test_an_answer_in_chunks_is_read_whole_and_its_connection_used_again() -> None:
    with _client(_chunked(BODY), _chunked(BODY)) as (client, script):
        assert _get(client) == BODY
        assert _get(client) == BODY
        assert script.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        _chunked(BODY + b"x"),
        _chunked(BODY[1:]),
        _chunked(BODY[1:], end=b"zz\r\n"),
        b"HTTP/1.0 206 Partial Content\r\n\r\n" + BODY[1:],
        b"HTTP/1.0 206 Partial Content\r\n\r\n" + BODY + b"x",
    ],
    ids=["chunks-too-long", "chunks-too-short", "chunks-broken", "too-short", "too-long"],
)
def test_an_answer_without_a_length_is_held_to_what_was_asked_for(answer: bytes) -> None:
    with _client(answer, PARTIAL + b"\r\n" + BODY) as (client, _):
        with pytest.raises(CorruptAnswerError):
            _get(client)
        assert _get(client) == BODY


def test_a_connection_is_used_again() -> None:
    answer = PARTIAL + b"\r\n" + BODY
    with _client(answer, b"HTTP/1.1 503 Slow Down\r\nContent-Length: 4\r\n\r\nslow", answer) as (client, script):
        assert _get(client) == BODY
        assert client.get("/key", {"Host": "store"}, length=LENGTH, what="cannot read 'key'").body.tobytes() == b"slow"
        assert _get(client) == BODY
        assert script.connections == 1


def test_the_rest_of_a_long_error_is_never_taken_for_the_next_answer() -> None:
    forged = PARTIAL + b"\r\n" + b"E" * LENGTH
    # the head promises more than comes for now: what follows would be read as the answer to the second request
    error = b"HTTP/1.1 503 Slow Down\r\nContent-Length: %d\r\n\r\n" % (65536 + len(forged)) + b"e" * 65536
    with _client(error, forged, PARTIAL + b"\r\n" + BODY) as (client, script):
        answer = client.get("/key", {"Host": "store"}, length=LENGTH, what="cannot read 'key'")
        assert (answer.status, len(answer.body)) == (503, 65536)
        client.get("/key", {"Host": "store"}, length=LENGTH, what="cannot read 'key'")
        assert script.connections == 2


def test_a_short_answer_ends_its_connection() -> None:
    short = PARTIAL + b"Connection: close\r\n\r\n" + BODY[1:]
    with _client(short, PARTIAL + b"\r\n" + BODY) as (client, script):
        with pytest.raises(CorruptAnswerError):
            _get(client)
        assert _get(client) == BODY
        assert script.connections == 2
