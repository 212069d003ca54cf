"""What of an extent to push into the kernel's page cache, and what to hold back.

Law: pure. Nothing is pushed at or beyond the end of the file's last whole page, since the kernel would extend the file,
or leave what lies behind the end as it was; nothing before what was read, since those pages are there or on their way.

The readers of the page cache are invisible. So one page at each multiple of the step is held back: a *tripwire*. The
reader that comes to it sends a READ, which tells how far it is, and the window moves on. A file that is larger than
memory streams through without evicting itself, and a reader that stops stops the download.
"""

import mmap

from modelfs.blocks import BLOCK_BYTES

PAGE_BYTES = mmap.PAGESIZE
"""Of this machine; 64 KiB on some arm64 hosts."""

STEP_BYTES = 16 * 1024 * 1024
"""One READ of one page for each 16 MiB costs a stream 2 % (simulated: 0.2 ms of 10)."""


def segments(start: int, stop: int, *, size: int, step_bytes: int, wired_from: int = 0) -> list[tuple[int, int]]:
    """Return the parts of ``[start, stop)`` that may be pushed, as (start, stop), in order; each of whole pages.

    There is no tripwire before ``wired_from``.

    >>> P = PAGE_BYTES
    >>> segments(0, 4 * P, size=9 * P, step_bytes=2 * P) == [(P, 2 * P), (3 * P, 4 * P)]
    True
    """
    stop = min(stop, size)
    stop -= stop % PAGE_BYTES
    position = -(-start // PAGE_BYTES) * PAGE_BYTES
    found: list[tuple[int, int]] = []
    while position < stop:
        if position % step_bytes == 0 and position >= wired_from:
            position += PAGE_BYTES
        until = min(stop, -(-max(position + 1, wired_from) // step_bytes) * step_bytes)
        if position < until:
            found.append((position, until))
        position = until
    return found


def held_back(start: int, stop: int, *, size: int, step_bytes: int, wired_from: int = 0) -> list[int]:
    """Return the blocks with the bytes of ``[start, stop)`` that are not pushed: of tripwires, and of a last part page.

    >>> held_back(0, 3 * STEP_BYTES, size=3 * STEP_BYTES + 1, step_bytes=STEP_BYTES)
    [0, 128, 256]
    """
    stop = min(stop, size)
    first = start // step_bytes * step_bytes  # a part begins behind its tripwire
    if start - first > PAGE_BYTES:
        first += step_bytes
    wires = range(first, stop, step_bytes)
    blocks = {position // BLOCK_BYTES for position in wires if position >= wired_from}
    if stop == size and size % PAGE_BYTES and start < size:
        blocks.add((size - 1) // BLOCK_BYTES)
    return sorted(blocks)
