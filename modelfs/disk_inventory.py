"""What the disk cache holds, for people: listed, pinned, thrown away, verified. Beside any number of living mounts.

Law: blocking calls for a command. What is in use is not thrown away, and a chunk that is damaged is. Nothing is made
where there is no cache.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from modelfs.disk_chunks import DamagedChunkError, chunk_buffer
from modelfs.disk_format import BLOCKS, CHUNK_BYTES
from modelfs.disk_home import FOLDER, Home
from modelfs.disk_index import Index, Kept, is_in
from modelfs.disk_policy import KEPT_FREE_SHARE, default_quota
from modelfs.version_policy import is_version


@dataclass(frozen=True, slots=True)
class Share:
    """What there is of one version of a model, or of what lies beside its versions (``version`` is "" then).

    ``bytes`` are those of its files, ``kept_bytes`` what it takes of the disk, ``used_s`` Unix time. Of ``files`` some
    may be ``gone``: replaced or deleted in the store.
    """

    source: str
    model: str
    version: str
    files: int
    bytes: int
    kept_bytes: int
    gone: int
    is_pinned: bool
    used_s: float


@dataclass(frozen=True, slots=True)
class Space:
    """How much there is, and may be. ``pins`` are what was pinned by name."""

    path: str
    used_bytes: int
    quota_bytes: int
    free_bytes: int
    kept_free_bytes: int
    disk_bytes: int
    objects: int
    chunks: int
    pins: list[str]


@dataclass(frozen=True, slots=True)
class Thrown:
    """What was thrown away, and what was in use and stays."""

    chunks: int
    bytes: int
    in_use: int


@dataclass(frozen=True, slots=True)
class Verified:
    """What was read and checked, and what of it was damaged, and so thrown away."""

    chunks: int
    bytes: int
    damaged: list[str]


class Inventory:
    """The cache in the folder ``path``. Raises RefusedError, OSError and sqlite3.Error, as ``Home`` does."""

    def __init__(self, path: str) -> None:
        self._home = Home(path)
        self._path = path
        self._index: Index = self._home.open_index()

    def close(self) -> None:
        """Let go of it."""
        self._index.close()

    def shares(self, below: str | None = None) -> list[Share]:
        """Return what there is, or what of it is ``below`` a name, sorted by repository, model and version."""
        found: dict[tuple[str, str, str], list[Kept]] = {}
        for each in self._kept(below):
            model, _, rest = each.key.partition("/")
            version, slash, _ = rest.partition("/")
            found.setdefault((each.source, model, version if slash and is_version(version) else ""), []).append(each)
        return [
            Share(
                *place,
                files=len(objects),
                bytes=sum(each.size for each in objects),
                kept_bytes=sum(each.bytes for each in objects),
                gone=sum(each.is_gone for each in objects),
                is_pinned=any(each.is_pinned for each in objects),
                used_s=max(each.used_s for each in objects),
            )
            for place, objects in sorted(found.items(), key=lambda item: _in_order(item[0]))
        ]

    def space(self, quota_bytes: int | None) -> Space:
        """Return how much there is, where ``quota_bytes`` (None: what the disk allows) may be."""
        free_bytes, disk_bytes = self._home.space()
        usage = self._index.usage()
        return Space(
            self._path,
            usage.used_bytes,
            default_quota(disk_bytes) if quota_bytes is None else quota_bytes,
            free_bytes,
            int(disk_bytes * KEPT_FREE_SHARE),
            disk_bytes,
            usage.objects,
            usage.chunks,
            self._index.pins(),
        )

    def pin(self, name: str, *, is_on: bool) -> int:
        """Have what ``name`` is or holds never thrown away, or let it go; return how many objects are there of it."""
        return self._index.pin(name, is_on=is_on)

    def is_pinned(self, name: str) -> bool:
        """Tell whether just this name was pinned."""
        return name in self._index.pins()

    def throw_away(self, below: str | None, *, pinned: bool) -> Thrown:
        """Throw away what is ``below`` a name, or everything, what is pinned only with ``pinned``."""
        chunks = thrown_bytes = in_use = 0
        for kept in self._kept(below):
            if kept.is_pinned and not pinned:
                continue
            for chunk in sorted(self._index.chunks_of(kept.id)):
                if not self._drop(kept.id, chunk):
                    in_use += 1
                    continue
                chunks += 1
                thrown_bytes += min(CHUNK_BYTES, kept.size - chunk * CHUNK_BYTES)
        return Thrown(chunks, thrown_bytes, in_use)

    def verify(self, on_chunk: Callable[[int], None], below: str | None = None) -> Verified:
        """Read all, or what is ``below`` a name, and throw away what is damaged. ``on_chunk`` is told bytes."""
        buffer = chunk_buffer()
        chunks = read_bytes = 0
        damaged: list[str] = []
        for kept in self._kept(below):
            for chunk in sorted(self._index.chunks_of(kept.id)):
                try:
                    length = self._home.chunks.verify(kept.id, kept.size, chunk, buffer)
                except DamagedChunkError as error:
                    damaged.append(f"{kept.name} at {chunk * CHUNK_BYTES}: {error}")
                    self._drop(kept.id, chunk)
                    length = 0
                chunks += 1
                read_bytes += length
                on_chunk(length)
        return Verified(chunks, read_bytes, damaged)

    def _drop(self, object_id: bytes, chunk: int) -> bool:
        """Throw a chunk away; False where somebody reads or fills it."""
        if not self._home.evictions.own(object_id, chunk, BLOCKS):
            return False
        try:
            self._home.chunks.drop(object_id, chunk)
            self._index.strike_out(object_id, chunk)
        finally:
            self._home.evictions.disown(object_id, chunk, BLOCKS)
        return True

    def _kept(self, below: str | None) -> list[Kept]:
        return [each for each in self._index.kept() if below is None or is_in(each.name, below)]


def exists(path: str) -> bool:
    """Tell whether there is a cache in the folder ``path``."""
    with suppress(OSError):
        return bool(os.listdir(os.path.join(path, FOLDER)))  # noqa: PTH118, PTH208  strings
    return False


def _in_order(place: tuple[str, str, str]) -> tuple[str, str, int]:
    source, model, version = place
    return source, model, int(version or 0)
