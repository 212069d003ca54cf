"""Our own HTTP: one exact answer or one of our errors, whatever is said, and connections that are used again."""

import http.client
import random
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import cast

import pytest
from raw_server import Asked, RawServer, raw_server, saying, whole

from modelfs import direct_client
from modelfs.buffers import Buffers
from modelfs.direct_client import HTTP_ERRORS, Answer, DirectClient, from_http
from modelfs.errors import CorruptAnswerError, ModelfsError, StoreUnavailableError

BODY = random.Random(0).randbytes(700_000)  # several times what a buffered reader holds
SECRET = "hunter2"


def client_of(server: RawServer, *, stall_timeout_s: float = 5, buffers: Buffers | None = None) -> DirectClient:
    return DirectClient(
        "127.0.0.1",
        server.port,
        connect_timeout_s=5,
        stall_timeout_s=stall_timeout_s,
        most=8,
        buffers=buffers or Buffers(),
    )


def ask(client: DirectClient, length: int = len(BODY), path: str = "/x") -> Answer:
    return client.get(path, {"Host": "h"}, length=length, what="cannot read 'x'")


def refused(call: Callable[[], object], kind: type[ModelfsError]) -> None:
    """See ``call`` fail with ``kind``, in one line that quotes nothing of what was said."""
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is kind
    assert str(caught.value).startswith("cannot read 'x': ")
    assert "\n" not in str(caught.value)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


# what is right


@pytest.mark.parametrize("cut", [1, 40, 70_000])
def test_body_that_comes_in_pieces_is_whole_and_cannot_be_written_to(cut: int) -> None:
    said = whole(BODY)
    with raw_server(saying(said[:cut], said[cut : cut + 9], said[cut + 9 :])) as server:
        answer = ask(client_of(server))
        assert answer.status == 206
        assert answer.body == BODY
        assert answer.body.readonly


@pytest.mark.parametrize("said", [whole(BODY, "Connection: close"), whole(BODY, version="HTTP/1.0")])
def test_answer_that_ends_its_connection_is_read_to_its_end(said: bytes) -> None:
    with raw_server(saying(said, then_close=True)) as server:
        client = client_of(server)
        assert [ask(client).body == BODY for _ in range(3)] == [True] * 3
        assert server.connections == 3


def test_connection_is_used_again_after_an_answer_and_after_a_refusal() -> None:
    def say(sock: socket.socket, asked: Asked) -> bool:
        sock.sendall(whole(b"no", status="503 Slow Down") if asked.request % 2 else whole(BODY))
        return True

    with raw_server(say) as server:
        client = client_of(server)
        assert [ask(client).status for _ in range(6)] == [206, 503] * 3
        assert server.connections == 1


def test_connection_that_the_store_has_closed_meanwhile_costs_no_error() -> None:
    with raw_server(saying(whole(b"abc"), then_close=True)) as server:
        client = client_of(server)
        for _ in range(5):
            assert bytes(ask(client, 3).body) == b"abc"
            wait_for_word_on(client)
        assert server.connections == 5


def test_answer_that_nobody_asked_for_is_not_taken_for_the_next() -> None:
    has_read = threading.Semaphore(0)

    def say(sock: socket.socket, _asked: Asked) -> bool:
        sock.sendall(whole(b"abc"))
        if has_read.acquire(timeout=30):
            sock.sendall(whole(b"evl"))
        return True

    with raw_server(say) as server:
        client = client_of(server)
        for _ in range(3):
            assert bytes(ask(client, 3).body) == b"abc"
            has_read.release()
            wait_for_word_on(client)
        assert server.connections == 3


def wait_for_word_on(client: DirectClient) -> None:
    """Wait until what the store does to an idle connection has arrived."""
    for connection in client._idle:
        wire = connection.sock
        assert wire is not None
        cast("direct_client._Wire", wire).socket.recv(1, socket.MSG_PEEK)


def test_rest_of_a_long_refusal_is_not_taken_for_the_next_answer() -> None:
    """It may come after the look at the idle connection, and say what looks like an answer."""
    begin = whole(b"x" * 100_000, status="403 Forbidden")[: -100_000 + 64 * 1024]

    def say(sock: socket.socket, asked: Asked) -> bool:
        if asked.connection == 0 and asked.request == 0:
            sock.sendall(begin)
            return True
        sock.sendall(whole(b"evl") if asked.connection == 0 else whole(b"abc"))
        return True

    with raw_server(say) as server:
        client = client_of(server)
        assert ask(client, 3).status == 403
        assert bytes(ask(client, 3).body) == b"abc"
        assert server.connections == 2


