"""Listings of S3, one ListObjectsV2 request for each page.

Law: a page tells exactly what the store told, or raises. A truncated, foreign or senseless answer is a
CorruptAnswerError and never a short page.

Not obstore's own ``list``, because (0.12, measured) it fails as a whole when one key holds "//" or a "." segment, takes
the slash off folder markers and collapses leading slashes, where requirements R2 and R17 ask for each key as it is.
Signed by botocore's ``S3SigV4Auth``, without its session, which would cost 0.3 s more. Keys are asked for in URL
encoding, since XML 1.0 cannot hold control characters; S3 encodes as a form does, so "+" is a blank.
"""

import datetime as dt
import re
import ssl
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote_plus, urlencode

import urllib3

from modelfs import __version__
from modelfs.blocks import ObjectInfo
from modelfs.credentials import KeySource, S3Keys
from modelfs.errors import CorruptAnswerError, UsageError
from modelfs.s3_errors import URLLIB3_ERRORS, Refusal, from_refusal, from_urllib3
from modelfs.store import Page

_PAGE_KEYS = 1000
"""The most that S3 gives at once."""

_BODY_BYTES = 16 * 1024 * 1024
"""More than 1,000 keys can be: 1,024 bytes each, three characters for a byte, and some 400 bytes of fields: 3.5 MB."""

_ERROR_BYTES = 64 * 1024
_PIECE_BYTES = 64 * 1024
_DRIP_BYTES_PER_S = 1024
_DATE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(?:Z|\+00:00)", re.ASCII)
_SIZE = re.compile(r"[0-9]{1,18}")  # what fits the 63 bits of a file's size; an exabyte
_EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001  both ends of the difference are in UTC, and naive is faster


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where a bucket is: ``url`` is its address without a slash at the end, ``display`` is for messages."""

    url: str
    region: str
    prefix: str
    display: str


class Lister:
    """Lists one prefix of one bucket. Thread-safe."""

    def __init__(
        self,
        bucket: Bucket,
        *,
        keys: KeySource | None,
        connect_timeout_s: float,
        stall_timeout_s: float,
        ca_bundle: Path | None,
    ) -> None:
        """Connect to nothing yet. ``keys`` None is anonymous."""
        self._bucket = bucket
        self._keys = keys
        self._stall_timeout_s = stall_timeout_s
        # no proxy and no retry of urllib3's own; the read time-out is for each receive, so it is lack of progress
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=connect_timeout_s, read=stall_timeout_s),
            retries=False,
            maxsize=4,  # a refresh, and looks at single models beside it
            ssl_context=_trust(ca_bundle) if bucket.url.startswith("https:") else None,
        )

    def page(self, token: str | None) -> Page:
        """Ask for one page; see ``Store.list_page``. The keys are relative to the prefix, else as S3 has them."""
        what = f"cannot list {self._bucket.display}"
        prefix = f"{self._bucket.prefix}/" if self._bucket.prefix else ""
        query = {"encoding-type": "url", "list-type": "2", "max-keys": str(_PAGE_KEYS), "prefix": prefix}
        if token is not None:
            query["continuation-token"] = token
        # sorted, and %20 rather than "+" for a blank, as the signature asks for
        url = f"{self._bucket.url}/?{urlencode(sorted(query.items()), quote_via=quote, safe='')}"
        body = self._get(url, what)
        try:
            page = parse_page(body, prefix=prefix)
        except _SenselessError as error:
            raise CorruptAnswerError(f"{what}: {error}; is the URL an S3 endpoint's?") from error
        if page.next_token is not None and page.next_token == token:
            raise CorruptAnswerError(f"{what}: the store gives the same page for ever")
        return page

    def _get(self, url: str, what: str) -> bytes:
        headers = {"User-Agent": f"modelfs/{__version__}"}
        if self._keys is not None:
            headers = _signed(url, headers, self._keys(), self._bucket.region)
        try:
            answer = self._pool.request("GET", url, headers=headers, redirect=False, preload_content=False)
            try:
                body = self._body(answer, most=_BODY_BYTES if answer.status == 200 else _ERROR_BYTES)  # noqa: PLR2004
            except BaseException:
                answer.close()
                raise
        except URLLIB3_ERRORS as error:
            raise from_urllib3(error, what=what) from error
        if answer.status != 200:  # noqa: PLR2004
            answer.close()  # what is left of it would be taken for the next answer
            region = answer.headers.get("x-amz-bucket-region", "")
            raise from_refusal(Refusal.of(answer.status, body.decode("utf-8", "replace"), region=region), what=what)
        if len(body) > _BODY_BYTES:
            answer.close()
            raise CorruptAnswerError(f"{what}: the store's answer is longer than any listing")
        answer.release_conn()
        return body

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


def _signed(url: str, headers: dict[str, str], keys: S3Keys, region: str) -> dict[str, str]:
    from botocore.auth import S3SigV4Auth  # noqa: PLC0415  0.2 s, which anonymous access should not cost
    from botocore.awsrequest import AWSRequest  # noqa: PLC0415
    from botocore.credentials import Credentials  # noqa: PLC0415

    request = AWSRequest(method="GET", url=url, headers=headers)
    credentials = Credentials(keys.access_key_id, keys.secret_access_key, keys.session_token)
    S3SigV4Auth(credentials, "s3", region).add_auth(request)
    return dict(request.headers.items())


def _trust(ca_bundle: Path | None) -> ssl.SSLContext:
    """Trust the system's authorities, and those of ``ca_bundle``."""
    context = ssl.create_default_context()
    if ca_bundle is not None:
        try:
            context.load_verify_locations(cafile=ca_bundle)
        except OSError as error:  # ssl.SSLError is one
            raise UsageError(f"AWS_CA_BUNDLE={ca_bundle} holds no certificates that can be read: {error}") from error
    return context


