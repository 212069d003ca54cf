"""Who downloads a block, who reads it, who may throw it away: locks that all processes of a machine see.

Law: a lock ends with its holder, however that ends, since it is the kernel's (an open file description lock on a range
of one file; see fcntl_locking(2)). No byte of that file means anything: a block's lock is a place in it, at a hash of
its object. Two objects may share places, and then wait for each other once in a while, which is no harm.

Nothing is made for a lock: a file for each would be one more thing that a crash leaves. The kernel walks the list of
locks of the file, some hundred at most.

Each Locks is one holder to the kernel, which lets a holder change a lock of its own. So a process has one for claims,
one for reads and one for evictions; what two threads of it may hold at the same time is counted here.
"""

import fcntl
import os
import struct
import threading
from collections import Counter
from contextlib import suppress

_FLOCK = struct.Struct("@hhqqi")  # l_type, l_whence, l_start, l_len, l_pid, which must be 0
_OBJECT_BITS = 38
_PLACES = 1 << 24
"""Of each object, 2**62 in all: first those of its blocks, 2**23 of which make a terabyte, then those of its chunks."""

_BLOCKS = _HEADER_PLACES = 1 << 23
_CHUNKS = 1 << 22
_READ_PLACES = _HEADER_PLACES + _CHUNKS
_ATTENDED = range(_CHUNKS - 1, _CHUNKS)  # as if it were read: no object has that chunk
_CENSUS_PLACE = 1 << 62


class Locks:
    """One holder of locks in the file ``path``, relative to the open folder ``folder_fd``. Thread-safe.

    It is open for as long as anybody refers to it: a claim may be given back when its folder has gone.
    """

    def __init__(self, folder_fd: int, path: str) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=folder_fd)
        self._mutex = threading.Lock()
        self._held: set[tuple[int, int]] = set()
        self._shared: Counter[int] = Counter()

    def __del__(self) -> None:
        """Let go of everything."""
        with suppress(AttributeError):  # it was never open
            os.close(self._fd)

    def claim(self, object_id: bytes, first: int, stop: int) -> bool:
        """Take the right to download the blocks ``[first, stop)`` of an object; False where somebody has it."""
        return self._hold(*_blocks(object_id, first, stop))

    def unclaim(self, object_id: bytes, first: int, stop: int) -> None:
        """Give back what ``claim`` gave."""
        self._let_go(*_blocks(object_id, first, stop))

    def share(self, object_id: bytes, chunks: range) -> bool:
        """Keep chunks from being thrown away while they are read; False where they are just being."""
        start = _place(object_id) + _READ_PLACES + chunks.start % _CHUNKS
        with self._mutex:
            for place in range(start, start + len(chunks)):
                if not self._shared[place] and not self._set(fcntl.F_RDLCK, place, 1):
                    self._unshare(range(start, place))
                    return False
                self._shared[place] += 1
        return True

    def unshare(self, object_id: bytes, chunks: range) -> None:
        """End what ``share`` began."""
        start = _place(object_id) + _READ_PLACES + chunks.start % _CHUNKS
        with self._mutex:
            self._unshare(range(start, start + len(chunks)))

    def _unshare(self, places: range) -> None:
        for place in places:
            self._shared[place] -= 1
            if not self._shared[place]:
                del self._shared[place]
                self._set(fcntl.F_UNLCK, place, 1)

    def attend(self, object_id: bytes) -> bool:
        """Let others know that an object is read here; False where they cannot be."""
        return self.share(object_id, _ATTENDED)

    def unattend(self, object_id: bytes) -> None:
        """End what ``attend`` began."""
        self.unshare(object_id, _ATTENDED)

    def is_attended(self, object_id: bytes) -> bool:
        """Tell whether others read an object."""
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _place(object_id) + _READ_PLACES + _ATTENDED.start, 1, 0)
        return bool(_FLOCK.unpack(fcntl.fcntl(self._fd, fcntl.F_OFD_GETLK, asked))[0] != fcntl.F_UNLCK)

    def own(self, object_id: bytes, chunk: int, blocks: int) -> bool:
        """Take a whole chunk, of so many blocks, to throw it away; False where somebody reads or fills it."""
        taken: list[tuple[int, int]] = []
        for start, length in _of_chunk(object_id, chunk, blocks):
            if not self._hold(start, length):
                for each in taken:
                    self._let_go(*each)
                return False
            taken.append((start, length))
        return True

    def disown(self, object_id: bytes, chunk: int, blocks: int) -> None:
        """End what ``own`` began."""
        for each in _of_chunk(object_id, chunk, blocks):
            self._let_go(*each)

    def hold_header(self, object_id: bytes, chunk: int) -> bool:
        """Take the right to change a chunk's header; False where somebody has it, which is for a moment."""
        return self._hold(_header(object_id, chunk), 1)

    def drop_header(self, object_id: bytes, chunk: int) -> None:
        """End what ``hold_header`` began."""
        self._let_go(_header(object_id, chunk), 1)

    def hold_census(self) -> bool:
        """Take the right to count all chunks; False where somebody does so."""
        return self._hold(_CENSUS_PLACE, 1)

    def drop_census(self) -> None:
        """End what ``hold_census`` began."""
        self._let_go(_CENSUS_PLACE, 1)

    def _hold(self, start: int, length: int) -> bool:
        """Take places for ourselves, also against our own other threads, whom the kernel takes for us."""
        with self._mutex:
            if any(start < theirs + count and theirs < start + length for theirs, count in self._held):
                return False
            if not self._set(fcntl.F_WRLCK, start, length):
                return False
            self._held.add((start, length))
            return True

    def _let_go(self, start: int, length: int) -> None:
        with self._mutex:
            self._held.discard((start, length))
            with suppress(OSError):  # it ends with us at the latest
                self._set(fcntl.F_UNLCK, start, length)

    def _set(self, kind: int, start: int, length: int) -> bool:
        try:
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))
        except BlockingIOError:
            return False
        return True


def _place(object_id: bytes) -> int:
    return (int.from_bytes(object_id[:8], "little") & ((1 << _OBJECT_BITS) - 1)) * _PLACES


def _header(object_id: bytes, chunk: int) -> int:
    return _place(object_id) + _HEADER_PLACES + chunk % _CHUNKS


def _blocks(object_id: bytes, first: int, stop: int) -> tuple[int, int]:
    """Return where the places of some blocks begin, and how many there are."""
    return _place(object_id) + first % _BLOCKS, min(stop - first, _BLOCKS)


def _of_chunk(object_id: bytes, chunk: int, blocks: int) -> tuple[tuple[int, int], ...]:
    """Return all places of a chunk."""
    reading = _place(object_id) + _READ_PLACES + chunk % _CHUNKS
    return _blocks(object_id, chunk * blocks, (chunk + 1) * blocks), (_header(object_id, chunk), 1), (reading, 1)
