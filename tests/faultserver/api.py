"""The store's API: one request in, one answer out, no socket.

Law: a request that the store refuses raises ApiError and nothing else. Only path-style addresses are spoken.
"""

import re
from collections.abc import Callable
from email.utils import formatdate
from urllib.parse import quote_plus

from faultserver import uploads, writes
from faultserver.answers import Answer, ApiError, escaped, timestamp, xml
from faultserver.dialects import Dialect
from faultserver.listing import Page, Position, between, position, take_page, take_unsorted_page
from faultserver.log import Kind
from faultserver.objects import Objects, StoredObject, sort_key
from faultserver.uploads import Uploads
from faultserver.wire import Request

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
_KINDS: dict[str, Kind] = {"GET": "get", "HEAD": "head", "PUT": "put", "DELETE": "delete"}


def kind_of(request: Request) -> Kind:
    """Return what the log calls the request; a multipart upload's steps are puts, a bulk delete is a delete."""
    if request.method == "GET" and not request.key and not request.query.keys().isdisjoint({"uploads", "uncommitted"}):
        return "uploads"
    if request.method == "GET" and not request.key and "list-type" in request.query:
        return "list"
    if request.method == "POST":
        return "delete" if "delete" in request.query else "put" if request.key else "other"
    if request.key or request.method == "HEAD":
        return _KINDS.get(request.method, "other")
    return "other"


def page_of(request: Request) -> int:
    """Return which page of a listing is asked for, from 1; 0 for a token that is not ours."""
    try:
        return position(request.query["continuation-token"]).page if "continuation-token" in request.query else 1
    except ValueError:
        return 0


