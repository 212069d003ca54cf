"""What the server holds: buckets of objects, each object one immutable version of a key.

Law: a stored object never changes; a put replaces it whole under one lock, with a new ETag and a greater generation.
So a GET in flight goes on sending the version that it began with, as the real stores do.
"""

import base64
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import blake2b, md5
from pathlib import Path
from typing import Protocol

from faultserver.stamps import Stamped

_PIECE_BYTES = 256 * 1024  # copied to a socket at once: fits its buffer, and keeps one thread's turn with the GIL short


class Source(Protocol):
    """An open body: sends parts of itself."""

    def send(self, sock: socket.socket, offset: int, length: int) -> int:
        """Send at most ``length`` bytes from ``offset`` and return how many; at least one, 0 only at the end."""
        ...


@dataclass(frozen=True, slots=True)
class _Copied:
    """Content in memory, or made as it is sent."""

    data: memoryview | Stamped

    def send(self, sock: socket.socket, offset: int, length: int) -> int:
        wanted = min(length, _PIECE_BYTES)
        if isinstance(self.data, Stamped):
            return sock.send(self.data.read(offset, wanted))
        return sock.send(self.data[offset : offset + wanted])


@dataclass(frozen=True, slots=True)
class _OnDisk:
    """An open file: the kernel copies from the page cache to the socket, without the GIL and without Python."""

    descriptor: int

    def send(self, sock: socket.socket, offset: int, length: int) -> int:
        return os.sendfile(sock.fileno(), self.descriptor, offset, length)


Body = bytes | Path | Stamped
"""What a test may put: small content, a file (sent by sendfile; must stay as it is), or content made on the way."""


@contextmanager
def opened(body: Body) -> Iterator[Source]:
    """Open a body for sending. A file stays readable until the end even when its name is removed meanwhile."""
    if isinstance(body, Path):
        descriptor = os.open(body, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield _OnDisk(descriptor)
        finally:
            os.close(descriptor)
    else:
        yield _Copied(memoryview(body) if isinstance(body, bytes) else body)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One version of one key. ``etag`` has its quotes; ``md5`` is base64, and None where it would cost a long read.

    ``mtime_ns`` moves when metadata change, ``created_ns`` never does.
    """

    key: str
    body: Body
    size: int
    etag: str
    generation: int
    mtime_ns: int
    md5: str | None
    created_ns: int


class Objects:
    """The buckets. Thread-safe; every method is one atomic step."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets: dict[str, dict[str, StoredObject]] = {}
        self._listings: dict[str, list[StoredObject]] = {}
        self._generation = time.time_ns() // 1000  # as GCS: microseconds, and only ever upwards

    def create_bucket(self, bucket: str) -> None:
        """Make the bucket, unless it is there."""
        with self._lock:
            self._buckets.setdefault(bucket, {})

    def delete_bucket(self, bucket: str) -> None:
        """Remove the bucket and all that it holds."""
        with self._lock:
            self._buckets.pop(bucket, None)
            self._listings.pop(bucket, None)

    def has_bucket(self, bucket: str) -> bool:
        """Return whether there is such a bucket."""
        with self._lock:
            return bucket in self._buckets

    def put(self, bucket: str, key: str, body: Body, *, mtime_ns: int | None, etag: str | None) -> StoredObject:
        """Store a new version of ``key`` in an existing bucket and return it. Raises KeyError without the bucket."""
        if not key:
            raise ValueError("an empty key names the bucket, not an object")
        size = body.stat().st_size if isinstance(body, Path) else body.size if isinstance(body, Stamped) else len(body)
        digest = (
            base64.b64encode(md5(body, usedforsecurity=False).digest()).decode() if isinstance(body, bytes) else None
        )
        now_ns = time.time_ns() if mtime_ns is None else mtime_ns
        with self._lock:
            self._generation += 1
            made = StoredObject(
                key=key,
                body=body,
                size=size,
                etag=etag or _etag(self._generation),
                generation=self._generation,
                mtime_ns=now_ns,
                md5=digest,
                created_ns=now_ns,
            )
            self._buckets[bucket][key] = made
            self._listings.pop(bucket, None)
            return made

    def touch(self, bucket: str, key: str, *, mtime_ns: int) -> StoredObject:
        """Date the same version anew, as a change of metadata only does."""
        with self._lock:
            made = replace(self._buckets[bucket][key], mtime_ns=mtime_ns)
            self._buckets[bucket][key] = made
            self._listings.pop(bucket, None)
            return made

    def get(self, bucket: str, key: str) -> StoredObject | None:
        """Return the current version, or None. Raises KeyError without the bucket."""
        with self._lock:
            return self._buckets[bucket].get(key)

    def delete(self, bucket: str, key: str) -> None:
        """Remove the key, if it is there. Raises KeyError without the bucket."""
        with self._lock:
            self._buckets[bucket].pop(key, None)
            self._listings.pop(bucket, None)

    def listing(self, bucket: str) -> list[StoredObject]:
        """Return the objects in the order of their keys' bytes; not to be changed. KeyError without the bucket."""
        with self._lock:
            found = self._listings.get(bucket)
            if found is None:
                found = sorted(self._buckets[bucket].values(), key=lambda each: sort_key(each.key))
                self._listings[bucket] = found
            return found


def sort_key(key: str) -> bytes:
    """Return what keys are ordered by: their bytes, which differs from Python's order beyond U+FFFF and surrogates."""
    return key.encode("utf-8", "surrogateescape")


def _etag(generation: int) -> str:
    """Return a fresh ETag. It ends like a multipart upload's, so that no client takes it for the content's MD5."""
    return f'"{blake2b(generation.to_bytes(8), digest_size=16).hexdigest()}-1"'
