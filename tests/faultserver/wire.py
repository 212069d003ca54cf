"""HTTP/1.1 as far as object stores use it: reading requests off a socket.

Law: whatever bytes a client sends, reading ends in a Request, in BadRequestError, or in None (the client is gone); and
a path is taken as it was sent, never normalised, because ``a//b``, ``.`` and ``..`` are keys like any other.
Written by hand because http.server decodes and normalises paths, costs a millisecond a request, and hides the socket
that sendfile and the faults need.
"""

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote_to_bytes

_MOST_HEAD_BYTES = 64 * 1024
_MOST_BODY_BYTES = 1 << 30  # a put is held in memory; larger content is put as a file, from Python
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LENGTH = re.compile(r"[0-9]{1,18}")


class BadRequestError(Exception):
    """The bytes are not a request that this server can answer; the connection ends with this status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Request:
    """One request. ``target`` is as sent; ``bucket`` and ``key`` are decoded; header names are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    bucket: str
    key: str
    query: Mapping[str, str]
    keep_alive: bool


class Incoming:
    """The reading side of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = bytearray()

    def read_request(self) -> Request | None:
        """Return the next request, or None when the client has closed."""
        head = self._read_head()
        if head is None:
            return None
        method, target, version, headers = _parse_head(head)
        bucket, key, query = _parse_target(target)
        body = self._read_body(headers)
        if body is None:
            return None
        connection = headers.get("connection", "").lower()
        keep_alive = "close" not in connection if version == "HTTP/1.1" else "keep-alive" in connection
        return Request(method, target, headers, body, bucket, key, query, keep_alive)

    def _read_head(self) -> str | None:
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > _MOST_HEAD_BYTES:
                raise BadRequestError(431, "The request's header is too long")
            if not self._receive():
                return None
        head = self._buffer[:end].decode("latin-1")
        del self._buffer[: end + 4]
        return head

    def _read_body(self, headers: Mapping[str, str]) -> bytes | None:
        if "transfer-encoding" in headers:
            raise BadRequestError(501, "A header you provided implies functionality that is not implemented")  # as S3
        sent = headers.get("content-length", "0")
        if not _LENGTH.fullmatch(sent):
            raise BadRequestError(400, "The Content-Length is not a number")
        length = int(sent)
        if length > _MOST_BODY_BYTES:
            raise BadRequestError(413, "The body is too long")
        if length and headers.get("expect", "").lower() == "100-continue":
            self._sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        while len(self._buffer) < length:
            if not self._receive():
                return None
        body = bytes(self._buffer[:length])
        del self._buffer[:length]
        return body

    def _receive(self) -> bool:
        received = self._sock.recv(256 * 1024)
        self._buffer += received
        return bool(received)


def _parse_head(head: str) -> tuple[str, str, str, dict[str, str]]:
    first, *lines = head.lstrip("\r\n").split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3 or not _TOKEN.fullmatch(parts[0]):
        raise BadRequestError(400, "The request line is malformed")
    method, target, version = parts
    if version not in {"HTTP/1.1", "HTTP/1.0"}:
        raise BadRequestError(505, "Only HTTP/1.1 is spoken here")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not _TOKEN.fullmatch(name):
            raise BadRequestError(400, "A header is malformed")
        headers[name.lower()] = value.strip(" \t")
    return method, target, version, headers


def _parse_target(target: str) -> tuple[str, str, dict[str, str]]:
    if not target.startswith("/"):
        raise BadRequestError(400, "Only paths are asked for here")
    path, _, query = target.partition("?")
    bucket, _, key = path[1:].partition("/")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=100)
        return _decoded(bucket), _decoded(key), dict(pairs)
    except ValueError as error:
        raise BadRequestError(400, "Couldn't parse the specified URI") from error


def _decoded(quoted: str) -> str:
    return unquote_to_bytes(quoted.encode("latin-1")).decode()