def test_bodies_of_many_threads_are_each_their_own() -> None:
    def say(sock: socket.socket, asked: Asked) -> bool:
        number = int(asked.head.split(b" ")[1][1:])
        sock.sendall(whole(bytes([number % 256]) * 200_000 + BODY[number:100_000]))
        return True

    wrong: list[int] = []

    def read(client: DirectClient, first: int) -> None:
        held = [(number, ask(client, 300_000 - number, f"/{number}").body) for number in range(first, first + 20)]
        wrong.extend(number for number, body in held if body != bytes([number % 256]) * 200_000 + BODY[number:100_000])

    with raw_server(say) as server:
        client = client_of(server, buffers=Buffers())
        threads = [threading.Thread(target=read, args=(client, first)) for first in range(0, 160, 20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        assert wrong == []
        assert len(server.asked) == 160
        assert server.connections <= 8


def test_memory_of_a_dropped_answer_is_used_again_and_that_of_a_held_one_is_not() -> None:
    size = 1 << 20
    with raw_server(saying(whole(bytes(range(256)) * 4096))) as server:
        buffers = Buffers()
        client = client_of(server, buffers=buffers)
        for _ in range(5):
            ask(client, size)
        assert buffers.allocated_bytes == size
        held = [ask(client, size) for _ in range(3)]
        assert buffers.allocated_bytes == 3 * size
        assert all(answer.body == bytes(range(256)) * 4096 for answer in held)


# what is wrong

SOUND = "HTTP/1.1 206 Partial Content\r\n"


def broken() -> Iterator[tuple[str, bytes, type[ModelfsError]]]:
    """Yield what a server says before it closes, and what that is."""
    yield "nothing", b"", StoreUnavailableError
    yield "noise", b"\x00\xff" * 5000, CorruptAnswerError
    yield "text", f"hello {SECRET}\r\n\r\n".encode(), CorruptAnswerError
    yield "another protocol", b"SSH-2.0-OpenSSH_9.6\r\n", CorruptAnswerError
    yield "a status of letters", f"HTTP/1.1 {SECRET}\r\n\r\n".encode(), CorruptAnswerError
    yield "a status of no class", b"HTTP/1.1 42 x\r\n\r\n", CorruptAnswerError
    yield "an unknown version", b"HTTP/3.0 200 OK\r\nContent-Length: 9\r\n\r\n123456789", CorruptAnswerError
    yield "half a head", SOUND.encode() + b"Content-Le", CorruptAnswerError
    yield "a head without an end of its lines", b"HTTP/1.1 206 " + b"x" * 70_000, CorruptAnswerError
    yield "a long header", f"{SOUND}X: {'x' * 70_000}\r\n\r\n".encode(), CorruptAnswerError
    yield "many headers", (SOUND + "X: x\r\n" * 1000 + "\r\n").encode(), CorruptAnswerError
    yield "a length beyond all", f"{SOUND}Content-Length: {10**30}\r\n\r\n123456789".encode(), CorruptAnswerError
    yield "no content", b"HTTP/1.1 204 No Content\r\n\r\n", CorruptAnswerError
    yield "less than asked", whole(b"12345678"), CorruptAnswerError
    yield "more than asked", whole(b"1234567890"), CorruptAnswerError
    yield "less than said", whole(b"123456789")[:-1], CorruptAnswerError
    yield "no body", whole(b"123456789")[:-9], CorruptAnswerError
    yield "continue without an end", b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000, StoreUnavailableError


@pytest.mark.parametrize(("said", "kind"), [pytest.param(*each[1:], id=each[0]) for each in broken()])
def test_broken_answer_is_our_error_and_the_next_try_succeeds(said: bytes, kind: type[ModelfsError]) -> None:
    def say(sock: socket.socket, asked: Asked) -> bool:
        sock.sendall(whole(b"123456789") if asked.connection else said)
        return asked.connection > 0

    with raw_server(say) as server:
        client = client_of(server)
        refused(lambda: ask(client, 9), kind)
        assert bytes(ask(client, 9).body) == b"123456789"


@pytest.mark.parametrize("cut", [100, 60_000, 699_999])
@pytest.mark.parametrize("breaks", [True, False])
def test_large_body_that_is_cut_is_an_error_wherever_it_is_cut(cut: int, *, breaks: bool) -> None:
    def say(sock: socket.socket, _asked: Asked) -> bool:
        said = whole(BODY)
        sock.sendall(said[: len(said) - len(BODY) + cut])
        if breaks:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, 0, 0, 0, 0, 0, 0, 0]))
        return False

    with raw_server(say) as server, pytest.raises(StoreUnavailableError, match="cannot read 'x'"):
        ask(client_of(server))


