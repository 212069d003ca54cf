"""Extents: runs of blocks that one request brings, on their way or landed.

Law: an extent belongs to the cache, which alone changes it; others read it. Its bytes are there only when all of them
were checked.
"""

from collections.abc import Callable

import trio

from modelfs.blocks import BLOCK_BYTES, ObjectInfo, block_count
from modelfs.connections import Ticket
from modelfs.errors import CorruptAnswerError, ModelfsError

UNREAD_STALE_S = 30.0
"""How long look-ahead may wait for its reader while others want its room. Files that are held open and read no further
(long-lived mappings) would else take the whole budget for ever: six left a seventh without read-ahead (seen)."""

STRAY_STALE_S = 1.0
"""The same for the block of a small read out of nowhere: its neighbours may be wanted next, or nothing of it ever."""


class Extent:
    """A run of blocks of one object version that one request brings."""

    __slots__ = (
        "began_s",
        "data",
        "error",
        "info",
        "is_abandoned",
        "landed",
        "landed_at_s",
        "length",
        "loading",
        "offset",
        "on_landed",
        "patience_s",
        "ticket",
        "waiters",
    )

    def __init__(self, info: ObjectInfo, blocks: range, on_landed: "Landed | None" = None) -> None:
        self.info = info
        self.offset = blocks.start * BLOCK_BYTES
        self.length = min(blocks.stop * BLOCK_BYTES, info.size) - self.offset
        self.on_landed = on_landed
        self.loading = trio.CancelScope()
        self.began_s = 0.0  # of trio's clock
        self.ticket: Ticket | None = None  # while it is on its way
        self.data: memoryview | None = None
        self.error: ModelfsError | None = None
        self.landed = trio.Event()
        self.landed_at_s = 0.0  # of trio's clock
        self.patience_s = UNREAD_STALE_S
        self.waiters = 0
        self.is_abandoned = False  # nobody has the file open, and it has not landed yet

    @property
    def blocks(self) -> range:
        """The indexes of its blocks."""
        return range(self.offset // BLOCK_BYTES, block_count(self.offset + self.length, block_bytes=BLOCK_BYTES))


Landed = Callable[[Extent], None]
"""Told of an extent whose bytes have come, after those who wait for them."""


def checked(extent: Extent, data: memoryview) -> memoryview:
    """Return ``data`` if it is as long as was asked. An engine's duty, but a reader of less would never end."""
    if len(data) != extent.length:
        raise CorruptAnswerError(f"{extent.info.key!r}: {len(data)} bytes came instead of {extent.length}")
    return data
