"""HTTP connections of our own: one GET at a time each, received straight into memory that is used again.

Law: one request, one try, one exact answer. Whoever opens a connection here speaks plain HTTP to the store itself:
TLS, proxies and other clouds are for the engines of a library.

Why beside them: a body comes in one system call (MSG_WAITALL) that waits without the GIL, into a buffer that needs no
fresh pages and is not copied again. A cold sequential read through a mount took 0.65 CPU-seconds for each GB where
obstore took 1.15, and half the memory (measured on two cores, where that makes 1.4 GB/s of 0.95).

Rejected: Python's TLS on the same path. It answers record by record, 16 KiB each, and takes the GIL for each.
"""

import http.client
import io
import math
import select
import socket
import struct
import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from modelfs.buffers import Buffers
from modelfs.errors import CorruptAnswerError, ModelfsError, StoreUnavailableError
from modelfs.http_errors import SILENT, UNCONNECTED, UNRESOLVED

HTTP_ERRORS = (OSError, http.client.HTTPException, ValueError)
"""All that a request raises here."""

_ERROR_BYTES = 64 * 1024
_SUCCESS = range(200, 300)
_WHOLE_BYTES = 64 * 1024  # a shorter receive may be of the head, whose end is not known before
_DRIP_BYTES_PER_S = 8 * 1024


class Answer(NamedTuple):
    """``body`` is exactly what was asked for; of an answer that is no success, at most the first 64 KiB."""

    status: int
    headers: http.client.HTTPMessage
    body: memoryview


class DirectClient:
    """A pool of connections to one host. Thread-safe."""

    def __init__(
        self, host: str, port: int, *, connect_timeout_s: float, stall_timeout_s: float, most: int, buffers: Buffers
    ) -> None:
        """Connect to nothing yet. ``most`` connections are kept when they are idle."""
        self._host = host
        self._port = port
        self._connect_timeout_s = connect_timeout_s
        self._stall_timeout_s = stall_timeout_s
        self._most = most
        self._buffers = buffers
        self._lock = threading.Lock()
        self._idle: list[http.client.HTTPConnection] = []

    def get(self, path: str, headers: Mapping[str, str], *, length: int, what: str) -> Answer:
        """Ask once for a body of ``length`` bytes. ``what`` begins the sentence of an error: "cannot read 'x'"."""
        connection = None
        try:
            connection = self._take()
            patience_s = self._stall_timeout_s + length / _DRIP_BYTES_PER_S
            cast("_Wire", connection.sock).deadline_s = time.monotonic() + patience_s
            connection.request("GET", path, headers=dict(headers))
            answer, is_read = self._receive(connection.getresponse(), length, what)
        except HTTP_ERRORS as error:
            if connection is not None:
                connection.close()
            raise from_http(error, what=what) from None  # its text may hold what the store answered
        except BaseException:
            if connection is not None:
                connection.close()
            raise
        if is_read:
            self._give_back(connection)
        else:
            connection.close()  # the rest of this answer would be taken for the next
        return answer

    def _receive(self, response: http.client.HTTPResponse, length: int, what: str) -> tuple[Answer, bool]:
        """Return the answer, and whether it was read to its end."""
        with response:
            answer = self._body(response, length, what)
            return answer, response.isclosed()  # http.client does so at the end of a body

    def _body(self, response: http.client.HTTPResponse, length: int, what: str) -> Answer:
        if response.status not in _SUCCESS:
            return Answer(response.status, response.headers, memoryview(response.read(_ERROR_BYTES)))
        if response.length is not None and response.length != length:
            raise CorruptAnswerError(f"{what}: the answer has {response.length} bytes, and {length} were asked for")
        body = self._buffers.take(length)
        filled = 0
        while filled < length and (received := response.readinto(body[filled:])):  # once, but for chunks
            filled += received
        if filled < length:
            raise CorruptAnswerError(f"{what}: the store's answer is shorter than it said")
        if response.read(1):  # of chunks, and of what ends with its connection
            raise CorruptAnswerError(f"{what}: the store's answer is longer than what was asked for")
        return Answer(response.status, response.headers, body.toreadonly())

    def _take(self) -> http.client.HTTPConnection:
        while True:
            with self._lock:
                if not self._idle:
                    break
                connection = self._idle.pop()
            if not _has_something_to_say(cast("_Wire", connection.sock).socket):
                return connection
            connection.close()  # the store has closed it, or says what nobody asked
        connection = http.client.HTTPConnection(self._host, self._port)
        connection.sock = cast("Any", self._connect())
        return connection

    def _connect(self) -> "_Wire":
        sock = socket.create_connection((self._host, self._port), self._connect_timeout_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # the kernel's own time-out and not Python's, which would make each receive two calls and no receive whole
        sock.settimeout(None)
        seconds, rest = divmod(self._stall_timeout_s, 1)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", int(seconds), int(rest * 1e6)))
        return _Wire(sock)

    def _give_back(self, connection: http.client.HTTPConnection) -> None:
        if connection.sock is None:  # the store has said that it closes it
            return
        with self._lock:
            if len(self._idle) < self._most:
                self._idle.append(connection)
                return
        connection.close()


def _has_something_to_say(sock: socket.socket) -> bool:
    poll = select.poll()  # select knows no descriptor beyond 1023
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


class _Wire:
    """What http.client needs of a socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.deadline_s = math.inf  # of the monotonic clock: an answer that only drips is given up
        self._answers = 0  # that are being read
        self._is_closed = False

    def sendall(self, data: bytes) -> None:
        self.socket.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        self._answers += 1
        return io.BufferedReader(_Incoming(self))

    def close(self) -> None:
        """Close, but for the answer that is being read: http.client calls this as soon as the head says "close"."""
        self._is_closed = True
        if not self._answers:
            self.socket.close()

    def end_answer(self) -> None:
        """Take note that nobody reads an answer any more."""
        self._answers -= 1
        if self._is_closed:
            self.close()


class _Incoming(io.RawIOBase):
    """The receiving end. A large receive waits until all of it is there."""

    def __init__(self, wire: _Wire) -> None:
        self._wire = wire

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._wire.end_answer()

    def readinto(self, buffer: Any) -> int:
        if time.monotonic() > self._wire.deadline_s:
            raise TimeoutError
        length = len(buffer)
        flags = socket.MSG_WAITALL if length >= _WHOLE_BYTES else 0
        try:
            return self._wire.socket.recv_into(buffer, length, flags)
        except BlockingIOError:  # SO_RCVTIMEO has passed
            raise TimeoutError from None


def from_http(error: Exception, *, what: str) -> ModelfsError:
    """Return the error for what a request raised. Nothing of its text is quoted."""
    kind, reason = next((kind, reason) for types, kind, reason in _HTTP if isinstance(error, types))
    return kind(f"{what}: {reason}")


_HTTP: tuple[tuple[tuple[type[Exception], ...], type[ModelfsError], str], ...] = (
    # the first row whose types fit
    ((socket.gaierror,), StoreUnavailableError, UNRESOLVED),
    ((TimeoutError, BlockingIOError), StoreUnavailableError, SILENT),
    ((ConnectionRefusedError,), StoreUnavailableError, UNCONNECTED),
    ((ConnectionError,), StoreUnavailableError, "the store broke the connection"),  # RemoteDisconnected is one
    (
        (http.client.HTTPException, ValueError),
        CorruptAnswerError,
        "the store's answer is broken, or not HTTP; check that host and port are the store's",
    ),
    ((Exception,), StoreUnavailableError, "the request failed on its way"),
)