class Api:
    """Answers requests from the objects, in one dialect."""

    def __init__(self, objects: Objects, open_uploads: Uploads, dialect: Dialect, *, unsorted: bool = False) -> None:
        self._objects = objects
        self._dialect = dialect
        self._unsorted = unsorted
        self._uploads = open_uploads

    def understood(self, request: Request) -> Request:
        """Return the request as the rest of the server knows it."""
        return self._dialect.understood(request)

    def refused(self, error: ApiError, request: Request) -> Answer:
        """Return the answer to a request that was refused."""
        return self._dialect.refused(error, request)

    def answer(self, request: Request) -> Answer:
        """Answer one request. Raises ApiError when it is refused."""
        if not request.bucket:
            raise ApiError(405, "MethodNotAllowed", "The specified method is not allowed against this resource.")
        if not request.key and request.method == "PUT":
            self._objects.create_bucket(request.bucket)
            return Answer(200, (("Location", f"/{request.bucket}"),))
        if not self._objects.has_bucket(request.bucket):
            raise ApiError(404, "NoSuchBucket", "The specified bucket does not exist")
        return self._handler(request)(request)

    def _handler(self, request: Request) -> Callable[[Request], Answer]:
        kind = kind_of(request)
        if kind == "list" or (kind == "uploads" and "list-type" in request.query):
            return self._list
        if kind == "uploads":
            return lambda request: uploads.listed(self._uploads, request)
        if kind == "head" and not request.key:
            return lambda _: Answer(200)
        if kind in {"get", "head"}:
            return self._get
        if kind in {"put", "delete"}:
            return self._write
        raise ApiError(501, "NotImplemented", "A header or query you provided implies functionality not implemented.")

    def _get(self, request: Request) -> Answer:
        found = self._objects.get(request.bucket, request.key)
        if found is None:
            raise ApiError(404, "NoSuchKey", "The specified key does not exist.")
        self._dialect.check(request, found)
        headers = [
            ("ETag", found.etag),
            ("Last-Modified", formatdate(found.mtime_ns // 10**9, usegmt=True)),
            ("Accept-Ranges", "bytes"),
            ("Content-Type", "binary/octet-stream"),
            *self._dialect.headers(found),
        ]
        asked = _RANGE.fullmatch(request.headers.get("range", ""))
        if asked is None or asked.group() == "bytes=-":  # several ranges, or nonsense: the whole object, as S3
            return Answer(200, headers, found.body, 0, found.size)
        start, stop = _span(asked, found.size)
        headers.append(("Content-Range", f"bytes {start}-{stop - 1}/{found.size}"))
        return Answer(206, headers, found.body, start, stop - start)

    def _list(self, request: Request) -> Answer:
        query = request.query
        if query["list-type"] not in {"2", "json", "azure"}:
            raise ApiError(501, "NotImplemented", "Only version 2 of listings is spoken here.")
        start = _start(request)
        asked = query.get("max-keys", "1000")
        if not re.fullmatch("[0-9]{1,9}", asked):
            raise ApiError(400, "InvalidArgument", "Argument max-keys must be an integer between 0 and 2147483647")
        page = self._page(request, start, max_keys=min(int(asked), 1000))
        answer = self._dialect.listed(page, request)
        if answer is not None:
            return answer
        by_url = query.get("encoding-type") == "url"
        name: Callable[[str], str] = _quoted if by_url else escaped
        parts = [f"<Name>{escaped(request.bucket)}</Name><Prefix>{name(query.get('prefix', ''))}</Prefix>"]
        parts.append(f"<MaxKeys>{asked}</MaxKeys><KeyCount>{len(page.objects) + len(page.prefixes)}</KeyCount>")
        parts.append(f"<IsTruncated>{'true' if page.following else 'false'}</IsTruncated>")
        parts.extend(f"<{tag}>{name(query[key])}</{tag}>" for key, tag in _ECHOED if key in query)
        if by_url:
            parts.append("<EncodingType>url</EncodingType>")
        if page.following:
            parts.append(f"<NextContinuationToken>{page.following.token()}</NextContinuationToken>")
        parts.extend(self._entry(each, name) for each in page.objects)
        parts.extend(f"<CommonPrefixes><Prefix>{name(each)}</Prefix></CommonPrefixes>" for each in page.prefixes)
        namespace = "http://s3.amazonaws.com/doc/2006-03-01/"
        return xml(f'<ListBucketResult xmlns="{namespace}">{"".join(parts)}</ListBucketResult>')

    def _page(self, request: Request, start: Position, *, max_keys: int) -> Page:
        stored = self._objects.listing(request.bucket)
        if "uncommitted" in request.query:
            keys = {each.key for each in stored}
            begun = [each for each in uploads.as_blobs(self._uploads, request.bucket) if each.key not in keys]
            stored = sorted([*stored, *begun], key=lambda each: sort_key(each.key))
        objects = between(
            stored,
            request.query.get("start-offset", ""),
            request.query.get("end-offset", ""),
        )
        prefix, delimiter = request.query.get("prefix", ""), request.query.get("delimiter", "")
        if not self._unsorted:
            return take_page(objects, prefix=prefix, delimiter=delimiter, start=start, max_keys=max_keys)
        return take_unsorted_page(objects, prefix=prefix, delimiter=delimiter, start=start, max_keys=max_keys)

    def _entry(self, each: StoredObject, name: Callable[[str], str]) -> str:
        return (
            f"<Contents><Key>{name(each.key)}</Key><LastModified>{timestamp(each.mtime_ns)}</LastModified>"
            f"<ETag>{escaped(each.etag)}</ETag><Size>{each.size}</Size>{self._dialect.fields(each)}"
            f"<StorageClass>STANDARD</StorageClass></Contents>"
        )

    def _write(self, request: Request) -> Answer:
        answer, written = writes.write(self._objects, self._uploads, request)
        if written is None:
            return answer
        headers = (*answer.headers, ("ETag", written.etag), *self._dialect.headers(written))
        return Answer(answer.status, headers, answer.body, 0, answer.length)


_ECHOED = (("delimiter", "Delimiter"), ("start-after", "StartAfter"))


def _start(request: Request) -> Position:
    token = request.query.get("continuation-token")
    if token is None:
        return Position(1, request.query.get("start-after", ""))
    try:
        return position(token)
    except ValueError as error:
        raise ApiError(400, "InvalidArgument", str(error)) from error


def _span(asked: re.Match[str], size: int) -> tuple[int, int]:
    first, last = asked.groups()
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1 if last else size)
    if start >= size or (first and last and int(first) > int(last)):
        raise ApiError(
            416, "InvalidRange", "The requested range is not satisfiable", ("Content-Range", f"bytes */{size}")
        )
    return start, stop


def _quoted(key: str) -> str:
    """Encode a key as S3 does for ``encoding-type=url``: a form's encoding (space is "+"), slashes left alone."""
    return quote_plus(key, safe="/", errors="surrogateescape")
