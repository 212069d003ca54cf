"""The prefetch policy: reads in, block ranges out.

Law: pure; no I/O, no clock, no knowledge of what is cached. One ReadAhead for each inode, fed with every READ of all
its open files, follows several interleaved sequential streams (tensor-parallel ranks, mmap faults, the kernel's own
read-ahead, which arrives out of order) and tells for each read how much to fetch at once and how far to look ahead.

A stream earns its fetch unit: from one block for a read out of nowhere, so that a cold 4 KiB read never costs
megabytes, doubling with what was read in sequence up to ``UNIT_BYTES_MAX``. A read at offset 0 is presumed to go on.
What was skipped earns nothing, and neither does a read that leads a stream no further: small random reads within 2 MiB
of each other once earned 5 MiB for each 4 KiB in a file of 20 MiB (simulated; 1 to 2 blocks now).
"""

from dataclasses import dataclass

from modelfs.blocks import BLOCK_BYTES, block_count

UNIT_BYTES_MAX = 8 * 1024 * 1024
"""The largest single fetch: at 8 MiB a request's 15-100 ms to the first byte is small beside its transfer."""

FIRST_UNIT_BYTES = 1024 * 1024
"""The first fetch of a file that is read from its beginning: whole, for most configs and label files."""

UNITS_AHEAD = 6
"""Fetches in flight ahead of a proven stream: 6 connections of about 90 MB/s fill a 5 Gbit/s link."""

STREAMS_MAX = 16
"""Streams remembered for each inode: two more than the 8 ranks of a common GPU host, with room for strays."""

SLACK_BYTES = 2 * 1024 * 1024
"""How far from a stream's head a read can still belong to it: the kernel keeps two requests of 1 MiB in the air."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do for one read, in blocks.

    ``unit`` is how many blocks a single fetch should hold (at least 1); ``ahead`` is the half-open range of blocks
    that should be on their way once the read itself is served, and lies wholly behind the read.
    """

    unit: int
    ahead: range


@dataclass(slots=True)
class _Stream:
    head: int  # the end of the furthest read, in bytes
    run_bytes: int  # what was read in sequence so far
    used: int  # when it was last fed, in reads


class ReadAhead:
    """The streams of one inode of ``size`` bytes. ``window_bytes`` bounds how far ahead any of them may look."""

    def __init__(self, size: int, *, window_bytes: int) -> None:
        self._size = size
        self._window_bytes = window_bytes
        self._streams: list[_Stream] = []
        self._reads = 0

    def on_read(self, offset: int, length: int) -> Advice:
        """Take note of a READ of ``[offset, offset + length)``, inside the file, and return the advice for it.

        >>> policy = ReadAhead(10**9, window_bytes=2**25)
        >>> policy.on_read(500_000_000, 4096)
        Advice(unit=1, ahead=range(3815, 3815))
        """
        self._reads += 1
        stop = min(offset + length, self._size)
        stream = self._nearest(offset, stop - offset)
        if stream is None:
            goes_on = offset == 0
            stream = self._begin(stop, FIRST_UNIT_BYTES if goes_on else stop - offset)
        else:
            goes_on = stop > stream.head
            stream.run_bytes += min(max(0, stop - stream.head), stop - offset)
            stream.head = max(stream.head, stop)
        stream.used = self._reads
        unit_bytes = min(UNIT_BYTES_MAX, self._window_bytes // 4, stream.run_bytes)
        unit = max(1, _power_of_two_below(unit_bytes // BLOCK_BYTES))
        first = block_count(stop, block_bytes=BLOCK_BYTES)
        ahead_bytes = min(unit * BLOCK_BYTES * UNITS_AHEAD, self._window_bytes) if goes_on else 0
        last = block_count(min(stop + ahead_bytes, self._size), block_bytes=BLOCK_BYTES)
        if stop + ahead_bytes < self._size:
            last -= last % unit  # whole units only: each READ would else ask for one more sliver (seen: 1 MiB each)
        return Advice(unit, range(first, max(first, last)))

    def _nearest(self, offset: int, length: int) -> _Stream | None:
        """Return the stream that a read goes on with; how far off it may be grows with it and with the stream."""
        near = [
            stream
            for stream in self._streams
            if abs(offset - stream.head) <= min(SLACK_BYTES, max(BLOCK_BYTES, 2 * length, stream.run_bytes))
        ]
        return min(near, key=lambda stream: abs(offset - stream.head), default=None)

    def _begin(self, head: int, run_bytes: int) -> _Stream:
        if len(self._streams) == STREAMS_MAX:
            self._streams.remove(min(self._streams, key=lambda stream: stream.used))
        stream = _Stream(head, run_bytes, self._reads)
        self._streams.append(stream)
        return stream


def _power_of_two_below(number: int) -> int:
    """Return the greatest power of two that is at most ``number``; 0 for 0.

    >>> [_power_of_two_below(number) for number in (0, 1, 3, 64, 65)]
    [0, 1, 2, 64, 64]
    """
    return 1 << (number.bit_length() - 1) if number else 0
