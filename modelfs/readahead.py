"""The prefetch policy: reads in, block ranges out.

Law: pure; no I/O, no clock, no knowledge of what is cached. One ReadAhead for each inode, fed with every READ of all
its open files, follows several interleaved sequential streams (tensor-parallel ranks, mmap faults, the kernel's own
read-ahead, which arrives out of order) and tells for each read how much to fetch at once and how far to look ahead.

A stream earns its fetch unit and its window: from one block for a read out of nowhere, so that a cold 4 KiB read never
costs megabytes, doubling with what was read in sequence up to ``UNIT_BYTES_MAX``. What was skipped earns nothing, and
neither does a read that leads a stream no further: small random reads within 2 MiB of each other once earned 5 MiB for
each 4 KiB in a file of 20 MiB (simulated; 1 to 2 blocks now).

A reader that goes back is read ahead of likewise: see ``backward``.

A large read of a file's beginning is presumed to want all of it: it earns WHOLE_BYTES at once, and the window with
the second. A small one (a header, the signature of a type) earns a megabyte.
"""

from dataclasses import dataclass

from modelfs.backward import Backward
from modelfs.blocks import BLOCK_BYTES, block_count

UNIT_BYTES_MAX = 8 * 1024 * 1024
"""The largest single fetch: at 8 MiB a request's 15-100 ms to the first byte is small beside its transfer."""

FIRST_UNIT_BYTES = 1024 * 1024
"""The first fetch of a file that is read from its beginning: whole, for most configs and label files."""

LARGE_READ_BYTES = 128 * 1024
"""Who asks for so much of a beginning is copying or loading; the kernel makes 16 KiB of a first read of 4."""

WHOLE_BYTES = 16 * 1024 * 1024

STREAMS_MAX = 16
"""Streams remembered for each inode: two more than the 8 ranks of a common GPU host, with room for strays."""

SHARER_BYTES = 32 * 1024 * 1024
SHARER_READS = 64
LEAST_SHARE_BYTES = 16 * 1024 * 1024
"""A stream has part in the memory for look-ahead when it has read so much in sequence, the last of it within so many
reads; and its part is not less than that. Without parts four readers of a quarter each fetched 1.16 bytes for each: the
look-ahead of two filled the budget, and what the others came to wait for drove out what was still to be read."""

SLACK_BYTES = 2 * 1024 * 1024
"""How far from a stream's head a read can still belong to it: the kernel keeps two requests of 1 MiB in the air."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do for one read, in blocks.

    ``unit`` is how many blocks the fetch that answers it should hold (at least 1), ``ahead_unit`` each of those behind;
    ``ahead`` is the half-open range of blocks that should be on their way once the read itself is served, and lies
    wholly behind the read; or wholly before it if ``goes_back``, when the last of them are wanted first. ``is_stray``:
    less than a block was read in sequence here: nothing speaks for what is near.
    """

    unit: int
    ahead: range
    ahead_unit: int
    is_stray: bool = False
    goes_back: bool = False


@dataclass(slots=True)
class _Stream:
    head: int  # the end of the furthest read, in bytes
    run_bytes: int  # what was read in sequence so far
    used: int  # when it was last fed, in reads
    wants_all: bool = False


