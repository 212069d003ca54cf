"""Memory that answers are received into, used again and again.

Law: a buffer is free when nobody holds a view of it any more, and never before: that is read off its reference count,
so no caller has to give anything back, and none can give it back too early. An answer that is still being written by an
abandoned request therefore never shares a buffer with its retry.

Why: fresh memory for each 8 MiB of a 1 GiB stream costs 260,000 page faults and the clearing of as many pages, 0.15
CPU-seconds for each GB (measured). The kernel's huge pages, where it gives them, also make a push of a buffer cheaper.
"""

import mmap
import sys
import threading
from contextlib import suppress

REUSED_BYTES = 1024 * 1024
"""Smaller ones come from the allocator, which is as good at them."""


class Buffers:
    """A pool for one process. Thread-safe."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._lock = threading.Lock()
        self._all: list[mmap.mmap] = []
        self._free_references = _free_references()

    def take(self, length: int) -> memoryview:
        """Return a writable view of exactly ``length`` bytes, of whatever content, that nobody else sees."""
        if length < REUSED_BYTES:
            return memoryview(bytearray(length))
        with self._lock:
            for index in range(len(self._all)):
                if length <= len(self._all[index]) <= 2 * length and self._is_free(index):
                    return memoryview(self._all[index])[:length]
            self._all.append(_allocated(length))
            return memoryview(self._all[-1])[:length]

    def trim(self, keep_bytes: int = 0) -> None:
        """Give free buffers back to the system, but for ``keep_bytes`` of them."""
        with self._lock:
            for index in reversed(range(len(self._all))):
                if self._is_free(index):
                    keep_bytes -= len(self._all[index])
                    if keep_bytes < 0:
                        del self._all[index]

    @property
    def allocated_bytes(self) -> int:
        """All that the pool holds, in use or free."""
        with self._lock:
            return sum(len(buffer) for buffer in self._all)

    def _is_free(self, index: int) -> bool:
        return sys.getrefcount(self._all[index]) == self._free_references


def _free_references() -> int:
    """Return the count of a buffer that only a list holds: measured, since it is the interpreter's own affair."""
    held = [mmap.mmap(-1, 1)]
    return sys.getrefcount(held[0])


def _allocated(length: int) -> mmap.mmap:
    buffer = mmap.mmap(-1, length)
    with suppress(OSError, ValueError):  # a kernel without huge pages
        buffer.madvise(mmap.MADV_HUGEPAGE)
    return buffer
