"""Listings of Azure, one List Blobs request for each page.

Law: a page tells exactly what the store told, or raises. A truncated, foreign or senseless answer is a
CorruptAnswerError and never a short page.

Not obstore's own ``list``, for the same reasons as in ``s3_listing``, and because it does not tell folders from files:
the metadata ``hdi_isfolder``, which tools for Hadoop and azcopy leave on an empty blob, and the resource type that
accounts with a hierarchical namespace give. Such an entry "x" is the folder marker "x/".

Metadata and types are asked for, which costs some hundred bytes for each blob that has any; without them an empty
version folder would be a file. Azure would give 5,000 entries at once: a page is 1,000 as everywhere, so that one that
fails costs little and progress is told often.
"""

import datetime as dt
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, unquote, urlencode

from modelfs.answers import SenselessError, relative, xml_root
from modelfs.azure_errors import Refusal, from_refusal
from modelfs.azure_signing import AzureCredential, AzureSas, authorized
from modelfs.blocks import ObjectInfo
from modelfs.credentials_azure import AzureSource
from modelfs.errors import CorruptAnswerError, ModelfsError
from modelfs.store import Page, UploadPage
from modelfs.transport import OK, Link, Transport, user_agent
from modelfs.uploads import Upload

_PAGE_KEYS = 1000


@dataclass(frozen=True, slots=True)
class Container:
    """Where a container is: ``url`` is its address without a slash at the end, ``display`` is for messages."""

    url: str
    prefix: str
    display: str


class Lister:
    """Lists one prefix of one container. Thread-safe."""

    def __init__(
        self,
        container: Container,
        *,
        source: AzureSource | None,
        link: Link,
    ) -> None:
        """Connect to nothing yet. ``source`` None is anonymous."""
        self._container = container
        self._source = source
        self._transport = Transport(link)
        # at debug level urllib3 logs each request's URL, and here that holds the SAS
        logging.getLogger("urllib3.connectionpool").setLevel(logging.INFO)

    def page(self, token: str | None, folder: str = "", *, delimiter: str = "") -> Page:
        """Ask for one page; see ``Store.list_page``. The keys are relative to the prefix, else as Azure has them.

        With a ``delimiter`` see ``Levelled``. Azure cannot begin a listing at a key.
        """
        what = f"cannot list {self._container.display}"
        prefix = f"{self._container.prefix}/" if self._container.prefix else ""
        body = self._get(_query("metadata", prefix + folder, token, delimiter=delimiter), what)
        try:
            page = parse_page(body, prefix=prefix, folder=folder)
        except SenselessError as error:
            raise CorruptAnswerError(f"{what}: {error}; is the URL an Azure blob endpoint's?") from error
        if page.next_token is not None and page.next_token == token:
            raise CorruptAnswerError(f"{what}: the store gives the same page for ever")
        return page

    def uploads_page(self, token: str | None, folder: str = "") -> UploadPage:
        """Ask for one page of uploads; see ``Uploading``. They come among all blobs, as empty ones."""
        what = f"cannot list the uploads in {self._container.display}"
        prefix = f"{self._container.prefix}/" if self._container.prefix else ""
        body = self._get(_query("metadata,uncommittedblobs", prefix + folder, token), what)
        try:
            return parse_uploads_page(body, prefix=prefix, folder=folder)
        except SenselessError as error:
            raise CorruptAnswerError(f"{what}: {error}; is the URL an Azure blob endpoint's?") from error

    def _get(self, query: Mapping[str, str], what: str) -> bytes:
        url = f"{self._container.url}?{urlencode(query, quote_via=quote, safe='')}"
        credential = None if self._source is None else self._source()
        now = dt.datetime.now(dt.UTC)
        url, headers = authorized(url, user_agent(), credential, now=now)
        try:
            reply = self._transport.get(url, headers, what=what)
        except ModelfsError as error:
            raise error from None  # its cause is urllib3's, which quotes the URL and so the SAS
        if reply.status != OK:
            refusal = Refusal.of(reply.status, reply.body.decode("utf-8", "replace"))
            raise from_refusal(refusal, what=what, complaint=complaint(credential))
        return reply.body


def _query(include: str, prefix: str, token: str | None, *, delimiter: str = "") -> dict[str, str]:
    asked = {"restype": "container", "comp": "list", "include": include, "maxresults": str(_PAGE_KEYS)}
    told = {"prefix": prefix, "delimiter": delimiter, "marker": token}
    return asked | {name: value for name, value in told.items() if value}