class ReadAhead:
    """The streams of one inode of ``size`` bytes."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._streams: list[_Stream] = []
        self._backward = Backward()
        self._reads = 0

    def on_read(
        self,
        offset: int,
        length: int,
        *,
        window_bytes: int,
        unit_bytes: int = UNIT_BYTES_MAX,
        passed_bytes: int = 0,
        unseen_bytes: int = 0,
        unseen_behind_bytes: int = 0,
        shared_bytes: int | None = None,
    ) -> Advice:
        """Take note of a READ of ``[offset, offset + length)``, inside the file, and return the advice for it.

        ``window_bytes`` bounds how far ahead it may look, and ``unit_bytes`` a fetch. ``passed_bytes`` before the read
        were read as well, in sequence, from the page cache and so unseen; ``unseen_bytes`` may have been, but for what
        is ``near_bytes`` before it, by a stream that had come to them; and ``unseen_behind_bytes`` right behind it, by
        one that goes back. ``shared_bytes`` is what all streams together
        may look ahead.

        >>> ReadAhead(10**9).on_read(500_000_000, 4096, window_bytes=2**25)
        Advice(unit=1, ahead=range(3815, 3815), ahead_unit=1, is_stray=True, goes_back=False)
        """
        self._reads += 1
        stop = min(offset + length, self._size)
        if not self._leads_on(length, stop) and (
            run_bytes := self._backward.on_read(
                offset, stop, near_bytes=near_bytes(length), unseen_bytes=unseen_behind_bytes
            )
        ):
            if shared_bytes is not None:
                window_bytes = min(window_bytes, max(LEAST_SHARE_BYTES, shared_bytes // self._sharers(None)))
            return self._advise_back(offset, stop, run_bytes, window_bytes, unit_bytes)
        stream, goes_on = self._follow(offset, stop, passed_bytes, max(passed_bytes, unseen_bytes))
        stream.used = self._reads
        unit = self._unit(stream.run_bytes, window_bytes, unit_bytes)
        if shared_bytes is not None and (sharers := self._sharers(stream)) > 1:
            window_bytes = min(window_bytes, max(LEAST_SHARE_BYTES, shared_bytes // sharers))
        ahead_unit, earned_bytes = unit, 4 * stream.run_bytes
        stream.wants_all |= offset == 0 and stop >= min(LARGE_READ_BYTES, self._size)
        if stream.wants_all:
            ahead_unit = self._unit(UNIT_BYTES_MAX, window_bytes, unit_bytes)
            earned_bytes = WHOLE_BYTES if stream.run_bytes < 2 * FIRST_UNIT_BYTES else window_bytes
        first = block_count(stop, block_bytes=BLOCK_BYTES)
        ahead_bytes = min(earned_bytes, window_bytes) if goes_on else 0
        last = block_count(min(stop + ahead_bytes, self._size), block_bytes=BLOCK_BYTES)
        if stop + ahead_bytes < self._size:
            last -= (
                last % ahead_unit
            )  # whole units only: each READ would else ask for one more sliver (seen: 1 MiB each)
        return Advice(unit, range(first, max(first, last)), ahead_unit, stream.run_bytes < BLOCK_BYTES)

    def _leads_on(self, length: int, stop: int) -> bool:
        """Tell whether a read that ends at ``stop`` leads a stream a little further, as most reads do."""
        return any(0 < stop - stream.head <= self._reach_bytes(stream, length) for stream in self._streams)

    @staticmethod
    def _reach_bytes(stream: _Stream, length: int) -> int:
        """Return how far from a stream's head a read can be that belongs to it: that grows with both."""
        return max(near_bytes(length), min(SLACK_BYTES, stream.run_bytes))

    def _advise_back(self, offset: int, stop: int, run_bytes: int, window_bytes: int, unit_bytes: int) -> Advice:
        """Return the advice for a read of a reader that goes back, which has read ``run_bytes`` in sequence."""
        ahead_unit = self._unit(run_bytes, window_bytes, unit_bytes)
        last = offset // BLOCK_BYTES
        first = block_count(max(0, offset - min(4 * run_bytes, window_bytes)), block_bytes=BLOCK_BYTES)
        first += -first % ahead_unit  # whole units only
        own = min(block_count(stop, block_bytes=BLOCK_BYTES) - last, UNIT_BYTES_MAX // BLOCK_BYTES)
        own = max(1, min(own, window_bytes // BLOCK_BYTES))
        return Advice(own, range(min(first, last), last), ahead_unit, run_bytes < BLOCK_BYTES, goes_back=True)

    def _sharers(self, stream: _Stream | None) -> int:
        """Return how many streams are being read now, ``stream`` (None for one that goes back) among them."""
        return 1 + sum(
            each is not stream and each.run_bytes >= SHARER_BYTES and self._reads - each.used < SHARER_READS
            for each in self._streams
        )

    @property
    def longest_bytes(self) -> int:
        """How much was read in sequence by the stream that has read most."""
        return max((stream.run_bytes for stream in self._streams), default=0)

    def head_in(self, start: int, stop: int) -> int:
        """Return how far ``[start, stop)`` has been read by the streams that have come to it; ``start`` by none."""
        return max((stream.head for stream in self._streams if start < stream.head <= stop), default=start)

    def _follow(self, offset: int, stop: int, passed_bytes: int, unseen_bytes: int) -> tuple[_Stream, bool]:
        """Return the stream that a read belongs to, and whether it leads it further."""
        length = stop - offset
        stream = self._nearest(offset, length, unseen_bytes)
        if stream is None:
            run_bytes = FIRST_UNIT_BYTES if offset == 0 else length + passed_bytes
            return self._begin(stop, run_bytes), offset == 0 or passed_bytes > 0
        goes_on = stop > stream.head
        stream.run_bytes += min(max(0, stop - stream.head), length + unseen_bytes)
        stream.head = max(stream.head, stop)
        return stream, goes_on

    @staticmethod
    def _unit(run_bytes: int, window_bytes: int, unit_bytes: int) -> int:
        most = min(UNIT_BYTES_MAX, unit_bytes, window_bytes // 4, run_bytes)
        return max(1, _power_of_two_below(most // BLOCK_BYTES))

    def _nearest(self, offset: int, length: int, unseen_bytes: int) -> _Stream | None:
        """Return the stream that a read goes on with.

        Those that have come to the same place are one from then on, with all that the longest of them has earned: one
        of 8 GiB that comes to a place where somebody had a look before would else begin again with a megabyte. Whoever
        copies a tensor out of a mapping looks at its end first.
        """
        near = [
            stream
            for stream in self._streams
            if abs(offset - stream.head) <= self._reach_bytes(stream, length)
            or 0 <= offset - stream.head <= unseen_bytes
        ]
        passed = [stream for stream in near if stream.head <= offset]
        if not passed:
            return min(near, key=lambda stream: stream.head - offset, default=None)
        longest = max(passed, key=lambda stream: stream.run_bytes)
        longest.wants_all = any(stream.wants_all for stream in passed)
        longest.head = max(stream.head for stream in passed)
        self._streams = [stream for stream in self._streams if stream is longest or stream not in passed]
        return longest

    def _begin(self, head: int, run_bytes: int) -> _Stream:
        if len(self._streams) == STREAMS_MAX:
            self._streams.remove(min(self._streams, key=lambda stream: stream.used))
        stream = _Stream(head, run_bytes, self._reads)
        self._streams.append(stream)
        return stream


def near_bytes(length: int) -> int:
    """Return how far from each other two reads of ``length`` can be and still belong together."""
    return min(SLACK_BYTES, max(BLOCK_BYTES, 2 * length))


def _power_of_two_below(number: int) -> int:
    """Return the greatest power of two that is at most ``number``; 0 for 0.

    >>> [_power_of_two_below(number) for number in (0, 1, 3, 64, 65)]
    [0, 1, 2, 64, 64]
    """
    return 1 << (number.bit_length() - 1) if number else 0
