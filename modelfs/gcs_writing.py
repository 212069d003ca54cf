"""One small object put into Google Cloud Storage, by objects.insert of the JSON API.

Law: one request, one try; whole or not at all. The answer's MD5 is compared, where it tells one.

Not by a PUT of the XML API, though reads go there: the JSON API's upload is what every emulator takes (fake-gcs-server
answers 400 to the other, seen).
"""

import base64
import hashlib
import json
from urllib.parse import quote, urlencode

from modelfs.errors import CorruptAnswerError
from modelfs.gcs_errors import from_write
from modelfs.places import GCSPlace, full_key
from modelfs.transport import OK, Transport, user_agent

_UNAUTHORIZED = 401


def put(place: GCSPlace, key: str, data: bytes) -> None:
    """Put ``data`` under ``key``, which is relative to the place's prefix."""
    what = f"cannot write {key!r} of {place.display}"
    query = urlencode({"uploadType": "media", "name": full_key(place, key)}, quote_via=quote, safe="")
    url = f"{place.endpoint}/upload/storage/v1/b/{quote(place.bucket, safe='')}/o?{query}"
    headers = {**user_agent(), **place.link.headers, "Content-Type": "application/json"}
    token = None if place.tokens is None else place.tokens()
    if token is not None:
        headers["Authorization"] = f"Bearer {token.value}"
    reply = Transport(place.link).send("POST", url, headers, data, what=what)
    if reply.status != OK:
        if reply.status == _UNAUTHORIZED and place.tokens is not None and token is not None:
            place.tokens.refused(token)
        raise from_write(reply.status, reply.body.decode("utf-8", "replace"), what=what)
    if _told_md5(reply.body) not in {
        None,
        base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode(),
    }:
        raise CorruptAnswerError(f"{what}: the store has received something else")


def _told_md5(body: bytes) -> str | None:
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return str(told["md5Hash"]) if isinstance(told, dict) and told.get("md5Hash") else None
