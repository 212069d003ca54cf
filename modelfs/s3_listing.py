"""Listings of S3, one ListObjectsV2 request for each page; and of uploads in parts, one ListMultipartUploads.

Law: a page tells exactly what the store told, or raises. A truncated, foreign or senseless answer is a
CorruptAnswerError and never a short page.

Not obstore's own ``list``, because (0.12, measured) it fails as a whole when one key holds "//" or a "." segment, takes
the slash off folder markers and collapses leading slashes, where requirements R2 and R17 ask for each key as it is.
Signed by botocore's ``S3SigV4Auth``, without its session, which would cost 0.3 s more. Keys are asked for in URL
encoding, since XML 1.0 cannot hold control characters; S3 encodes as a form does, so "+" is a blank.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote_plus, urlencode

from modelfs.answers import SenselessError, parse_date_ns, relative, xml_root
from modelfs.blocks import ObjectInfo
from modelfs.credentials import KeySource, S3Keys
from modelfs.errors import CorruptAnswerError
from modelfs.s3_errors import Refusal, from_refusal
from modelfs.spans import Cut, cut_off
from modelfs.store import Page, UploadPage
from modelfs.transport import OK, Link, Transport, user_agent
from modelfs.uploads import Upload

_PAGE_KEYS = 1000
"""The most that S3 gives at once."""

_SIZE = re.compile(r"[0-9]{1,18}")  # what fits the 63 bits of a file's size; an exabyte


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
        link: Link,
    ) -> None:
        """Connect to nothing yet. ``keys`` None is anonymous. The headers of ``link`` are signed."""
        self._bucket = bucket
        self._keys = keys
        self._headers = {**user_agent(), **link.headers}
        self._transport = Transport(link)

    def page(
        self,
        token: str | None,
        folder: str = "",
        *,
        delimiter: str = "",
        begin: Cut | None = None,
        end: Cut | None = None,
    ) -> Page:
        """Ask for one page; see ``Store.list_page``. The keys are relative to the prefix, else as S3 has them.

        With a ``delimiter`` see ``Levelled``. With ``begin`` or ``end`` see ``Splittable``: S3 begins a listing
        anywhere, and where it ends is ours to see.
        """
        what = f"cannot list {self._bucket.display}"
        prefix = f"{self._bucket.prefix}/" if self._bucket.prefix else ""
        query = {"encoding-type": "url", "list-type": "2", "max-keys": str(_PAGE_KEYS), "prefix": prefix + folder}
        if delimiter:
            query["delimiter"] = delimiter
        if token is not None:
            query["continuation-token"] = token
        elif begin is not None:
            query["start-after"] = prefix + begin.last
        body = self._get(query, what)
        try:
            page = parse_page(body, prefix=prefix, folder=folder)
        except SenselessError as error:
            raise CorruptAnswerError(f"{what}: {error}; is the URL an S3 endpoint's?") from error
        if page.next_token is not None and page.next_token == token:
            raise CorruptAnswerError(f"{what}: the store gives the same page for ever")
        if end is not None:
            objects, is_end = cut_off(page.objects, end)
            return Page(objects, None if is_end else page.next_token)
        return page

    def uploads_page(self, token: str | None, folder: str = "") -> UploadPage:
        """Ask for one page of uploads; see ``Uploading``. It takes a permission of its own."""
        what = f"cannot list the uploads in {self._bucket.display}"
        prefix = f"{self._bucket.prefix}/" if self._bucket.prefix else ""
        query = {"uploads": "", "encoding-type": "url", "max-uploads": str(_PAGE_KEYS), "prefix": prefix + folder}
        if token is not None:
            query |= dict(parse_qsl(token, keep_blank_values=True, errors="surrogateescape"))
        body = self._get(query, what)
        try:
            return parse_uploads_page(body, prefix=prefix, folder=folder)
        except SenselessError as error:
            raise CorruptAnswerError(f"{what}: {error}; is the URL an S3 endpoint's?") from error

    def _get(self, query: Mapping[str, str], what: str) -> bytes:
        # sorted, and %20 rather than "+" for a blank, as the signature asks for
        asked = urlencode(sorted(query.items()), quote_via=quote, safe="", errors="surrogateescape")
        url = f"{self._bucket.url}/?{asked}"
        headers = self._headers
        if self._keys is not None:
            headers = signed(url, headers, self._keys(), self._bucket.region)
        reply = self._transport.get(url, headers, what=what)
        if reply.status != OK:
            region = reply.headers.get("x-amz-bucket-region", "")
            raise from_refusal(
                Refusal.of(reply.status, reply.body.decode("utf-8", "replace"), region=region), what=what
            )
        return reply.body


def signed(
    url: str, headers: Mapping[str, str], keys: S3Keys, region: str, *, method: str = "GET", data: bytes = b""
) -> dict[str, str]:
    """Return the headers of a request, signed: ``headers``, and those of the signature. ``data`` is its body."""
    from botocore.auth import S3SigV4Auth  # noqa: PLC0415  0.2 s, which anonymous access should not cost
    from botocore.awsrequest import AWSRequest  # noqa: PLC0415  only when it is needed
    from botocore.credentials import Credentials  # noqa: PLC0415  only when it is needed

    request = AWSRequest(method=method, url=url, data=data, headers=dict(headers))
    credentials = Credentials(keys.access_key_id, keys.secret_access_key, keys.session_token)
    S3SigV4Auth(credentials, "s3", region).add_auth(request)
    return dict(request.headers.items())


class _Names(NamedTuple):
    """The elements' names, with the namespace of the answer, which some stores leave out."""

    contents: str
    key: str
    size: str
    etag: str
    last_modified: str


