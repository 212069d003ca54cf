"""A server that says what a test tells it to, byte by byte: for what no HTTP server would say.

Law: one thread for each connection, all ended with the server. A script is given the socket, what was asked, and which
connection and which request on it this is, both from 0; it says what it likes and returns whether to hear on.
"""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple


class Asked(NamedTuple):
    """One request: its head, and where it came."""

    head: bytes
    connection: int
    request: int


Script = Callable[[socket.socket, Asked], bool]


@dataclass
class RawServer:
    """What a test knows of the server: its port, and what was asked so far."""

    port: int
    asked: list[Asked] = field(default_factory=list)

    @property
    def connections(self) -> int:
        """Return on how many connections something was asked."""
        return len({each.connection for each in self.asked})


def whole(body: bytes, *headers: str, status: str = "206 Partial Content", version: str = "HTTP/1.1") -> bytes:
    """Return an answer with its length."""
    lines = [f"{version} {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def saying(*pieces: bytes, then_close: bool = False) -> Script:
    """Return a script that answers everything with ``pieces``."""

    def say(sock: socket.socket, _asked: Asked) -> bool:
        for piece in pieces:
            sock.sendall(piece)
        return not then_close

    return say


@contextlib.contextmanager
def raw_server(script: Script) -> Iterator[RawServer]:
    """Run ``script`` for each request on loopback."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    server = RawServer(listener.getsockname()[1])
    sockets: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def serve(sock: socket.socket, connection: int) -> None:
        with contextlib.suppress(OSError), sock, sock.makefile("rb") as incoming:
            for request in range(1000):
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    if not (line := incoming.readline()):
                        return
                    head += line
                server.asked.append(asked := Asked(head, connection, request))
                if not script(sock, asked):
                    sock.shutdown(socket.SHUT_RDWR)
                    return

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listener.accept()
                sockets.append(sock)
                thread = threading.Thread(target=serve, args=(sock, len(sockets) - 1), daemon=True)
                threads.append(thread)
                thread.start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield server
    finally:
        for each in (listener, *sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in (acceptor, *threads):
            thread.join(10)
        listener.close()
