"""DiskTier: the blocks that this machine keeps on a disk, for one mount.

Law: what it returns was checked; what it does not have, or cannot read, is None and never an error. ``read`` and
``read_through`` block, and are called from threads; what else there is does not. A disk that fails is left alone for a
while, and the store is asked.

The parts: ``disk_format`` (what a file holds), ``disk_chunks`` (files), ``disk_locks`` (who may do what now),
``disk_index`` (room and order), ``disk_policy`` (what goes first), ``disk_home`` (the folder, and whether to trust it),
``disk_ledger`` (both opened), ``disk_writer`` (the threads that write).
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from typing import Any, NamedTuple

from modelfs.blocks import BLOCK_BYTES, ObjectInfo, block_count
from modelfs.disk_chunks import DamagedChunkError, chunk_buffer, padded
from modelfs.disk_format import BLOCKS, CHUNK_BYTES, Identity, empty_header, encode, object_id, pieces
from modelfs.disk_home import Home
from modelfs.disk_index import Index
from modelfs.disk_ledger import TROUBLES, Chunk, Ledger
from modelfs.disk_tally import Tally
from modelfs.disk_trouble import Trouble
from modelfs.disk_writer import Blocks, DiskWriter

log = logging.getLogger(__name__)

KNOWN_MOST = 10_000  # objects of which is remembered what there is
KNOWN_S = 30.0  # after which that is looked up again, since other mounts write too
DAMAGES_TOLD = 10

Get = Callable[[int, int], memoryview]
"""``get(offset, length)`` returns exactly these bytes of an object from the store, or raises."""


class Readership(NamedTuple):
    """For whom blocks are kept. ``scope`` is a hash of the store and of who reads there; ``source`` is for people.

    ``prefix`` stands before the repository's keys in the store: empty, or with a slash at its end.
    """

    scope: bytes
    source: str
    prefix: str


class Claim(NamedTuple):
    """The right to download some blocks, to be given back."""

    release: Callable[[], None]


class DiskTier:
    """The blocks of one mount's repository in the folder ``path``, which other mounts use as well. Thread-safe."""

    def __init__(
        self,
        path: str,
        readership: Readership,
        *,
        take: Callable[[int], memoryview],
        quota_bytes: int | None,
        queue_bytes: int,
        before: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open nothing yet. ``take(length)`` returns a buffer of exactly that many bytes, aligned from 1 MiB on.

        ``quota_bytes`` None is what the disk allows. ``before`` is called in the thread that writes.
        """
        self._path = path
        self._readership = readership
        self._take = take
        self._tally = Tally()
        self._trouble = Trouble(path, "read", clock)
        self._ledger = Ledger(path, quota_bytes=quota_bytes, tally=self._tally)
        self._writing = Trouble(path, "written", clock)
        self._writer = DiskWriter(
            self._ledger,
            self._writing,
            queue_bytes=queue_bytes,
            tally=self._tally,
            written=self._note_written,
            before=before,
        )
        self._lookups: Index | None = None
        self._looking = threading.Lock()  # for as long as a look-up takes
        self._judging = threading.Lock()  # for as long as a chunk is read again that was found damaged
        self._lock = threading.Lock()  # of what follows, for a moment
        self._known: OrderedDict[bytes, tuple[float, set[int]]] = OrderedDict()

    def open(self) -> None:
        """Open the folder. Blocks; what is wrong is told, and tried again later."""
        try:
            self._ledger.open()
        except TROUBLES as error:
            self._writing.note(error)
        self._writer.begin()

    def end(self, within_s: float) -> None:
        """Write what is waiting, as far as there is time, and let go of the folder. Blocks."""
        self._writer.end(within_s)
        self._ledger.close()
        self._end_lookups()

    def _end_lookups(self) -> None:
        with self._looking:
            if self._lookups is not None:
                self._lookups.close()
                self._lookups = None

    def flush(self, within_s: float) -> bool:
        """Wait until what was kept is written, and tell whether it is. Blocks."""
        return self._writer.flush(within_s)

    def statistics(self) -> dict[str, Any]:
        """Return the figures of this moment, for ``modelfs status``."""
        return {
            "path": self._path,
            "quota_bytes": self._ledger.quota_bytes,
            "used_bytes": self._ledger.used_bytes,
            "waiting_bytes": self._writer.waiting_bytes,
            "trouble": self._writing.reason or self._trouble.reason,
            **asdict(self._tally.counts()),
        }

    def identify(self, info: ObjectInfo) -> Identity:
        """Return what ``info`` is called here."""
        scope, source, prefix = self._readership
        found = object_id(scope, prefix + info.key, info.version, info.size)
        return Identity(found, scope, source, info.key, info.version, info.size)

    # reading

    def may_have(self, info: ObjectInfo, offset: int, length: int) -> bool:
        """Tell whether it is worth a look. Does not block."""
        if self._ledger.home is None or self._trouble.is_on():
            return False
        with self._lock:
            looked_s, chunks = self._known.get(self.identify(info).id, (0.0, None))
            if chunks is None or time.monotonic() > looked_s + KNOWN_S:
                return True
            return any(piece.chunk in chunks for piece in pieces(offset, length))

    def read(self, info: ObjectInfo, offset: int, length: int) -> memoryview | None:
        """Return ``[offset, offset + length)``, which begins with a block, if all of it is there and right. Blocks."""
        home = self._readable()
        if home is None:
            return None
        identity = self.identify(info)
        self._learn(home, identity)
        buffer = self._take(padded(length))
        if not self._read(home, identity, offset, length, buffer):
            return None
        self._tally.add(hit_bytes=length)
        return buffer[:length].toreadonly()

    def read_through(self, info: ObjectInfo, offset: int, length: int, get: Get) -> memoryview:
        """Return ``[offset, offset + length)``: what is there from the disk, and the rest by one ``get``. Blocks.

        Raises what ``get`` raises.
        """
        home = self._readable()
        if home is None:
            return get(offset, length)
        identity = self.identify(info)
        start, stop = self._missing(home, identity, offset, length)
        if (start, stop) == (offset, offset + length):
            return get(offset, length)
        buffer = self._take(padded(length))
        if start < stop:
            buffer[start - offset : stop - offset] = get(start, stop - start)
        for first, last in ((offset, min(start, offset + length)), (stop, offset + length)):
            if first < last and not self._read(home, identity, first, last - first, buffer[first - offset :]):
                return get(offset, length)  # it was there a moment ago
        self._tally.add(hit_bytes=length - (stop - start))
        return buffer[:length].toreadonly()

    def _readable(self) -> Home | None:
        home = self._ledger.home
        if home is None:
            self._end_lookups()  # a disk that was taken away lives on for as long as it is held
        return None if self._trouble.is_on() else home

    def _missing(self, home: Home, identity: Identity, offset: int, length: int) -> tuple[int, int]:
        """Return the range that holds all blocks that are not there; an empty one at its end where all are."""
        absent: list[int] = []
        for piece in pieces(offset, length):
            try:
                present = home.chunks.present(identity.id, piece.chunk)
            except DamagedChunkError as error:
                self._note_damage(home, identity, error)
                present = 0
            except OSError as error:
                self._trouble.note(error)
                return offset, offset + length
            absent += [
                piece.chunk * BLOCKS + each for each in range(piece.first, piece.stop) if not present >> each & 1
            ]
        if not absent:
            return offset + length, offset + length
        return absent[0] * BLOCK_BYTES, min((absent[-1] + 1) * BLOCK_BYTES, offset + length)

    def note_hang(self, for_s: float) -> None:
        """Take note that a read has not ended for so long."""
        self._trouble.note(TimeoutError(f"the disk does not answer within {for_s:g} s"))

    def _read(self, home: Home, identity: Identity, offset: int, length: int, into: memoryview) -> bool:
        """Fill the beginning of ``into``, which is as long as whole pages are; False where something is missing."""
        chunks = range(offset // CHUNK_BYTES, block_count(offset + length, block_bytes=CHUNK_BYTES))
        if not home.reads.share(identity.id, chunks):
            return False
        try:
            for piece in pieces(offset, length):
                if not home.chunks.read(identity.id, identity.size, piece, into[piece.at :]):
                    self._note_absent((identity.id, piece.chunk))
                    return False
                self._writer.touch((identity.id, piece.chunk))
        except DamagedChunkError as error:
            self._note_damage(home, identity, error)
            return False
        except OSError as error:
            self._trouble.note(error)
            return False
        finally:
            home.reads.unshare(identity.id, chunks)
        self._trouble.end()
        return True

    def _note_damage(self, home: Home, identity: Identity, error: DamagedChunkError) -> None:
        """Throw a damaged chunk away, so that it is fetched again; once, however many readers have met it."""
        with self._judging:
            if not self._is_damaged(home, identity, error.chunk):
                return  # another reader has seen to it
            self._tally.add(damaged_chunks=1)
            with suppress(OSError):
                home.chunks.drop(error.object_id, error.chunk)
        if self._tally.counts().damaged_chunks <= DAMAGES_TOLD:
            name = f"{error.object_id.hex()}-{error.chunk:x}"
            log.warning("a damaged chunk of the disk cache is fetched again chunk=%s because=%r", name, str(error))
        self._writer.lose((error.object_id, error.chunk))
        self._note_absent((error.object_id, error.chunk))

    @staticmethod
    def _is_damaged(home: Home, identity: Identity, chunk: int) -> bool:
        try:
            home.chunks.verify(identity.id, identity.size, chunk, chunk_buffer())
        except (DamagedChunkError, OSError):
            return True
        return False

    # what there is

    def _learn(self, home: Home, identity: Identity) -> None:
        """Look up which chunks of an object there are, unless that is known."""
        with self._lock:
            looked_s, chunks = self._known.get(identity.id, (0.0, None))
        if chunks is not None and time.monotonic() <= looked_s + KNOWN_S:
            return
        try:
            with self._looking:
                if self._lookups is None or not self._lookups.is_current():
                    self._lookups = home.open_index()
                found = self._lookups.chunks_of(identity.id) if identity.chunks > 1 else {0}
        except TROUBLES:
            return  # the writer meets it too, and tells
        with self._lock:
            self._known[identity.id] = time.monotonic(), found
            self._known.move_to_end(identity.id)
            if len(self._known) > KNOWN_MOST:
                self._known.popitem(last=False)

    def _note_written(self, chunk: Chunk) -> None:
        with self._lock:
            if chunk[0] in self._known:
                self._known[chunk[0]][1].add(chunk[1])

    def _note_absent(self, chunk: Chunk) -> None:
        with self._lock:
            if chunk[0] in self._known:
                self._known[chunk[0]][1].discard(chunk[1])

    @property
    def who(self) -> str:
        """Who reads here, as a text that tells them from others and nothing else."""
        return self._readership.scope.hex()

    def mark_gone(self, is_shown: Callable[[str, str], bool]) -> None:
        """Have go first what the repository has no more: that of which ``is_shown(key, version)`` is false. Blocks."""
        with suppress(*TROUBLES):  # the writer meets it too, and tells
            self._ledger.mark_gone(self._readership.scope, self._readership.source, is_shown)

    def kept_bytes(self, files: Iterable[ObjectInfo]) -> Iterator[tuple[ObjectInfo, int]]:
        """Yield how many bytes of each file there are, as far as the index knows. Blocks."""
        found: dict[bytes, int] = {}
        with suppress(*TROUBLES):
            found = self._ledger.kept_bytes(self._readership.scope)
        for info in files:
            yield info, min(info.size, found.get(self.identify(info).id, 0)) if found else 0

    def lacks(self, info: ObjectInfo, offset: int, length: int) -> bool:
        """Tell whether some of these blocks are not there. Blocks."""
        home = self._ledger.home
        if home is None:
            return True
        start, stop = self._missing(home, self.identify(info), offset, length)
        return start < stop

    @property
    def waiting_bytes(self) -> int:
        """What waits to be written."""
        return self._writer.waiting_bytes

    # writing

    @contextmanager
    def attending(self, info: ObjectInfo) -> Iterator[None]:
        """Let the other processes know meanwhile that an object is read here. Does not block."""
        home, found = self._ledger.home, self.identify(info).id
        is_known = False
        with suppress(OSError):  # a file system without locks
            is_known = home is not None and home.reads.attend(found)
        try:
            yield
        finally:
            if home is not None and is_known:
                home.reads.unattend(found)

    def is_behind(self, info: ObjectInfo, coming_bytes: int) -> bool:
        """Tell whether so many more bytes are too many for the writers, and others read the same. Does not block."""
        if self._writer.waiting_bytes + coming_bytes <= self._writer.queue_bytes:
            return False
        home = self._ledger.home
        with suppress(OSError):
            return home is not None and home.reads.is_attended(self.identify(info).id)
        return False

    def claim(self, info: ObjectInfo, offset: int, length: int) -> Claim | None:
        """Return the right to download some blocks; None where another has it. Does not block."""
        home = self._ledger.home
        if home is None:
            return Claim(lambda: None)
        first, stop = offset // BLOCK_BYTES, block_count(offset + length, block_bytes=BLOCK_BYTES)
        found = self.identify(info).id
        try:
            is_ours = home.claims.claim(found, first, stop)
        except OSError:  # a file system without locks: everybody downloads
            return Claim(lambda: None)
        return Claim(partial(home.claims.unclaim, found, first, stop)) if is_ours else None

    def keep(self, info: ObjectInfo, offset: int, data: memoryview, claim: Claim | None) -> bool:
        """Have blocks written that came from the store, and give their claim back then. Does not block.

        False where they are not going to be, for want of time.
        """
        identity = self.identify(info)
        done = claim.release if claim is not None else _nothing
        if self._ledger.home is None and self._writing.is_on():
            done()
            self._tally.add(shed_bytes=len(data))
            return False
        if encode(empty_header(identity, 0)) is None:  # a name of several thousand bytes
            done()
            return False
        return self._writer.put(Blocks(identity, offset, data, done))


def _nothing() -> None:
    """Do nothing."""
