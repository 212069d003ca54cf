"""What a chunk file of the disk cache holds, and how it proves to be what was asked for.

Law: pure. A chunk is at most 64 blocks of one version of one object, in one file: a header of one page, then each block
at its own place, present or not. The header names the object, and holds a checksum of itself and of each block that is
there; a block's checksum is seeded with the object and the block's index. So a byte that has changed, a file that was
cut, and a block or a file that stands in another's place are all told, and nothing has to be in sync with anything
else: whatever a crash leaves is right, or is seen not to be.

Why one checksum for each block of 128 KiB: a random read then costs the disk a block, not a chunk. xxh3 takes 5 us for
one (27 GB/s from memory, measured), beside some 50 us that a disk takes.
"""

import hashlib
import json
import struct
from collections.abc import Iterator
from typing import NamedTuple

from xxhash import xxh3_64_intdigest

from modelfs.blocks import BLOCK_BYTES, block_count

FORMAT = 1
BLOCKS = 64
CHUNK_BYTES = BLOCKS * BLOCK_BYTES
"""8 MiB, the largest fetch: 131,072 files for a terabyte."""

HEADER_BYTES = 4096
"""Also what O_DIRECT aligns to."""

ID_BYTES = 16
_MAGIC = b"modelfs\n"
_FIXED = struct.Struct(f"<8sQ{ID_BYTES}sQQQ{BLOCKS}QI")  # its own checksum stands behind the magic
_OWN_SUM = struct.Struct("<Q")
_BEHIND_OWN_SUM = len(_MAGIC) + _OWN_SUM.size
_MASK = 2**64 - 1


class DamagedError(ValueError):
    """What is in a chunk file is not what was put there."""


class Identity(NamedTuple):
    """One version of one object, for one group of readers. ``id`` alone decides; the rest is for people.

    ``scope`` is a hash of the store and of who reads there. ``source`` is the repository in which the object was first
    met, and ``key`` its key there.
    """

    id: bytes
    scope: bytes
    source: str
    key: str
    version: str
    size: int

    @property
    def chunks(self) -> int:
        """How many chunks it has."""
        return -(-self.size // CHUNK_BYTES)


def object_id(scope: bytes, full_key: str, version: str, size: int) -> bytes:
    """Return what tells an object's version from all others. ``full_key`` is the store's own, prefix and all.

    >>> object_id(b"s", "k", "v", 9) == object_id(b"s", "k", "w", 9)
    False
    """
    named = json.dumps([FORMAT, scope.hex(), full_key, version, size]).encode()
    return hashlib.blake2b(named, digest_size=ID_BYTES, person=b"object").digest()


def scope_of(*parts: str) -> bytes:
    """Return the hash of what tells one group of readers from another; the parts may hold secrets."""
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=ID_BYTES, person=b"scope").digest()


def blocks_in(chunk: int, size: int) -> int:
    """Return how many blocks a chunk of an object of ``size`` bytes has.

    >>> blocks_in(0, CHUNK_BYTES + 1), blocks_in(1, CHUNK_BYTES + 1)
    (64, 1)
    """
    return min(BLOCKS, block_count(size - chunk * CHUNK_BYTES, block_bytes=BLOCK_BYTES))


class Piece(NamedTuple):
    """A run of blocks inside one chunk: ``first`` to ``stop`` are places in the chunk, ``at`` is in the run's data."""

    chunk: int
    first: int
    stop: int
    at: int

    @property
    def mask(self) -> int:
        """The blocks as bits."""
        return (1 << self.stop) - (1 << self.first)


