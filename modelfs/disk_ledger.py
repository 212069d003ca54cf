"""Ledger: the folder of the disk cache, opened, and its index kept, for all threads of a process.

Law: everything blocks, and raises TROUBLES. A folder that has vanished is opened anew, and so is an index that was
replaced by another process; one that is broken is thrown away and made anew. A folder whose disk has gone is not made
anew on the disk below, which is another's. What the disk has free is looked at twice a second, and what we enter
meanwhile is taken off.
"""

import errno
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial

from modelfs import disk_census
from modelfs.disk_format import BLOCKS, Identity
from modelfs.disk_home import Home, RefusedError, disk_root
from modelfs.disk_index import PAUSE_S, Entry, Index
from modelfs.disk_policy import Candidate, FilledDiskError, Room, default_quota
from modelfs.disk_tally import Tally

log = logging.getLogger(__name__)

TROUBLES = (OSError, sqlite3.Error, RefusedError, FilledDiskError)

Chunk = tuple[bytes, int]
"""An object's id, and which of its chunks."""

LOOK_S = 0.5
FOLDERS_BYTES = 2 * 1024 * 1024  # 256 folders, with the names of some hundred thousand chunks


class Ledger:
    """The folder ``path``. ``quota_bytes`` None is what the disk allows. Thread-safe."""

    def __init__(self, path: str, *, quota_bytes: int | None, tally: Tally) -> None:
        """Open nothing yet."""
        self.home: Home | None = None
        self.quota_bytes = self.used_bytes = 0
        self._path = path
        self._given_quota_bytes = quota_bytes
        self._tally = tally
        self._lock = threading.RLock()
        self._index: Index | None = None
        self._room = Room(0, 0, 0)
        self._looked_s = 0.0
        self._is_whole = False
        self._is_told = False
        self._disk_root = ""  # where its disk is mounted

    def open(self) -> Home:
        """Open the folder, or see once in a while that it still is what it was."""
        with self._lock:
            return self._opened()[0]

    def enter(self, identity: Identity, chunk: int, total_bytes: int) -> bool:
        """Enter a chunk that is going to be written, and will then take ``total_bytes``; False where there is no room.

        Others are thrown away for it. Raises FilledDiskError where it is the disk that has no room.
        """
        with self._lock:
            home, index = self._opened()
            self._is_whole = self._is_whole or index.fact(disk_census.WHOLE) is not None
            if not self._is_whole:
                return False  # how much there is, is being counted
            self._heed(entry := index.enter(identity, chunk, total_bytes, self._room, partial(_discard, home)))
            is_first = not (entry.is_fitting or entry.is_disk_filled or self._is_told)
            self._is_told |= is_first
        if entry.is_disk_filled:
            raise FilledDiskError
        if is_first:
            log.warning(
                "the disk cache has no room for all of a file: what else it holds is pinned, in use or of the same"
                " file; give it more with --cache-size path=%s key=%r size=%d quota_bytes=%d",
                *(self._path, identity.key, identity.size, self.quota_bytes),
            )
        return entry.is_fitting

    def give_way(self) -> bool:
        """Throw away what others need the room of; False where the disk has none even so."""
        with self._lock:
            home, index = self._opened()
            self._look(home, time.monotonic())
            if self._room.lack(0) <= 0:
                return True
            self._heed(entry := index.give_way(self._room, partial(_discard, home)))
        return not entry.is_disk_filled

    def _heed(self, entry: Entry) -> None:
        self._room = self._room._replace(free_bytes=self._room.free_bytes - entry.more_bytes)
        self.used_bytes = entry.used_bytes
        self._tally.add(evicted_chunks=entry.evicted)

    def strike_out(self, chunks: Iterable[Chunk]) -> None:
        """Tell that chunks are no longer on the disk; one that has come again since stays entered."""
        with self._lock:
            home, index = self._opened()
            index.strike_out_lost(chunks, home.chunks.exists)

    def touch(self, chunks: Iterable[Chunk]) -> None:
        """Tell that chunks were read."""
        with self._lock:
            self._opened()[1].touch(chunks)

    def mark_gone(self, scope: bytes, source: str, is_shown: Callable[[str, str], bool]) -> None:
        """Tell which objects of a repository there are; see the index. Others write in between."""
        after: bytes | None = b""
        while after is not None:
            with self._lock:
                after = self._opened()[1].mark_gone(scope, source, is_shown, after=after)
            time.sleep(PAUSE_S)

    def kept_bytes(self, scope: bytes) -> dict[bytes, int]:
        """Return how many bytes there are of each object; see the index."""
        with self._lock:
            return self._opened()[1].kept_bytes(scope)

    def close(self) -> None:
        """Let go of the folder and the index."""
        with self._lock:
            self._close()

    def mend(self, error: Exception) -> None:
        """Throw the index away if ``error`` says that it is broken. Raises nothing."""
        if not isinstance(error, sqlite3.DatabaseError) or isinstance(error, sqlite3.OperationalError):
            return
        with self._lock:
            log.warning("the index of the disk cache is broken, and made anew path=%s error=%s", self._path, error)
            if self.home is not None:
                self.home.remove_index()
            self._looked_s = 0.0

    def _opened(self) -> tuple[Home, Index]:
        now_s = time.monotonic()
        home, index = self.home, self._index
        if home is not None and index is not None:
            if now_s < self._looked_s + LOOK_S:
                return home, index
            if home.is_current() and index.is_current():
                self._look(home, now_s)
                return home, index
        self._close()
        root = disk_root(self._path)
        if len(root) < len(self._disk_root):  # both are above the same path
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._disk_root)
        home = Home(self._path)
        try:
            index = home.open_index()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise  # busy, or a disk that fails
            self.mend(error)
            home.remove_index()
            index = home.open_index()
        self._look(home, now_s)
        self.used_bytes = index.used_bytes()
        self._is_whole = disk_census.begin(home, index)
        self.home, self._index, self._disk_root = home, index, root
        return home, index

    def _close(self) -> None:
        self.home = None
        if self._index is not None:
            self._index.close()
            self._index = None

    def _look(self, home: Home, now_s: float) -> None:
        free_bytes, disk_bytes = home.space()
        self.quota_bytes = default_quota(disk_bytes) if self._given_quota_bytes is None else self._given_quota_bytes
        self._room = Room(self.quota_bytes - home.index_bytes() - FOLDERS_BYTES, free_bytes, disk_bytes)
        self._looked_s = now_s


def _discard(home: Home, candidate: Candidate) -> bool:
    """Throw a chunk away; False where somebody reads or fills it."""
    if not home.evictions.own(candidate.object_id, candidate.chunk, BLOCKS):
        return False
    try:
        home.chunks.drop(candidate.object_id, candidate.chunk)
    finally:
        home.evictions.disown(candidate.object_id, candidate.chunk, BLOCKS)
    return True