def parse_page(body: bytes, *, prefix: str, folder: str = "") -> Page:
    """Return the page that a ListObjectsV2 answer tells. Raises SenselessError for anything else."""
    root = xml_root(body)
    namespace = root.tag[: root.tag.rfind("}") + 1]
    if root.tag != f"{namespace}ListBucketResult":
        raise SenselessError("the store's answer is not a listing")
    truncated = root.findtext(f"{namespace}IsTruncated")
    token = root.findtext(f"{namespace}NextContinuationToken")
    if truncated not in {"true", "false"} or (truncated == "true" and not token):
        raise SenselessError("the store's answer does not tell whether and how the listing goes on")
    encoded = root.findtext(f"{namespace}EncodingType") == "url"
    names = _Names(*(namespace + name for name in ("Contents", "Key", "Size", "ETag", "LastModified")))
    objects = list(_objects(root, names, prefix=prefix, folder=folder, encoded=encoded))
    folders = tuple(
        relative(_decoded(found.text or "", encoded=encoded), prefix, folder)
        for found in root.iterfind(f"{namespace}CommonPrefixes/{namespace}Prefix")
    )
    return Page(objects, token if truncated == "true" else None, folders)


def _objects(root: Any, names: _Names, *, prefix: str, folder: str, encoded: bool) -> Iterator[ObjectInfo]:
    for entry in root.iterfind(names.contents):
        key = entry.findtext(names.key)
        size = entry.findtext(names.size)
        etag = entry.findtext(names.etag)
        if not key or not etag or not size or not _SIZE.fullmatch(size):
            raise SenselessError("an entry of the store's listing has no key, size or ETag")
        key = relative(_decoded(key, encoded=encoded), prefix, folder)
        if key:  # else it is the marker of the repository's own folder
            yield ObjectInfo(key, int(size), quoted(etag), parse_date_ns(entry.findtext(names.last_modified) or ""))


def parse_uploads_page(body: bytes, *, prefix: str, folder: str = "") -> UploadPage:
    """Return the page that a ListMultipartUploads answer tells. Raises SenselessError for anything else.

    What lies outside of ``folder`` is left out: some stores know no prefix here.
    """
    root = xml_root(body)
    namespace = root.tag[: root.tag.rfind("}") + 1]
    if root.tag != f"{namespace}ListMultipartUploadsResult":
        raise SenselessError("the store's answer is not a listing of uploads")
    encoded = root.findtext(f"{namespace}EncodingType") == "url"
    found: list[Upload] = []
    for entry in root.iterfind(f"{namespace}Upload"):
        key = _decoded(entry.findtext(f"{namespace}Key") or "", encoded=encoded)
        begun_ns = parse_date_ns(entry.findtext(f"{namespace}Initiated") or "")
        if key.startswith(prefix + folder):
            found.append(Upload(key[len(prefix) :], begun_ns))
    if root.findtext(f"{namespace}IsTruncated") != "true":
        return UploadPage(found, None)
    key_marker = _decoded(root.findtext(f"{namespace}NextKeyMarker") or "", encoded=encoded)
    markers = {"key-marker": key_marker, "upload-id-marker": root.findtext(f"{namespace}NextUploadIdMarker") or ""}
    if not key_marker:
        raise SenselessError("the store's answer does not tell how the listing of uploads goes on")
    return UploadPage(found, urlencode(markers, errors="surrogateescape"))


def _decoded(key: str, *, encoded: bool) -> str:
    """Return a key as it is. One that is no UTF-8 keeps its bytes as surrogates, so that it does not fail a listing."""
    return unquote_plus(key, errors="surrogateescape") if encoded else key


def quoted(etag: str) -> str:
    """Return an ETag as RFC 9110 has it: some stores leave the quotes out, in listings or in headers.

    >>> quoted("abc"), quoted('"abc"')
    ('"abc"', '"abc"')
    """
    return etag if etag.startswith(('"', 'W/"')) else f'"{etag}"'