class _SenselessError(Exception):
    """An answer is not a page of a listing. The message completes "the store's answer …"."""


class _Names(NamedTuple):
    """The elements' names, with the namespace of the answer, which some stores leave out."""

    contents: str
    key: str
    size: str
    etag: str
    last_modified: str


def parse_page(body: bytes, *, prefix: str) -> Page:
    """Return the page that a ListObjectsV2 answer tells. Raises _SenselessError for anything else."""
    root = _root(body)
    namespace = root.tag[: root.tag.rfind("}") + 1]
    if root.tag != f"{namespace}ListBucketResult":
        raise _SenselessError("the store's answer is not a listing")
    truncated = root.findtext(f"{namespace}IsTruncated")
    token = root.findtext(f"{namespace}NextContinuationToken")
    if truncated not in {"true", "false"} or (truncated == "true" and not token):
        raise _SenselessError("the store's answer does not tell whether and how the listing goes on")
    encoded = root.findtext(f"{namespace}EncodingType") == "url"
    names = _Names(*(namespace + name for name in ("Contents", "Key", "Size", "ETag", "LastModified")))
    objects = list(_objects(root, names, prefix=prefix, encoded=encoded))
    return Page(objects, token if truncated == "true" else None)


def _root(body: bytes) -> Any:
    # Entities are how XML attacks its reader. No listing has any, nor a document type, which alone can define them.
    # They cannot hide from this search in another encoding: the parser is told UTF-8, and UTF-16, which it takes
    # nevertheless (seen), is full of NULs.
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body or b"\0" in body:
        raise _SenselessError("the store's answer is not a listing")
    try:
        return ET.fromstring(body, ET.XMLParser(encoding="utf-8"))  # noqa: S314  see above
    except (ET.ParseError, ValueError, LookupError) as error:
        raise _SenselessError(f"the store's answer is not whole XML ({error})") from error


def _objects(root: Any, names: _Names, *, prefix: str, encoded: bool) -> Iterator[ObjectInfo]:
    for entry in root.iterfind(names.contents):
        key = entry.findtext(names.key)
        size = entry.findtext(names.size)
        etag = entry.findtext(names.etag)
        if not key or not etag or not size or not _SIZE.fullmatch(size):
            raise _SenselessError("an entry of the store's listing has no key, size or ETag")
        if encoded:
            # a key that is no UTF-8 keeps its bytes as surrogates, so that one such key does not fail the listing
            key = unquote_plus(key, errors="surrogateescape")
        if not key.startswith(prefix):
            raise _SenselessError("the store lists keys outside the prefix")
        if len(key) == len(prefix):
            continue  # the marker of the repository's own folder
        yield ObjectInfo(
            key[len(prefix) :], int(size), quoted(etag), parse_date_ns(entry.findtext(names.last_modified) or "")
        )


def quoted(etag: str) -> str:
    """Return an ETag as RFC 9110 has it: some stores leave the quotes out, in listings or in headers.

    >>> quoted("abc"), quoted('"abc"')
    ('"abc"', '"abc"')
    """
    return etag if etag.startswith(('"', 'W/"')) else f'"{etag}"'


def parse_date_ns(text: str) -> int:
    """Return an ISO 8601 date in UTC as nanoseconds since the epoch, exactly. Raises _SenselessError.

    >>> parse_date_ns("2009-10-12T17:50:30.123Z")
    1255369830123000000
    """
    found = _DATE.fullmatch(text)
    if not found:
        raise _SenselessError("an entry of the store's listing has no date")
    try:
        since = dt.datetime.fromisoformat(found[1]) - _EPOCH
    except ValueError as error:
        raise _SenselessError("an entry of the store's listing has no date") from error
    return (since.days * 86_400 + since.seconds) * 10**9 + int((found[2] or "").ljust(9, "0"))
