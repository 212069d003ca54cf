"""The index of the disk cache: how much there is, and what was used when. SQLite, shared by all processes.

Law: a hint. What a chunk holds, only its file tells, so an index that is lost, old or wrong costs room or a download,
never a wrong byte; and a read that finds its chunk asks no index. The bytes of a chunk are entered before they are
written and struck out after they are thrown away: what is on the disk is never more than what stands here.

Every step takes as long with a million chunks as with ten: the sum is kept, and the order is an index (157 us for an
eviction and an entry, 22 us for a look-up, at a million, measured). "Used when" is a counter and no time of day, which
may jump.

Write-ahead log, synced at checkpoints only (synchronous=NORMAL): a process that is killed loses nothing, a power cut
the last entries; a census then finds what is on the disk (``disk_census``).
"""

import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import NamedTuple

from modelfs.disk_format import HEADER_BYTES, Header, Identity
from modelfs.disk_policy import GONE, KEPT, PINNED, Candidate, Room, throw_away

SCHEMA = 1
BUSY_S = 1.0  # how long another process may be at it; a write to the cache is given up then
_EXAMINED_MOST = 1000  # candidates that are all in use
AT_ONCE = 500  # objects whose rank changes, 15 ms; all 100,000 of a repository took 2.7 s, and others gave up meanwhile
PAUSE_S = 0.005  # in which others come to write
LOG_BYTES = 1024 * 1024
"""What the log may grow to before it is written back and begun anew. SQLite's own 4 MiB came on top of a cache that was
full (seen: 1.005 of a quota of 160 MiB)."""

_TABLES = """
CREATE TABLE room (used INTEGER NOT NULL, clock INTEGER NOT NULL);
INSERT INTO room VALUES (0, 1);
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE objects (
    id BLOB PRIMARY KEY, scope BLOB NOT NULL, source TEXT NOT NULL, key TEXT NOT NULL, version TEXT NOT NULL,
    size INTEGER NOT NULL, used_s REAL NOT NULL, gone INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX objects_by_place ON objects (scope, source);
CREATE TABLE chunks (
    object BLOB NOT NULL, chunk INTEGER NOT NULL, bytes INTEGER NOT NULL, rank INTEGER NOT NULL, used INTEGER NOT NULL,
    PRIMARY KEY (object, chunk)
) WITHOUT ROWID;
CREATE INDEX chunks_in_order ON chunks (rank, used);
CREATE TABLE pins (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TRIGGER chunk_comes AFTER INSERT ON chunks BEGIN UPDATE room SET used = used + new.bytes; END;
CREATE TRIGGER chunk_grows AFTER UPDATE OF bytes ON chunks BEGIN
    UPDATE room SET used = used + new.bytes - old.bytes;
END;
CREATE TRIGGER chunk_goes AFTER DELETE ON chunks BEGIN
    UPDATE room SET used = used - old.bytes;
    DELETE FROM objects WHERE id = old.object AND NOT EXISTS (SELECT 1 FROM chunks WHERE object = old.object);
END;
"""


class ForeignIndexError(Exception):
    """The index is another release's."""


class Usage(NamedTuple):
    """What the index says there is."""

    used_bytes: int
    chunks: int
    objects: int


class Kept(NamedTuple):
    """An object of which there is something. ``used_s`` is Unix time; ``bytes`` is what it takes of the disk."""

    id: bytes
    source: str
    key: str
    version: str
    size: int
    used_s: float
    is_gone: bool
    bytes: int
    is_pinned: bool

    @property
    def name(self) -> str:
        """The repository, a slash, and the path in it, as pins name it."""
        return f"{self.source}/{self.key}"


class Entry(NamedTuple):
    """What became of an entry: how much there is now, how much more that is, how many had to go, whether it was made.

    ``is_disk_filled`` tells that it was not because there is too little room on the disk, whatever the quota is.
    """

    used_bytes: int
    more_bytes: int = 0
    evicted: int = 0
    is_fitting: bool = False
    is_disk_filled: bool = False


