"""A Store in memory, which tests fill, rewrite and make fail.

Law: it is so plain that it is obviously right, and it passes the same contract suite as the real engines. Like S3, a
page of a listing is what is there when the page is asked for, and the version is a hash of the bytes, so the same bytes
put twice are the same version with a new date.
"""

import hashlib
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from modelfs.blocks import ObjectInfo
from modelfs.errors import VersionGoneError
from modelfs.store import Page, UploadPage
from modelfs.uploads import Upload

FIRST_MTIME_NS = 1_700_000_000_000_000_000
"""What the first object without a time of its own is dated; each later one a second later, so tests repeat."""


class _Object(NamedTuple):
    info: ObjectInfo
    data: bytes


class MemoryStore:
    """Objects in a dictionary, behind the Store protocol. Thread-safe.

    ``reads`` logs (key, offset, length) of each read that was asked for, also of those that failed. ``listings``
    counts the listings begun, not their pages; ``folders`` says of what. ``fail`` is called before each request with
    ("list", None) for every page and ("read", info) for every read; it may raise or block. With ``keeps_versions`` what
    was replaced or deleted since can still be read, as from a bucket that keeps versions. ``uploads`` have begun and
    not ended; ``uploads_asked`` says of which folders they were asked for, which ``fail`` is told as ("uploads", None).
    """

    def __init__(self, *, page_size: int = 1000) -> None:
        """Begin empty."""
        self.page_size = page_size
        self.reads: list[tuple[str, int, int]] = []
        self.listings = 0
        self.folders: list[str] = []
        self.fail: Callable[[str, ObjectInfo | None], None] | None = None
        self.keeps_versions = False
        self.uploads: list[Upload] = []
        self.uploads_asked: list[str] = []
        self._objects: dict[str, _Object] = {}
        self._old: dict[tuple[str, str], _Object] = {}
        self._puts = 0
        self._lock = threading.Lock()

    def put(self, key: str, data: bytes, *, mtime_ns: int | None = None) -> ObjectInfo:
        """Store ``data`` under ``key``, over what was there, and return what a listing now tells of it."""
        version = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
        with self._lock:
            if mtime_ns is None:
                mtime_ns = FIRST_MTIME_NS + self._puts * 1_000_000_000
            self._puts += 1
            info = ObjectInfo(key, len(data), version, mtime_ns)
            self._keep(key)
            self._objects[key] = _Object(info, bytes(data))
        return info

    def delete(self, key: str) -> None:
        """Remove ``key``, which must be there."""
        with self._lock:
            self._keep(key)
            del self._objects[key]

    def list_page(self, token: str | None, folder: str = "") -> Page:
        """Return the next ``page_size`` objects of ``folder`` behind the key ``token``, sorted by key."""
        if token is None:
            with self._lock:
                self.listings += 1
                self.folders.append(folder)
        after = token or ""
        self._ask("list", None)
        with self._lock:
            keys = sorted(key for key in self._objects if key > after and key.startswith(folder))
            page = [self._objects[key].info for key in keys[: self.page_size]]
        return Page(page, page[-1].key if len(keys) > self.page_size else None)

    def list_uploads_page(self, token: str | None, folder: str = "") -> UploadPage:
        """Return the next ``page_size`` uploads in ``folder``, of which ``token`` tells how many came before."""
        with self._lock:
            self.uploads_asked.append(folder)
        self._ask("uploads", None)
        with self._lock:
            found = [upload for upload in self.uploads if upload.key.startswith(folder)]
        start = int(token or "0")
        end = start + self.page_size
        return UploadPage(found[start:end], str(end) if end < len(found) else None)

    def read(self, info: ObjectInfo, offset: int, length: int) -> memoryview:
        """Return exactly ``[offset, offset + length)`` of this version."""
        with self._lock:
            self.reads.append((info.key, offset, length))
        self._ask("read", info)
        with self._lock:
            found = self._old.get((info.key, info.version), self._objects.get(info.key))
        if found is None or found.info.version != info.version:
            raise VersionGoneError(f"{info.key!r}: the version read here was replaced or deleted; open it again")
        return memoryview(found.data)[offset : offset + length]

    def begin_upload(self, key: str) -> Upload:
        """Begin an upload, which ``end_upload`` ends."""
        upload = Upload(key, time.time_ns())
        with self._lock:
            self.uploads.append(upload)
        return upload

    def end_upload(self, upload: Upload, data: bytes | None) -> None:
        """Have an upload be an object, or with None nothing."""
        with self._lock:
            self.uploads.remove(upload)
        if data is not None:
            self.put(upload.key, data, mtime_ns=time.time_ns())

    def _keep(self, key: str) -> None:
        if self.keeps_versions and key in self._objects:
            found = self._objects[key]
            self._old[key, found.info.version] = found

    def _ask(self, kind: str, info: ObjectInfo | None) -> None:
        if self.fail is not None:
            self.fail(kind, info)
