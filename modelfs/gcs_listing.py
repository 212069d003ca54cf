"""Listings of Google Cloud Storage, one objects.list request of the JSON API for each page.

Law: a page tells exactly what the store told, or raises. A truncated, foreign or senseless answer is a
CorruptAnswerError and never a short page.

The JSON API, not the XML one with ``list-type=2``: it gives each key as it is, where the XML one's URL encoding is
documented for neither blank nor plus; it tells when a generation was created, which stays when only metadata change
(the XML one has one date, said to be that of the last modification); it is what Google's own clients and every emulator
speak; and ``fields`` makes an answer a third as long. A page may hold fewer than were asked for, or none: only a page
without a token is the last.

Folders: an object whose name ends in a slash is a folder's marker, as in S3. The folders that a bucket with a
hierarchical namespace keeps beside its objects are in no flat listing, so an empty one of those is not seen.
Source: Google's reference of ``objects.list``, and "About folders".
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from modelfs.answers import SenselessError, parse_date_ns, relative
from modelfs.blocks import ObjectInfo
from modelfs.errors import CorruptAnswerError
from modelfs.gcs_errors import from_status
from modelfs.gcs_tokens import Tokens
from modelfs.spans import Cut
from modelfs.store import Page
from modelfs.transport import OK, Link, Transport, user_agent

_PAGE_KEYS = 1000
"""The most that GCS gives at once."""

_FIELDS = "kind,nextPageToken,prefixes,items(name,size,generation,timeCreated)"
_UNAUTHORIZED = 401


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where a bucket is: ``endpoint`` is the store's address without a slash at the end; ``display`` is for people."""

    endpoint: str
    name: str
    prefix: str
    display: str


class Lister:
    """Lists one prefix of one bucket. Thread-safe."""

    def __init__(
        self,
        bucket: Bucket,
        *,
        tokens: Tokens | None,
        link: Link,
    ) -> None:
        """Connect to nothing yet. ``tokens`` None is anonymous."""
        self._bucket = bucket
        self._tokens = tokens
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
        """Ask for one page; see ``Store.list_page``. The keys are relative to the prefix, else as GCS has them.

        With a ``delimiter`` see ``Levelled``. With ``begin`` or ``end`` see ``Splittable``: to GCS the first is one of
        the keys, the second none.
        """
        what = f"cannot list {self._bucket.display}"
        prefix = f"{self._bucket.prefix}/" if self._bucket.prefix else ""
        query = {"fields": _FIELDS, "maxResults": str(_PAGE_KEYS), "prefix": prefix + folder}
        if delimiter:
            query["delimiter"] = delimiter
        if begin is not None:
            query["startOffset"] = prefix + begin.first
        if end is not None:
            query["endOffset"] = prefix + end.first
        if token is not None:
            query["pageToken"] = token
        path = f"/storage/v1/b/{quote(self._bucket.name, safe='')}/o"
        body = self._get(f"{self._bucket.endpoint}{path}?{urlencode(query, quote_via=quote, safe='')}", what)
        try:
            page = parse_page(body, prefix=prefix, folder=folder)
        except SenselessError as error:
            raise CorruptAnswerError(f"{what}: {error}") from error
        if page.next_token is not None and page.next_token == token:
            raise CorruptAnswerError(f"{what}: the store gives the same page for ever")
        return page

    def _get(self, url: str, what: str) -> bytes:
        token = None if self._tokens is None else self._tokens()
        signed = {} if token is None else {"Authorization": f"Bearer {token.value}"}
        reply = self._transport.get(url, {**self._headers, **signed}, what=what)
        if reply.status != OK:
            if reply.status == _UNAUTHORIZED and self._tokens is not None and token is not None:
                self._tokens.refused(token)
            raise from_status(reply.status, reply.body.decode("utf-8", "replace"), what=what)
        return reply.body


def parse_page(body: bytes, *, prefix: str, folder: str = "") -> Page:
    """Return the page that an answer of objects.list tells. Raises SenselessError for anything else."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise SenselessError("the store's answer is not whole JSON") from error
    if not isinstance(told, dict) or told.get("kind") != "storage#objects":
        raise SenselessError("the store's answer is not a listing")
    items, folders, token = told.get("items", []), told.get("prefixes", []), told.get("nextPageToken")
    if not (isinstance(items, list) and isinstance(folders, list) and (token is None or isinstance(token, str))):
        raise SenselessError("the store's answer is not a listing")
    below = tuple(relative(str(each), prefix, folder) for each in folders)
    return Page(list(_objects(items, prefix, folder)), token or None, below)


def _objects(items: list[Any], prefix: str, folder: str) -> Iterator[ObjectInfo]:
    for item in items:
        if not isinstance(item, dict):
            raise SenselessError("an entry of the store's listing is none")
        key, created = item.get("name"), item.get("timeCreated")
        # int64 is told as a string in Google's JSON, but not by every emulator
        size, generation = str(item.get("size")), str(item.get("generation"))
        if not (isinstance(key, str) and key and isinstance(created, str)) or not all(
            number.isascii() and number.isdigit() for number in (size, generation)
        ):
            raise SenselessError("an entry of the store's listing has no name, size, generation or date")
        key = relative(key, prefix, folder)
        if key:  # else it is the marker of the repository's own folder
            yield ObjectInfo(key, int(size), generation, parse_date_ns(created))
