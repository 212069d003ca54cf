"""DiskWriter: puts blocks on the disk, in threads of its own.

Law: whoever has blocks to keep never waits. The queue holds at most ``queue_bytes``; what does not fit is not kept. All
that can go wrong with the folder is met here: it is noted, and tried again after a pause (``disk_trouble``), also the
opening of the folder itself, so that one that vanishes and comes back is used again.

The order of a write, each step of which a crash may be the last: the chunk's header is locked, its bytes are entered
in the index (others are thrown away where there is no room), the blocks are written, and the header that names them.

Several threads, since each waits for the disk, and then for a core and the interpreter's lock: on two busy cores one
wrote 450 MB/s, where the disk takes 3 GB/s, and three, beside a reader that downloads at 1.2 GB/s, 0.9 to 1.1. Not more
than there are cores: on two, with nothing else to do, two kept as much of a cold read as three did (0.83 and 0.81),
which was 0.89 and 0.78 as fast as one that keeps nothing (nine rounds in turns). A nice value does not help: who is put
off may hold the interpreter's lock.
"""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from modelfs.blocks import BLOCK_BYTES
from modelfs.disk_chunks import cost
from modelfs.disk_format import Identity, Piece, pieces
from modelfs.disk_home import Home
from modelfs.disk_ledger import TROUBLES, Chunk, Ledger
from modelfs.disk_tally import Tally
from modelfs.disk_trouble import Trouble

log = logging.getLogger(__name__)

THREADS = min(3, len(os.sched_getaffinity(0)))
TOUCHED_S = 5.0  # after which the index is told what was read
ROOM_S = 30.0  # after which it is seen whether others need room, where nobody writes
HEADER_PATIENCE_S = 5.0  # another changes a header within the time of one write
HEADER_LOOK_S = 0.002


class Blocks(NamedTuple):
    """Blocks to keep: ``data`` begins at ``offset``, which is a block's. ``done`` is called in any case, once."""

    identity: Identity
    offset: int
    data: memoryview
    done: Callable[[], None]