def complaint(credential: AzureCredential | None) -> str:
    """Return why ``credential`` may be refused, as far as it says so itself."""
    if credential is None:
        return "no credentials were found: set AZURE_STORAGE_KEY or AZURE_STORAGE_AUTH_TYPE, or use a SAS"
    if isinstance(credential, AzureSas):
        return credential.complaint(dt.datetime.now(dt.UTC).timestamp())
    return ""


def parse_page(body: bytes, *, prefix: str, folder: str = "") -> Page:
    """Return the page that a List Blobs answer tells. Raises SenselessError for anything else."""
    root = xml_root(body)
    blobs = root.find("Blobs")
    marker = root.find("NextMarker")
    if root.tag != "EnumerationResults" or blobs is None:
        raise SenselessError("the store's answer is not a listing")
    if marker is None:
        raise SenselessError("the store's answer does not tell whether and how the listing goes on")
    folders = tuple(relative(_name(each), prefix, folder) for each in blobs.iterfind("BlobPrefix/Name"))
    return Page(list(_objects(blobs, prefix=prefix, folder=folder)), marker.text or None, folders)


def parse_uploads_page(body: bytes, *, prefix: str, folder: str = "") -> UploadPage:
    """Return the empty blobs that a List Blobs answer tells; those that have ended are objects as well.

    A blob of which only blocks were uploaded is listed without content. It has a date, of its first block, or none, or
    one that means none. Raises SenselessError for what is no such answer.
    """
    root = xml_root(body)
    blobs = root.find("Blobs")
    marker = root.find("NextMarker")
    if root.tag != "EnumerationResults" or blobs is None or marker is None:
        raise SenselessError("the store's answer is not a listing")
    found: list[Upload] = []
    for entry in blobs.iterfind("Blob"):
        if (entry.findtext("Properties/Content-Length") or "0") == "0" and not _is_folder(entry):
            told = entry.findtext("Properties/Creation-Time") or entry.findtext("Properties/Last-Modified")
            begun_ns = max(0, _date_ns(told)) if told else 0
            found.append(Upload(relative(_name(entry.find("Name")), prefix, folder), begun_ns))
    return UploadPage(found, marker.text or None)


def _objects(blobs: Any, *, prefix: str, folder: str) -> Iterator[ObjectInfo]:
    for entry in blobs.iterfind("Blob"):
        key = _name(entry.find("Name"))
        is_folder = _is_folder(entry)
        size = entry.findtext("Properties/Content-Length") or ("0" if is_folder else "")
        etag = entry.findtext("Properties/Etag") or ""
        if not key or not etag or not (size.isascii() and size.isdigit()):
            raise SenselessError("an entry of the store's listing has no name, size or ETag")
        key = relative(key, prefix, folder)
        if not key:
            continue  # the marker of the repository's own folder
        if is_folder and not key.endswith("/"):
            key += "/"
        if not etag.startswith(('"', 'W/"')):
            etag = f'"{etag}"'  # as it is in every header; a listing leaves the quotes out
        mtime_ns = _date_ns(entry.findtext("Properties/Last-Modified") or "")
        yield ObjectInfo(key, int(size), etag, mtime_ns)


def _name(element: Any) -> str:
    """Return a blob's name. One that XML cannot hold is percent-encoded as a whole, and says so."""
    text = "" if element is None else element.text or ""
    return unquote(text, errors="surrogateescape") if element is not None and element.get("Encoded") == "true" else text


def _is_folder(entry: Any) -> bool:
    if entry.findtext("Properties/ResourceType") == "directory":
        return True
    metadata = entry.find("Metadata")
    # headers have no case, so that metadata comes in any
    found = () if metadata is None else (each.text for each in metadata if each.tag.lower() == "hdi_isfolder")
    return any((text or "").lower() == "true" for text in found)


def _date_ns(text: str) -> int:
    """Return a date of HTTP (whole seconds) as nanoseconds since the epoch. Raises SenselessError."""
    try:
        if text.endswith(" GMT"):
            return int(parsedate_to_datetime(text).timestamp()) * 10**9
    except (ValueError, OverflowError):
        pass
    raise SenselessError("an entry of the store's listing has no date")
