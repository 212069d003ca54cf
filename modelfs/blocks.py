"""Objects, and the fixed-size blocks they are read in.

Law: nothing here does I/O or knows a cloud. Sizes and offsets are bytes; ranges are half-open.
Identity is (key, version): two versions of a key never share a block.
"""

from typing import NamedTuple

BLOCK_BYTES = 128 * 1024
"""The unit of caching: the largest READ that an untuned kernel sends, so a cold small read costs one of these."""


class ObjectInfo(NamedTuple):
    """One version of one object, as a listing tells it.

    ``key`` is relative to the repository's prefix, with "/" between segments, and never begins with the prefix's
    own slash; a folder marker ends in "/". ``version`` is what pins a read: an ETag (S3, with its quotes), a
    generation, or a local file's identity. ``size`` is in bytes. ``mtime_ns`` is the store's last-modified time in
    nanoseconds since the epoch, from the listing.
    """

    key: str
    size: int
    version: str
    mtime_ns: int


def span(offset: int, length: int, *, size: int, block_bytes: int) -> range:
    """Return the indexes of the blocks that hold ``[offset, offset + length)``, cut to ``size``.

    Empty at or after the end, where read(2) returns 0 bytes.

    >>> span(3, 2, size=10, block_bytes=4), span(8, 99, size=10, block_bytes=4), span(10, 1, size=10, block_bytes=4)
    (range(0, 2), range(2, 3), range(0, 0))
    """
    stop = min(offset + length, size)
    if stop <= offset:
        return range(0)
    return range(offset // block_bytes, -(-stop // block_bytes))


def block_count(size: int, *, block_bytes: int) -> int:
    """Return how many blocks an object of ``size`` bytes has.

    >>> [block_count(size, block_bytes=4) for size in (0, 1, 4, 5)]
    [0, 1, 1, 2]
    """
    return -(-size // block_bytes)