@pytest.mark.parametrize("before", [b"", whole(BODY)[:50], whole(BODY)[:300_000]], ids=["nothing", "head", "half"])
def test_store_that_falls_silent_is_given_up(before: bytes) -> None:
    with raw_server(saying(before)) as server:
        refused(lambda: ask(client_of(server, stall_timeout_s=0.2)), StoreUnavailableError)


@pytest.mark.parametrize("before", [b"", whole(BODY)[:60]], ids=["in the head", "in the body"])
def test_answer_that_only_drips_is_given_up(before: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct_client, "_DRIP_BYTES_PER_S", 1e9)
    ended = threading.Event()
    drops = 0

    def drip(sock: socket.socket, _asked: Asked) -> bool:
        nonlocal drops
        sock.sendall(before)
        while drops < 2000:  # 100 s
            sock.sendall(b"H")
            drops += 1
            if ended.wait(0.05):
                break
        return False

    with raw_server(drip) as server:
        try:
            # below 64 KiB the receives end with each drop, and only the deadline ends them all
            refused(lambda: ask(client_of(server, stall_timeout_s=0.5), 700_000), StoreUnavailableError)
            assert drops < 2000
        finally:
            ended.set()


def test_body_of_a_refusal_is_cut_and_is_not_waited_for_for_ever() -> None:
    for said in (whole(b"x" * 10**6, status="500 no"), b"HTTP/1.1 500 no\r\nConnection: close\r\n\r\n" + b"x" * 10**6):
        with raw_server(saying(said, then_close=True)) as server:
            answer = ask(client_of(server))
            assert answer.status == 500
            assert answer.body == b"x" * 64 * 1024
    with raw_server(saying(whole(b"x" * 100, status="500 no")[:-1])) as server:
        refused(lambda: ask(client_of(server, stall_timeout_s=0.2)), StoreUnavailableError)


@pytest.mark.parametrize("path", ["/a b", "/a\r\nX-Injected: 1\r\n", "/a\x00", "/\u00e9"])
def test_path_that_is_no_path_sends_nothing(path: str) -> None:
    with raw_server(saying(whole(b"abc"))) as server:
        client = client_of(server)
        refused(lambda: ask(client, 3, path), CorruptAnswerError)
        assert server.asked == []
        assert bytes(ask(client, 3).body) == b"abc"


@pytest.mark.parametrize("value", ["a\r\nX-Injected: 1", "a\nb", "a\rb", "\u20ac"])
def test_header_that_is_no_header_sends_nothing(value: str) -> None:
    with raw_server(saying(whole(b"abc"))) as server:
        client = client_of(server)
        refused(
            lambda: client.get("/x", {"Host": "h", "If-Match": value}, length=3, what="cannot read 'x'"),
            CorruptAnswerError,
        )
        assert server.asked == []


def test_connections_do_not_pile_up() -> None:
    """Whatever went wrong on them: each that failed is closed, and at most ``most`` wait."""
    closed = threading.Semaphore(0)

    def say(sock: socket.socket, _asked: Asked) -> bool:
        sock.sendall(whole(b"short"))
        sock.recv(1)  # the end, when the client closes
        closed.release()
        return False

    with raw_server(say) as server:
        client = client_of(server)
        for _ in range(20):
            refused(lambda: ask(client, 9), CorruptAnswerError)
        for _ in range(20):
            assert closed.acquire(timeout=30)
        assert client._idle == []


def test_nobody_at_home_is_told_so() -> None:
    with raw_server(saying(b"")) as server:
        client = client_of(server)
    with pytest.raises(StoreUnavailableError, match="cannot be connected to"):
        ask(client)


def kinds(root: type[BaseException]) -> Iterator[type[BaseException]]:
    yield root
    for each in root.__subclasses__():
        yield from kinds(each)


OURS = {"builtins", "http.client", "socket", "ssl", "select", "encodings", "json.decoder", "ipaddress"}
FOUND = sorted({kind for root in HTTP_ERRORS for kind in kinds(root) if kind.__module__ in OURS}, key=str)


@pytest.mark.parametrize("kind", FOUND, ids=lambda k: k.__name__)
def test_every_exception_of_a_request_is_one_of_ours(kind: type[Exception]) -> None:
    error = kind.__new__(kind, SECRET)
    told = from_http(error, what="cannot read 'x'")
    assert isinstance(told, StoreUnavailableError)
    assert str(told).startswith("cannot read 'x': ")
    assert SECRET not in str(told)


def test_http_client_raises_nothing_else() -> None:
    found = {each for each in vars(http.client).values() if isinstance(each, type) and issubclass(each, Exception)}
    assert found
    assert all(issubclass(each, HTTP_ERRORS) for each in found)
