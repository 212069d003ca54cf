"""Streamer: the reads of one inode, turned into blocks that are asked for in time.

Law: one Streamer for each inode, shared by all its open files. A READ is answered from the cache's extents; the
policy then says what should be on its way, and the same cache is asked for it early: there is no second path for
prefetched bytes. A read inside one extent is answered by a view of it, without a copy.

A reader holds nothing in the cache while it waits: what it has so far it has copied. So any number of readers get
on with the smallest budget, one extent at a time.
"""

from modelfs.blocks import BLOCK_BYTES, ObjectInfo, span
from modelfs.cache import BlockCache
from modelfs.readahead import Advice, ReadAhead


class Streamer:
    """Reads of ``info`` through ``cache``, looking at most ``window_bytes`` ahead of each of its streams."""

    def __init__(self, info: ObjectInfo, cache: BlockCache, *, window_bytes: int) -> None:
        self.info = info
        self._cache = cache
        self._policy = ReadAhead(info.size, window_bytes=window_bytes)

    async def read(self, offset: int, length: int) -> memoryview | bytes:
        """Return ``[offset, offset + length)`` cut to the file's size; exactly these bytes, of one version.

        The result must be used before the next await. Raises a ModelfsError where they cannot be had in time.
        """
        stop = min(offset + length, self.info.size)
        if stop <= offset:
            return b""
        advice = self._policy.on_read(offset, stop - offset)
        self._ask_early(offset, stop, advice)
        view, base = await self._cache.read(self.info, offset // BLOCK_BYTES, advice.unit)
        if stop <= base + len(view):
            return self._take(view, base, offset, stop)
        copied = bytearray(stop - offset)
        position = offset
        while True:
            upto = min(stop, base + len(view))
            copied[position - offset : upto - offset] = self._take(view, base, position, upto)
            position = upto
            if position == stop:
                return memoryview(copied)
            view, base = await self._cache.read(self.info, position // BLOCK_BYTES, advice.unit)

    def close(self) -> None:
        """Tell the cache that nobody has the file open."""
        self._cache.abandon(self.info)

    def _ask_early(self, offset: int, stop: int, advice: Advice) -> None:
        """Start, in parallel, what this read needs behind its first extent, and what the policy looks ahead to."""
        needed = span(offset, stop - offset, size=self.info.size, block_bytes=BLOCK_BYTES)
        self._cache.start(self.info, needed.start, advice.unit)
        self._cache.prefetch(self.info, range(needed.start + 1, advice.ahead.stop), advice.unit)

    def _take(self, view: memoryview, base: int, offset: int, stop: int) -> memoryview:
        if stop == base + len(view):
            self._cache.read_to_end(self.info, offset // BLOCK_BYTES)
        return view[offset - base : stop - base]
