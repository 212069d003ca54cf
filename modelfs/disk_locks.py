"""Who downloads a block, who reads it, who may throw it away: locks that all processes of a machine see.

Law: a lock ends with its holder, however that ends, since it is the kernel's (an open file description lock on a range
of one file; see fcntl_locking(2)). No byte of that file means anything: a block's lock is a place in it, at a hash of
its object. Two objects may share places, and then wait for each other once in a while, which is no harm.

Nothing is made for a lock: a file for each would be one more thing that a crash leaves. The kernel walks the list of
locks of the file, some hundred at most.

Each Locks is one holder. What one holder reads and what it throws away do not stand in each other's way, so a process
has a Locks for each: for claims, for reads, for evictions.
"""

import fcntl
import os
import struct
import threading

_FLOCK = struct.Struct("@hhqqi")  # l_type, l_whence, l_start, l_len, l_pid, which must be 0
_OBJECT_BITS = 38
_PLACES = 1 << 24  # of each object: 2**62 in all
_CENSUS_PLACE = 1 << 62
_CHUNK_PLACES = 1 << 23  # from here on; before it those of blocks, of which 2**23 make a terabyte


class Locks:
    """One holder of locks in the file ``path``, relative to the open folder ``folder_fd``. Thread-safe."""

    def __init__(self, folder_fd: int, path: str) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=folder_fd)
        self._mutex = threading.Lock()
        self._held: set[tuple[int, int]] = set()

    def close(self) -> None:
        """Let go of everything."""
        os.close(self._fd)

    def claim(self, object_id: bytes, first: int, stop: int) -> bool:
        """Take the right to download the blocks ``[first, stop)`` of an object; False where somebody has it."""
        return self._hold(*_blocks(object_id, first, stop))

    def unclaim(self, object_id: bytes, first: int, stop: int) -> None:
        """Give back what ``claim`` gave."""
        self._let_go(*_blocks(object_id, first, stop))

    def share(self, object_id: bytes, first: int, stop: int) -> bool:
        """Keep blocks from being thrown away while they are read; False where they are just being."""
        return self._set(fcntl.F_RDLCK, *_blocks(object_id, first, stop))

    def unshare(self, object_id: bytes, first: int, stop: int) -> None:
        """End what ``share`` began."""
        self._set(fcntl.F_UNLCK, *_blocks(object_id, first, stop))

    def own(self, object_id: bytes, chunk: int, blocks: int) -> bool:
        """Take a whole chunk, of so many blocks, to throw it away; False where somebody reads or fills it."""
        start, length = _blocks(object_id, chunk * blocks, (chunk + 1) * blocks)
        if not self._set(fcntl.F_WRLCK, start, length):
            return False
        if self.hold_header(object_id, chunk):
            return True
        self._set(fcntl.F_UNLCK, start, length)
        return False

    def disown(self, object_id: bytes, chunk: int, blocks: int) -> None:
        """End what ``own`` began."""
        self._set(fcntl.F_UNLCK, *_blocks(object_id, chunk * blocks, (chunk + 1) * blocks))
        self.drop_header(object_id, chunk)

    def hold_header(self, object_id: bytes, chunk: int) -> bool:
        """Take the right to change a chunk's header; False where somebody has it, which is for a moment."""
        return self._hold(_place(object_id) + _CHUNK_PLACES + chunk % _CHUNK_PLACES, 1)

    def drop_header(self, object_id: bytes, chunk: int) -> None:
        """End what ``hold_header`` began."""
        self._let_go(_place(object_id) + _CHUNK_PLACES + chunk % _CHUNK_PLACES, 1)

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
            self._set(fcntl.F_UNLCK, start, length)

    def _set(self, kind: int, start: int, length: int) -> bool:
        try:
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))
        except BlockingIOError:
            return False
        return True


def _place(object_id: bytes) -> int:
    return (int.from_bytes(object_id[:8], "little") & ((1 << _OBJECT_BITS) - 1)) * _PLACES


def _blocks(object_id: bytes, first: int, stop: int) -> tuple[int, int]:
    """Return where the locks of some blocks begin, and how many there are."""
    return _place(object_id) + first % _CHUNK_PLACES, min(stop - first, _CHUNK_PLACES)
