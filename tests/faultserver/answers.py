"""What is sent back: an answer with its body, and errors as S3 and GCS write them (the same XML)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate
from http import HTTPStatus

from faultserver.objects import Body

_CODES = {
    400: "InvalidRequest",
    403: "AccessDenied",
    404: "NoSuchKey",
    408: "RequestTimeout",
    412: "PreconditionFailed",
    416: "InvalidRange",
    429: "TooManyRequests",
    500: "InternalError",
    501: "NotImplemented",
    503: "SlowDown",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, headers, and ``[offset, offset + length)`` of a body."""

    status: int
    headers: Sequence[tuple[str, str]] = ()
    body: Body = b""
    offset: int = 0
    length: int = 0

    def head(self, *, keep_alive: bool, number: int) -> bytes:
        """Return the status line and the headers, up to the empty line."""
        lines = [
            f"HTTP/1.1 {self.status} {reason(self.status)}",
            f"x-amz-request-id: {number:016X}",
            f"Date: {formatdate(usegmt=True)}",
            "Server: faultserver",
            *(f"{name}: {value}" for name, value in self.headers),
        ]
        if self.status not in {204, 304}:
            lines.append(f"Content-Length: {self.length}")
        if not keep_alive:
            lines.append("Connection: close")
        return "\r\n".join([*lines, "\r\n"]).encode("latin-1")


class ApiError(Exception):
    """A request that the store refuses."""

    def __init__(self, status: int, code: str, message: str, *headers: tuple[str, str]) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers

    def answer(self, target: str) -> Answer:
        """Return the error as XML, naming the resource as it was asked for."""
        return xml(
            f"<Error><Code>{self.code}</Code><Message>{escaped(str(self))}</Message>"
            f"<Resource>{escaped(target.partition('?')[0])}</Resource><RequestId>0</RequestId></Error>",
            status=self.status,
            headers=self.headers,
        )


def status_error(status: int, code: str | None, *headers: tuple[str, str]) -> ApiError:
    """Return the error of a bare status, with the code that S3 gives with it unless another is named."""
    return ApiError(
        status, code or _CODES.get(status, "InternalError"), f"{reason(status)} (a scripted fault)", *headers
    )


def xml(document: str, *, status: int = 200, headers: Sequence[tuple[str, str]] = ()) -> Answer:
    """Return an XML document as an answer."""
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n{document}'.encode("utf-8", "replace")
    return Answer(status, (("Content-Type", "application/xml"), *headers), body, 0, len(body))


def escaped(text: str) -> str:
    r"""Escape text for XML as S3 does: control characters become references, of which XML 1.0 forbids most.

    That is why clients ask for ``encoding-type=url``.

    >>> escaped("a<b>&\n\x01")
    'a&lt;b&gt;&amp;&#10;&#1;'
    """
    plain = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    if plain.isprintable():
        return plain
    return "".join(f"&#{ord(each)};" if each < " " or each == "\x7f" else each for each in plain)


def reason(status: int) -> str:
    """Return the words behind a status."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def timestamp(mtime_ns: int) -> str:
    """Return ISO 8601 with milliseconds, which is what listings tell (HEAD tells whole seconds)."""
    whole = datetime.fromtimestamp(mtime_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{mtime_ns // 10**6 % 1000:03d}Z"