def pieces(offset: int, length: int) -> Iterator[Piece]:
    """Yield what ``[offset, offset + length)`` is in each chunk. ``offset`` is a block's beginning.

    >>> list(pieces(CHUNK_BYTES - BLOCK_BYTES, 2 * BLOCK_BYTES))
    [Piece(chunk=0, first=63, stop=64, at=0), Piece(chunk=1, first=0, stop=1, at=131072)]
    """
    position, stop = offset, offset + length
    while position < stop:
        chunk, within = divmod(position, CHUNK_BYTES)
        until = min(stop, (chunk + 1) * CHUNK_BYTES)
        last = block_count(until - chunk * CHUNK_BYTES, block_bytes=BLOCK_BYTES)
        yield Piece(chunk, within // BLOCK_BYTES, last, position - offset)
        position = until


class Header(NamedTuple):
    """Which blocks of a chunk are there (``present`` has a bit for each), and their checksums."""

    identity: Identity
    chunk: int
    present: int
    sums: tuple[int, ...]

    def with_blocks(self, first: int, sums: list[int]) -> "Header":
        """Return the header of a chunk that has the blocks from ``first`` on as well."""
        stop = first + len(sums)
        all_sums = (*self.sums[:first], *sums, *self.sums[stop:])
        return self._replace(present=self.present | ((1 << stop) - (1 << first)), sums=all_sums)

    def check(self, first: int, data: memoryview) -> None:
        """See that ``data`` is what was put into the blocks from ``first`` on. Raises DamagedError."""
        stop = first + block_count(len(data), block_bytes=BLOCK_BYTES)
        if list(self.sums[first:stop]) != checksums(self.identity.id, self.chunk, first, data):
            raise DamagedError("a block has changed")


def empty_header(identity: Identity, chunk: int) -> Header:
    """Return the header of a chunk that has no block yet."""
    return Header(identity, chunk, 0, (0,) * BLOCKS)


def checksums(object_id: bytes, chunk: int, first: int, data: memoryview) -> list[int]:
    """Return the checksum of each block of ``data``, of which the first is block ``first`` of the chunk."""
    seed = int.from_bytes(object_id[:8], "little") + chunk * BLOCKS + first
    return [
        xxh3_64_intdigest(data[start : start + BLOCK_BYTES], (seed + index) & _MASK)
        for index, start in enumerate(range(0, len(data), BLOCK_BYTES))
    ]


def encode(header: Header) -> bytes | None:
    """Return the page that stands for ``header``; None where its names are too long for one."""
    identity = header.identity
    names = [identity.scope.hex(), identity.source, identity.key, identity.version]
    text = json.dumps(names, ensure_ascii=False).encode("utf-8", "surrogatepass")
    if _FIXED.size + len(text) > HEADER_BYTES:
        return None
    fixed = _FIXED.pack(_MAGIC, 0, identity.id, header.chunk, identity.size, header.present, *header.sums, len(text))
    page = (fixed + text).ljust(HEADER_BYTES, b"\0")
    own = _OWN_SUM.pack(xxh3_64_intdigest(page[_BEHIND_OWN_SUM:]))
    return page[: len(_MAGIC)] + own + page[_BEHIND_OWN_SUM:]


def decode(page: bytes | memoryview) -> Header | None:
    """Return the header that ``page`` stands for; None for one that was never written. Raises DamagedError."""
    page = bytes(page)
    if not page.strip(b"\0"):
        return None
    if len(page) != HEADER_BYTES or not page.startswith(_MAGIC):
        raise DamagedError("it has no header")
    if _OWN_SUM.pack(xxh3_64_intdigest(page[_BEHIND_OWN_SUM:])) != page[len(_MAGIC) : _BEHIND_OWN_SUM]:
        raise DamagedError("its header has changed")
    _, _, object_id, chunk, size, present, *sums, length = _FIXED.unpack_from(page)
    scope, source, key, version = json.loads(page[_FIXED.size : _FIXED.size + length].decode("utf-8", "surrogatepass"))
    return Header(Identity(object_id, bytes.fromhex(scope), source, key, version, size), chunk, present, tuple(sums))


def file_name(object_id: bytes, chunk: int) -> str:
    """Return where a chunk lies, below the folder of chunks.

    >>> file_name(bytes(16), 10)
    '00/00000000000000000000000000000000-a'
    """
    name = object_id.hex()
    return f"{name[:2]}/{name}-{chunk:x}"


def parse_name(name: str) -> tuple[bytes, int] | None:
    """Return whose chunk, and which, the last part of a file's name tells; None where it is none of ours.

    >>> parse_name("00000000000000000000000000000000-a")[1], parse_name("x")
    (10, None)
    """
    object_id, _, chunk = name.partition("-")
    try:
        found = bytes.fromhex(object_id), int(chunk, 16)
    except ValueError:
        return None
    return found if len(found[0]) == ID_BYTES and file_name(*found).endswith(f"/{name}") else None
