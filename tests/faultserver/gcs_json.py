"""GCS's JSON API, as far as modelfs goes.

``GET /storage/v1/b/BUCKET/o`` lists, ``GET …/o/KEY?alt=media`` reads,
``POST /upload/storage/v1/b/BUCKET/o?uploadType=media&name=KEY`` writes.

Law: a request of this API is understood as one of the XML API in other words, so that pages, tokens, faults and the log
are the same for both. ``fields`` is ignored: more than was asked for is told. Source: Google's reference of
``objects.list``, of ``objects.get`` and of the object resource.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import unquote

from faultserver.answers import Answer, ApiError
from faultserver.listing import Page
from faultserver.objects import StoredObject
from faultserver.wire import Request

_LIST = re.compile(r"/storage/v1/b/([^/?]+)/o")
_MEDIA = re.compile(r"(?:/download)?/storage/v1/b/([^/?]+)/o/([^/?]+)")
_UPLOAD = re.compile(r"/upload/storage/v1/b/([^/?]+)/o")
_NAMES = {
    "prefix": "prefix",
    "delimiter": "delimiter",
    "pageToken": "continuation-token",
    "maxResults": "max-keys",
    "startOffset": "start-offset",
    "endOffset": "end-offset",
}


def understood(request: Request) -> Request:
    """Return a request in the words of the XML API, a listing's with list-type "json"; one of that API as it is."""
    path = request.target.partition("?")[0]
    media = _MEDIA.fullmatch(path)
    if media is not None and request.method == "GET" and request.query.get("alt") == "media":
        return replace(request, bucket=unquote(media[1]), key=unquote(media[2]))
    upload = _UPLOAD.fullmatch(path)
    if upload is not None and request.method == "POST" and request.query.get("uploadType") == "media":
        return replace(request, method="PUT", bucket=unquote(upload[1]), key=request.query.get("name", ""), query={})
    found = _LIST.fullmatch(path)
    if found is None or request.method != "GET":
        return request
    query = {_NAMES[name]: value for name, value in request.query.items() if name in _NAMES and value}
    return replace(request, bucket=unquote(found[1]), key="", query={**query, "list-type": "json"})


def listed(page: Page, bucket: str) -> Answer:
    """Return a page; what would be empty is left out, as in all of Google's JSON."""
    told: dict[str, object] = {"kind": "storage#objects"}
    if page.following:
        told["nextPageToken"] = page.following.token()
    if page.prefixes:
        told["prefixes"] = page.prefixes
    if page.objects:
        told["items"] = [_item(each, bucket) for each in page.objects]
    return _json(200, told)


def refused(error: ApiError) -> Answer:
    """Return an error as this API tells it."""
    first = {"message": str(error), "domain": "global", "reason": _REASONS.get(error.status, "backendError")}
    told = {"error": {"code": error.status, "message": str(error), "errors": [first]}}
    return replace(_json(error.status, told), headers=(("Content-Type", "application/json"), *error.headers))


_REASONS = {400: "invalid", 401: "authError", 403: "forbidden", 404: "notFound", 429: "rateLimitExceeded"}


def _item(each: StoredObject, bucket: str) -> Mapping[str, object]:
    return {
        "kind": "storage#object",
        "id": f"{bucket}/{each.key}/{each.generation}",
        "name": each.key,
        "bucket": bucket,
        "generation": str(each.generation),
        "metageneration": "1",
        "size": str(each.size),
        "etag": each.etag.strip('"'),
        "timeCreated": _timestamp(each.created_ns),
        "updated": _timestamp(each.mtime_ns),
    }


def _timestamp(at_ns: int) -> str:
    whole = datetime.fromtimestamp(at_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{at_ns // 10**6 % 1000:03d}Z"


def _json(status: int, told: object) -> Answer:
    body = json.dumps(told).encode()
    return Answer(status, (("Content-Type", "application/json; charset=UTF-8"),), body, 0, len(body))


def is_spoken(request: Request) -> bool:
    """Return whether the request is of this API, and wants its errors as JSON."""
    return request.target.startswith(("/storage/v1/", "/download/storage/v1/", "/upload/storage/v1/"))