class Index:
    """One connection to the index at ``path``, for one thread at a time.

    Every method raises sqlite3.Error where the index is busy, broken or gone.
    """

    def __init__(self, path: str) -> None:
        """Open it, or make it. Raises ForeignIndexError for another release's."""
        self._path = path
        self._db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute("PRAGMA trusted_schema=OFF")
            self._db.execute(f"PRAGMA wal_autocheckpoint={LOG_BYTES // 4096}")  # of its pages
            self._db.execute(f"PRAGMA journal_size_limit={LOG_BYTES}")
            self._db.execute("PRAGMA cache_size=-1024")
            self._make()
            self._file = _file(path)
        except BaseException:
            self._db.close()
            raise

    def _make(self) -> None:
        if self._schema() == 0:
            with self._change():
                if self._schema() == 0:  # nobody was faster
                    for statement in _statements(_TABLES):
                        self._db.execute(statement)
                    self._db.execute(f"PRAGMA user_version={SCHEMA}")
        if self._schema() != SCHEMA:
            raise ForeignIndexError(f"its index is of format {self._schema()}, and this release's is {SCHEMA}")

    def _schema(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def is_current(self) -> bool:
        """Tell whether the path still leads to the index that is open."""
        return _file(self._path) == self._file

    # room

    def used_bytes(self) -> int:
        """Return the sum of all chunks."""
        return int(self._db.execute("SELECT used FROM room").fetchone()[0])

    def usage(self) -> Usage:
        """Return the figures of now; counting takes a while where there are many."""
        chunks = self._db.execute("SELECT count(*) FROM chunks").fetchone()[0]
        objects = self._db.execute("SELECT count(*) FROM objects").fetchone()[0]
        return Usage(self.used_bytes(), chunks, objects)

    def enter(
        self, identity: Identity, chunk: int, total_bytes: int, room: Room, discard: Callable[[Candidate], bool]
    ) -> Entry:
        """Enter a chunk that is going to be written, and will then take ``total_bytes``; make room where there is none.

        ``discard`` throws a chunk away and returns False for one that is in use. A disk that others fill is given back
        what is needed, whether that helps us or not.
        """
        with self._change():
            entered = self._db.execute(
                "SELECT bytes FROM chunks WHERE object = ? AND chunk = ?", (identity.id, chunk)
            ).fetchone()
            more_bytes = total_bytes - (entered[0] if entered else 0)
            used_bytes = self.used_bytes()
            if total_bytes > room.quota_bytes:
                return Entry(used_bytes)
            excess = room.excess(used_bytes, more_bytes)
            evicted, gone_bytes = self._evict(excess, discard, spare=identity.id)
            is_disk_filled = gone_bytes < room.lack(more_bytes)
            if gone_bytes < excess:
                more_bytes = 0
            else:
                self._insert(identity, chunk, total_bytes, used=self._tick())
        more_bytes -= gone_bytes
        return Entry(used_bytes + more_bytes, more_bytes, evicted, gone_bytes >= excess, is_disk_filled)

    def give_way(self, room: Room, discard: Callable[[Candidate], bool]) -> Entry:
        """Throw away what others need the room of, as ``enter`` does, and enter nothing."""
        with self._change():
            evicted, gone_bytes = self._evict(room.lack(0), discard)
            return Entry(self.used_bytes(), -gone_bytes, evicted, is_disk_filled=gone_bytes < room.lack(0))

    def _evict(self, excess: int, discard: Callable[[Candidate], bool], *, spare: bytes = b"") -> tuple[int, int]:
        """Throw away until ``excess`` bytes are gone; return how many chunks and bytes went."""
        if excess <= 0:
            return 0, 0
        in_order = "SELECT object, chunk, bytes FROM chunks WHERE rank < ? ORDER BY rank, used LIMIT ?"
        with closing(self._db.execute(in_order, (PINNED, _EXAMINED_MOST))) as rows:
            candidates = (Candidate(*row) for row in rows)
            gone = list(throw_away(candidates, excess, spare=spare, discard=discard))
        for each in gone:
            self.strike_out(each.object_id, each.chunk)
        return len(gone), sum(each.bytes for each in gone)

    def _insert(self, identity: Identity, chunk: int, total_bytes: int, *, used: int) -> None:
        self._db.execute(
            "INSERT INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, 0)"
            " ON CONFLICT (id) DO UPDATE SET used_s = excluded.used_s",
            (*identity, time.time()),
        )
        self._db.execute(
            "INSERT INTO chunks VALUES (?, ?, ?, ?, ?) ON CONFLICT (object, chunk) DO UPDATE"
            " SET bytes = excluded.bytes, used = excluded.used",
            (identity.id, chunk, total_bytes, self._rank(identity.id), used),
        )

    def _tick(self) -> int:
        return int(self._db.execute("UPDATE room SET clock = clock + 1 RETURNING clock").fetchone()[0])

    def strike_out(self, object_id: bytes, chunk: int) -> None:
        """Tell that a chunk is no longer on the disk."""
        self._db.execute("DELETE FROM chunks WHERE object = ? AND chunk = ?", (object_id, chunk))

    def strike_out_lost(self, chunks: Iterable[tuple[bytes, int]], exists: Callable[[bytes, int], bool]) -> None:
        """Strike out those of the chunks that have no file. A file is made before its chunk is entered."""
        with self._change():
            for object_id, chunk in chunks:
                if not exists(object_id, chunk):
                    self.strike_out(object_id, chunk)

    # what is there, and what it is worth

    def chunks_of(self, object_id: bytes) -> set[int]:
        """Return which chunks of an object are entered."""
        return {row[0] for row in self._db.execute("SELECT chunk FROM chunks WHERE object = ?", (object_id,))}

    def touch(self, used: Iterable[tuple[bytes, int]]) -> None:
        """Tell that chunks were read."""
        with self._change():
            now = self._tick()
            touched = set()
            for object_id, chunk in used:
                touched.add(object_id)
                self._db.execute("UPDATE chunks SET used = ? WHERE object = ? AND chunk = ?", (now, object_id, chunk))
            for object_id in touched:
                self._db.execute("UPDATE objects SET used_s = ? WHERE id = ?", (time.time(), object_id))

    def mark_gone(
        self, scope: bytes, source: str, is_shown: Callable[[str, str], bool], *, after: bytes = b""
    ) -> bytes | None:
        """Have those objects of a repository go first of which ``is_shown(key, version)`` is false.

        Some at a time, in the order of their ids: return the id ``after`` which the next ones come, None at the end.
        """
        entered = self._db.execute(
            "SELECT id, key, version, gone FROM objects WHERE scope = ? AND source = ? AND id > ? ORDER BY id LIMIT ?",
            (scope, source, after, AT_ONCE),
        ).fetchall()
        judged = [(not is_shown(key, version), bool(gone), object_id) for object_id, key, version, gone in entered]
        changed = [(is_gone, object_id) for is_gone, was_gone, object_id in judged if is_gone != was_gone]
        if changed:
            with self._change():
                self._db.executemany("UPDATE objects SET gone = ? WHERE id = ?", changed)
                for _, object_id in changed:
                    self._rerank(object_id)
        return entered[-1][0] if len(entered) == AT_ONCE else None

    def kept_bytes(self, scope: bytes) -> dict[bytes, int]:
        """Return how many bytes of the disk each object of a group of readers takes, by its id."""
        rows = self._db.execute(
            "SELECT object, sum(bytes) - count(*) * ? FROM chunks JOIN objects ON id = object"
            " WHERE scope = ? GROUP BY object",
            (2 * HEADER_BYTES, scope),
        )
        return dict(rows)

    def kept(self) -> list["Kept"]:
        """Return all objects that are entered, sorted by name."""
        rows = self._db.execute(
            "SELECT id, source, key, version, size, used_s, gone, (SELECT sum(bytes) FROM chunks WHERE object = id),"
            " (SELECT max(rank) FROM chunks WHERE object = id) FROM objects ORDER BY source, key, used_s"
        )
        return [
            Kept(found, source, key, version, size, used_s, bool(gone), taken or 0, rank == PINNED)
            for found, source, key, version, size, used_s, gone, taken, rank in rows
        ]

    def pin(self, name: str, *, is_on: bool) -> int:
        """Have what ``name`` (a repository, a slash, and a path in it) is or holds never thrown away, or let it go.

        Return how many objects are concerned now. Holds for what comes later as well.
        """
        with self._change():
            if is_on:
                self._db.execute("INSERT OR IGNORE INTO pins VALUES (?)", (name,))
            else:
                self._db.execute("DELETE FROM pins WHERE name = ?", (name,))
        entered = self._db.execute("SELECT id, source, key FROM objects").fetchall()
        concerned = [object_id for object_id, source, key in entered if is_in(f"{source}/{key}", name)]
        for start in range(0, len(concerned), AT_ONCE):
            with self._change():
                for object_id in concerned[start : start + AT_ONCE]:
                    self._rerank(object_id)
            time.sleep(PAUSE_S)
        return len(concerned)

    def pins(self) -> list[str]:
        """Return what is pinned."""
        return [row[0] for row in self._db.execute("SELECT name FROM pins ORDER BY name")]

    def _rerank(self, object_id: bytes) -> None:
        self._db.execute("UPDATE chunks SET rank = ? WHERE object = ?", (self._rank(object_id), object_id))

    def _rank(self, object_id: bytes) -> int:
        found = self._db.execute("SELECT source, key, gone FROM objects WHERE id = ?", (object_id,)).fetchone()
        if found is None:  # it was thrown away meanwhile
            return KEPT
        source, key, gone = found
        if gone:
            return GONE
        return PINNED if self._is_pinned(f"{source}/{key}") else KEPT

    def _is_pinned(self, name: str) -> bool:
        return any(is_in(name, pin) for pin in self.pins())

    # for a census

    def has(self, object_id: bytes, chunk: int) -> bool:
        """Tell whether a chunk is entered."""
        found = self._db.execute("SELECT 1 FROM chunks WHERE object = ? AND chunk = ?", (object_id, chunk))
        return found.fetchone() is not None

    def clock(self) -> int:
        """Return a number that everything that is used from now on lies above."""
        return int(self._db.execute("SELECT clock FROM room").fetchone()[0])

    def after(self, object_id: bytes, chunk: int, most: int) -> list[tuple[bytes, int, int]]:
        """Return the next chunks behind this one, by object, each with when it was used."""
        return self._db.execute(
            "SELECT object, chunk, used FROM chunks WHERE (object, chunk) > (?, ?) ORDER BY object, chunk LIMIT ?",
            (object_id, chunk, most),
        ).fetchall()

    def enter_found(self, found: Iterable[tuple[Header, int]]) -> int:
        """Enter chunks that are on the disk, each with its bytes, as used long ago; return how many were not yet."""
        entered = 0
        with self._change():
            for header, size in found:
                if not self.has(header.identity.id, header.chunk):
                    entered += 1
                    self._insert(header.identity, header.chunk, size, used=0)
        return entered

    # facts

    def fact(self, name: str) -> str | None:
        """Return what was noted under ``name``."""
        found = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if found is None else str(found[0])

    def note(self, name: str, value: str) -> None:
        """Note something."""
        self._db.execute(
            "INSERT INTO facts VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", (name, value)
        )

    @contextmanager
    def _change(self) -> Iterator[None]:
        """Do all or nothing, with nobody else in between."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


def is_in(name: str, folder: str) -> bool:
    """Tell whether ``name`` is ``folder``, or lies below it.

    >>> is_in("s3://b/m/1", "s3://b/m"), is_in("s3://b/mm", "s3://b/m")
    (True, False)
    """
    return name == folder or name.startswith(f"{folder}/")


def _file(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116  a string, as sqlite3 takes it
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _statements(script: str) -> Iterator[str]:
    """Yield the statements of a script: sqlite3's executescript commits first."""
    statement = ""
    for line in script.strip().splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
