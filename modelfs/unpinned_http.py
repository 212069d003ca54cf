"""What fsspec's driver for HTTP is held to: where its requests may go, and what an answer must be.

Law: no request goes to another host than the location's own, whatever a redirect says: it would see what this machine
can reach, and what comes from there is not what was asked for. An answer with bytes is the range that was asked for, of
the version that was listed, as far as its headers tell.

fsspec's driver follows redirects wherever they lead, and takes any answer below 400 for the bytes. Both are mended in a
middleware of aiohttp, which sees each request before a connection is made for it, and each answer before its body.
Checking a redirect's target when it is received was rejected: it would be parsed once by us and once by aiohttp.
"""

import base64
import re
import ssl
import urllib.parse
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import aiohttp
import yarl

from modelfs.errors import CorruptAnswerError, StoreRefusedError, VersionGoneError
from modelfs.transport import user_agent

_OK, _PARTIAL = 200, 206
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LONGEST_S = 2048.0
"""16 MiB, more than any read, at 8 KiB/s. Whoever asked has given up by then; this frees the thread of an answer that
only drips."""

_DEFAULT_PORTS = {"http": 80, "https": 443}


class Expected(NamedTuple):
    """What the next answer must be: a range of one version of one object. Empty texts are unknown."""

    what: str
    offset: int
    length: int
    size: int
    etag: str = ""
    modified_ns: int | None = None


class Guard:
    """Stands between one session and its server. Not thread-safe: ``expected`` is of the one read that goes on."""

    def __init__(self, home: str) -> None:
        """Let requests go to the host of ``home`` alone."""
        self._home = yarl.URL(home).origin()  # without user and password
        self.expected: Expected | None = None

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Send ``request`` on, and look at the answer."""
        if not self._is_home(request.url):
            raise StoreRefusedError(
                f"{self._home} redirects to {request.url.scheme}://{request.url.host},"
                " and no redirect to another host or port is followed; if that is where the models are, mount its URL"
            )
        answer = await handler(request)
        try:
            self._check(answer)
        except BaseException:
            answer.close()
            raise
        return answer

    def _is_home(self, url: yarl.URL) -> bool:
        """Tell whether ``url`` is where we are at home: the same origin, or its https:// in place of its http://."""
        home = self._home
        if url.host != home.host:
            return False
        if (url.scheme, url.port) == (home.scheme, home.port):
            return True
        is_upgrade = (home.scheme, url.scheme) == ("http", "https")
        return is_upgrade and (home.port, url.port) == (_DEFAULT_PORTS["http"], _DEFAULT_PORTS["https"])

    def _check(self, answer: aiohttp.ClientResponse) -> None:
        is_redirect = answer.status in _REDIRECTS and ("Location" in answer.headers or "URI" in answer.headers)
        if is_redirect or answer.status >= 400:  # noqa: PLR2004  the driver raises for these, as it should
            return
        if answer.status not in {_OK, _PARTIAL}:
            raise StoreRefusedError(f"the server answers with HTTP status {answer.status}, which is no file's")
        if self.expected is not None:
            _check_bytes(answer, self.expected)


def _check_bytes(answer: aiohttp.ClientResponse, expected: Expected) -> None:
    headers, what = answer.headers, expected.what
    if headers.get("Content-Encoding", "identity").lower() not in {"", "identity"}:
        raise StoreRefusedError(f"{what}: the server answers compressed, although it was asked not to")
    etag = headers.get("ETag", "")
    if etag and expected.etag and etag != expected.etag:
        raise VersionGoneError(f"{what}: this version was replaced")
    modified_ns = http_time_ns(headers.get("Last-Modified", ""))
    if None not in {modified_ns, expected.modified_ns} and modified_ns != expected.modified_ns:
        raise VersionGoneError(f"{what}: this version was replaced")
    length, size = expected.length, expected.size
    if answer.status == _PARTIAL:
        said = re.fullmatch(r"bytes ([0-9]+)-([0-9]+)/([0-9]+|\*)", headers.get("Content-Range", ""))
        if not said or (int(said[1]), int(said[2])) != (expected.offset, expected.offset + length - 1):
            raise CorruptAnswerError(f"{what}: the server's answer is not the range that was asked for")
        if said[3] not in {"*", str(size)}:
            raise VersionGoneError(f"{what}: this version was replaced by one of another size")
    elif (expected.offset, length) != (0, size):
        raise StoreRefusedError(f"{what}: the server does not answer ranges, which a mount cannot do without")
    if headers.get("Content-Length", str(length)) != str(length):
        raise VersionGoneError(f"{what}: this version was replaced by one of another size")


def http_time_ns(text: str) -> int | None:
    """Return what a date of HTTP means, in nanoseconds since the epoch; None where it is none.

    >>> http_time_ns("Thu, 01 Jan 1970 00:00:02 GMT"), http_time_ns("soon")
    (2000000000, None)
    """
    try:
        return round(parsedate_to_datetime(text).timestamp()) * 1_000_000_000
    except (ValueError, OverflowError):
        return None


def options(
    url: str,
    guard: Guard,
    *,
    connect_timeout_s: float,
    stall_timeout_s: float,
    trusted: ssl.SSLContext | None,
    proxy: str | None,
) -> dict[str, Any]:
    """Return how fsspec's HTTPFileSystem is to be made for ``url``: it speaks through ``guard`` alone.

    What stands before the host in ``url`` becomes a header, and is in no URL of a request.
    """
    place = urllib.parse.urlsplit(url)
    user, password = (urllib.parse.unquote_to_bytes(part or "") for part in (place.username, place.password))
    login = {"Authorization": f"Basic {base64.b64encode(user + b':' + password).decode()}"} if user or password else {}

    async def session(**_: Any) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trusted if trusted is not None else True),
            cookie_jar=aiohttp.DummyCookieJar(),
            # what is stored, not what is packed for the way: ranges count stored bytes
            headers={**user_agent(), "Accept-Encoding": "identity", **login},
            middlewares=(guard,),
            proxy=proxy,
            timeout=aiohttp.ClientTimeout(
                total=stall_timeout_s + _LONGEST_S, sock_connect=connect_timeout_s, sock_read=stall_timeout_s
            ),
        )

    make: Callable[..., Awaitable[aiohttp.ClientSession]] = session
    # what fsspec's own configuration adds (headers, for instance) must not turn off what the guard relies on
    return {"get_client": make, "simple_links": False, "allow_redirects": True}
