"""A census: the index of the disk cache brought in line with the chunks that there are, beside everything else.

Law: chunks are the truth. It is taken when there are chunks and no index, and once after each start of the machine,
which may have lost the index's last entries with its power. Nothing waits for it but, in the first case, what would be
written: how much there is, is not known before. It takes its time, so that readers have the disk.
"""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

from modelfs.disk_chunks import DamagedChunkError, cost
from modelfs.disk_format import BLOCKS, Header
from modelfs.disk_home import Home, RefusedError
from modelfs.disk_index import Index

log = logging.getLogger(__name__)

WHOLE = "whole"
"""The fact that all chunks are entered, and as of which start of the machine."""

BATCH = 100
PAUSE_S = 0.01
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def boot() -> str:
    """Return what differs after each start of the machine."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"


def begin(home: Home, index: Index) -> bool:
    """Begin a census where one is due, in a thread of its own, and tell whether all chunks are entered already.

    Raises sqlite3.Error and OSError.
    """
    since = index.fact(WHOLE)
    if since is None and home.chunks.is_empty():
        index.note(WHOLE, since := boot())
    if since != boot():
        threading.Thread(target=_take_in_thread, args=(home,), name="disk-census", daemon=True).start()
    return since is not None


def _take_in_thread(home: Home) -> None:
    try:
        if home.claims.hold_census():
            try:
                take(home, pause=lambda: time.sleep(PAUSE_S))
            finally:
                home.claims.drop_census()
    except (OSError, sqlite3.Error, RefusedError) as error:
        log.warning("the disk cache's chunks could not be counted path=%s error=%s", home.path, error)
    except Exception:  # the root of a thread: a bug here must not end the cache
        log.exception("unexpected error in the census of the disk cache")


def take(home: Home, *, pause: Callable[[], None]) -> None:
    """Enter what is there and not entered, and strike out what is not there any more. ``pause`` is called often."""
    index = home.open_index()
    try:
        began = index.clock()
        found = entered = 0
        batch: list[tuple[Header, int]] = []
        for object_id, chunk, taken in home.chunks.walk():
            found += 1
            if not index.has(object_id, chunk) and (header := _header(home, object_id, chunk)) is not None:
                size = max(taken.st_blocks * 512, cost(header.present, chunk, header.identity.size))
                batch.append((header, size))
            if found % BATCH == 0:
                entered += index.enter_found(batch)
                batch.clear()
                pause()
        entered += index.enter_found(batch)
        lost = _strike_out_lost(home, index, before=began, pause=pause)
        index.note(WHOLE, boot())
        log.info("the chunks of the disk cache were counted found=%d entered=%d lost=%d", found, entered, lost)
    finally:
        index.close()


def _header(home: Home, object_id: bytes, chunk: int) -> Header | None:
    """Return the header of a chunk; what has none, and nobody is just writing, is thrown away."""
    try:
        header = home.chunks.header(object_id, chunk)
        if header is not None and header.present:
            return header
    except DamagedChunkError:
        pass
    if home.evictions.own(object_id, chunk, BLOCKS):
        try:
            home.chunks.drop(object_id, chunk)
        finally:
            home.evictions.disown(object_id, chunk, BLOCKS)
    return None


def _strike_out_lost(home: Home, index: Index, *, before: int, pause: Callable[[], None]) -> int:
    """Strike out what was entered ``before`` and has no file. What is being written now was entered since."""
    lost = 0
    last = (b"", 0)
    while rows := index.after(*last, BATCH):
        for object_id, chunk, used in rows:
            if used < before and not home.chunks.exists(object_id, chunk):
                index.strike_out(object_id, chunk)
                lost += 1
        last = rows[-1][:2]
        pause()
    return lost
