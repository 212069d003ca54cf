"""Plain GETs over urllib3, which listings are asked for with, and the sending of a small object.

Law: one request, one try, one bounded answer. What urllib3 raises becomes ours; what a status means is for the caller,
who knows the store's dialect.

Redirects are not followed: the headers hold credentials, which another host must not see.
"""

import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import urllib3

from modelfs import __version__
from modelfs.errors import CorruptAnswerError, UsageError
from modelfs.http_errors import URLLIB3_ERRORS, from_urllib3

OK = 200
CREATED = 201

_BODY_BYTES = 16 * 1024 * 1024
"""More than 1,000 keys can be: 1,024 bytes each, three characters for a byte, and some 400 bytes of fields: 3.5 MB."""

_ERROR_BYTES = 64 * 1024
_PIECE_BYTES = 64 * 1024
_DRIP_BYTES_PER_S = 1024


@dataclass(frozen=True, slots=True)
class Link:
    """How a store is spoken to, the same for whoever does.

    ``stall_timeout_s`` is how long an answer may make no progress. ``proxy`` is
    "scheme://user:password@host:port", the user where there is one. ``headers`` go with every request. Without
    ``is_secure`` (TLS) ``ca_bundle`` means nothing.
    """

    host: str
    is_secure: bool
    connect_timeout_s: float
    stall_timeout_s: float
    max_connections: int
    ca_bundle: Path | None = None
    proxy: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)


class Reply(NamedTuple):
    """A whole answer; of one that is no success, at most the first 64 KiB of the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport:
    """A pool of connections to one store. Thread-safe."""

    def __init__(self, link: Link) -> None:
        """Connect to nothing yet. Raises UsageError for an unreadable ``ca_bundle``."""
        self._stall_timeout_s = link.stall_timeout_s
        # no retry of urllib3's own; the read time-out is for each receive, so it is lack of progress
        options: dict[str, Any] = {
            "timeout": urllib3.Timeout(connect=link.connect_timeout_s, read=link.stall_timeout_s),
            "retries": False,
            "maxsize": 16,  # a refresh of some spans side by side, and looks at single models beside it
            "ssl_context": trust(link.ca_bundle) if link.is_secure else None,
        }
        self._pool = urllib3.PoolManager(**options) if link.proxy is None else _through(link.proxy, options)

    def get(self, url: str, headers: Mapping[str, str], *, what: str) -> Reply:
        """Ask once. ``what`` begins the sentence of an error: "cannot list s3://b"."""
        return self._ask("GET", url, headers, None, what)

    def send(self, method: str, url: str, headers: Mapping[str, str], data: bytes, *, what: str) -> Reply:
        """Send ``data`` once, by PUT or POST. A success is OK or CREATED, as the store has it."""
        return self._ask(method, url, headers, data, what)

    def _ask(self, method: str, url: str, headers: Mapping[str, str], data: bytes | None, what: str) -> Reply:
        try:
            answer = self._pool.request(method, url, headers=headers, body=data, redirect=False, preload_content=False)
            is_success = answer.status in {OK, CREATED}
            try:
                body = self._body(answer, most=_BODY_BYTES if is_success else _ERROR_BYTES)
            except BaseException:
                answer.close()
                raise
        except URLLIB3_ERRORS as error:
            raise from_urllib3(error, what=what) from error
        if not is_success:
            answer.close()  # what is left of it would be taken for the next answer
            return Reply(answer.status, answer.headers, body)
        if len(body) > _BODY_BYTES:
            answer.close()
            raise CorruptAnswerError(f"{what}: the store's answer is longer than any listing")
        answer.release_conn()
        return Reply(answer.status, answer.headers, body)

    def _body(self, answer: urllib3.BaseHTTPResponse, *, most: int) -> bytes:
        """Return the body, up to a little more than ``most``. An answer that only drips is given up as a silent one.

        Its thread would be one of the few that list, long after whoever asked has stopped waiting.
        """
        body = bytearray()
        began = time.monotonic()
        while len(body) <= most and (piece := answer.read1(_PIECE_BYTES)):
            body += piece
            passed_s = time.monotonic() - began
            if passed_s > self._stall_timeout_s and len(body) < passed_s * _DRIP_BYTES_PER_S:
                raise urllib3.exceptions.TimeoutError("the answer only drips")
        return bytes(body)


def user_agent() -> dict[str, str]:
    """Return the header that every request has."""
    return {"User-Agent": f"modelfs/{__version__}"}


def _through(proxy: str, options: dict[str, Any]) -> urllib3.ProxyManager:
    parts = urllib3.util.parse_url(proxy)
    # urllib3 sends no user of a proxy's URL by itself
    user = unquote(parts.auth) if parts.auth else None
    return urllib3.ProxyManager(proxy, proxy_headers=urllib3.make_headers(proxy_basic_auth=user), **options)


def trust(ca_bundle: Path | None) -> ssl.SSLContext:
    """Trust the system's authorities, and those of ``ca_bundle``. Raises UsageError where that cannot be read."""
    context = ssl.create_default_context()
    if ca_bundle is not None:
        try:
            context.load_verify_locations(cafile=ca_bundle)
        except OSError as error:  # ssl.SSLError is one
            advice = "check --ca-bundle or AWS_CA_BUNDLE"
            raise UsageError(f"the CA bundle {ca_bundle} holds no readable certificates ({error}); {advice}") from error
    return context