class DiskWriter:
    """Writes into the folder of ``ledger``. ``written`` is told of each chunk that has blocks from now on."""

    def __init__(
        self,
        ledger: Ledger,
        trouble: Trouble,
        *,
        queue_bytes: int,
        tally: Tally,
        written: Callable[[Chunk], None],
        before: Callable[[], None] = lambda: None,
    ) -> None:
        """Begin nothing yet. ``before`` is called in each thread."""
        self.waiting_bytes = 0
        self.queue_bytes = queue_bytes
        self._ledger = ledger
        self._trouble = trouble
        self._tally = tally
        self._written = written
        self._before = before
        self._lock = threading.Lock()
        self._wanted = threading.Condition(self._lock)
        self._idle = threading.Condition(self._lock)
        self._queue: deque[Blocks] = deque()
        self._touched: set[Chunk] = set()
        self._lost: set[Chunk] = set()
        self._told_s = 0.0
        self._is_ending = False
        self._threads = [threading.Thread(target=self._work, name="disk-writer", daemon=True) for _ in range(THREADS)]

    def begin(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def put(self, blocks: Blocks) -> bool:
        """Keep blocks, soon; False where there is too much to do. Does not block."""
        length = len(blocks.data)
        with self._lock:
            is_taken = not self._is_ending and self.waiting_bytes + length <= self.queue_bytes
            if is_taken:
                self._queue.append(blocks)
                self.waiting_bytes += length
                self._wanted.notify()
        if not is_taken:
            blocks.done()
            self._tally.add(shed_bytes=length)
        return is_taken

    def touch(self, chunk: Chunk) -> None:
        """Take note that a chunk was read."""
        with self._lock:
            is_first = not self._touched
            self._touched.add(chunk)
            if is_first:
                self._wanted.notify()

    def lose(self, chunk: Chunk) -> None:
        """Take note that a chunk's file is gone."""
        with self._lock:
            self._lost.add(chunk)
            self._wanted.notify()

    def flush(self, within_s: float) -> bool:
        """Wait until all that was put is written, and tell whether it is. Blocks."""
        with self._lock:
            return self._idle.wait_for(lambda: not self.waiting_bytes, within_s)

    def end(self, within_s: float) -> None:
        """Write what was put, as far as there is time, and end. Blocks."""
        with self._lock:
            self._is_ending = True
            self._wanted.notify_all()
        until_s = time.monotonic() + within_s
        for thread in self._threads:
            thread.join(max(0.0, until_s - time.monotonic()))

    # in the threads

    def _work(self) -> None:
        self._before()
        while not self._step():
            pass

    def _step(self) -> bool:
        """Do what comes next, and tell whether it was the last. A frame of its own, since it holds 8 MiB."""
        blocks, is_last = self._next()
        try:
            if blocks is not None:
                self._take(blocks)
            self._tell_index(is_last=is_last)
        except Exception:  # the root of a thread: a bug here must not end the cache
            log.exception("unexpected error in the disk cache")
        return is_last

    def _next(self) -> tuple[Blocks | None, bool]:
        """Wait for something to do, and return it; and whether nothing will be any more."""
        with self._lock:
            while not (self._queue or self._lost or self._is_ending or self._is_due()):
                self._wanted.wait(self._due_s() - time.monotonic())
            blocks = self._queue.popleft() if self._queue else None
            return blocks, self._is_ending and blocks is None

    def _due_s(self) -> float:
        return self._told_s + (TOUCHED_S if self._touched else ROOM_S)

    def _is_due(self) -> bool:
        return time.monotonic() >= self._due_s()

    def _take(self, blocks: Blocks) -> None:
        try:
            self._keep(blocks)
        finally:
            blocks.done()
            with self._lock:
                self.waiting_bytes -= len(blocks.data)
                if not self.waiting_bytes:
                    self._idle.notify_all()

    def _keep(self, blocks: Blocks) -> None:
        for piece in pieces(blocks.offset, len(blocks.data)):
            data = blocks.data[piece.at : piece.at + (piece.stop - piece.first) * BLOCK_BYTES]
            if self._trouble.is_on() or not self._keep_piece(blocks.identity, piece, data):
                self._tally.add(shed_bytes=len(data))

    def _keep_piece(self, identity: Identity, piece: Piece, data: memoryview) -> bool:
        try:
            home = self._ledger.open()
            if not _hold_header(home, identity.id, piece.chunk):
                return False
            try:
                is_kept = self._write(home, identity, piece, data)
            finally:
                home.claims.drop_header(identity.id, piece.chunk)
        except TROUBLES as error:
            self._trouble.note(error)
            self._ledger.mend(error)
            return False
        return is_kept

    def _write(self, home: Home, identity: Identity, piece: Piece, data: memoryview) -> bool:
        with home.chunks.extended(identity, piece.chunk) as file:
            present = file.header.present
            if not piece.mask & ~present:
                return True
            total_bytes = cost(present | piece.mask, piece.chunk, identity.size) + file.unnamed_bytes
            if not self._ledger.enter(identity, piece.chunk, total_bytes):
                return False
            try:
                file.write(piece, data)
            except BaseException:
                home.chunks.drop(identity.id, piece.chunk)
                self._ledger.strike_out([(identity.id, piece.chunk)])
                raise
        self._trouble.end()
        self._written((identity.id, piece.chunk))
        self._tally.add(stored_bytes=len(data))
        return True

    def _tell_index(self, *, is_last: bool) -> None:
        """Tell the index what was read and what is lost since it was told last, and give way, once in a while."""
        with self._lock:
            if not (self._lost or is_last or self._is_due()):
                return
            self._told_s = time.monotonic()
            touched, self._touched = self._touched, set()
            lost, self._lost = self._lost, set()
        if self._trouble.is_on():
            return
        try:
            if lost:
                self._ledger.strike_out(lost)
            if touched:
                self._ledger.touch(touched)
            if self._ledger.give_way() and touched:
                self._trouble.end()  # the index could be written, and there is room
        except TROUBLES as error:
            self._trouble.note(error)
            self._ledger.mend(error)


def _hold_header(home: Home, object_id: bytes, chunk: int) -> bool:
    until_s = time.monotonic() + HEADER_PATIENCE_S
    while not home.claims.hold_header(object_id, chunk):
        if time.monotonic() > until_s:
            return False
        time.sleep(HEADER_LOOK_S)
    return True
