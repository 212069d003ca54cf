"""Streamer: the reads of one inode, turned into blocks that are asked for in time.

Law: one Streamer for each inode, shared by all its open files. A READ is answered from the cache's extents; the
policy then says what should be on its way, and the same cache is asked for it early: there is no second path for
prefetched bytes. A read inside one extent is answered by a view of it, without a copy.

What has come is pushed into the kernel's page cache, but for the tripwires: see ``pushing``. It is published to those
who wait before it is pushed, and nothing that answers a READ waits for a push: the kernel locks a page while a READ of
it is on its way, and a push waits for that lock.

A reader holds nothing in the cache while it waits: what it has so far it has copied. So any number of readers get
on with the smallest budget, one extent at a time.

A stray read, a small one out of nowhere, pushes nothing: of its block the kernel has what it asked for, and the rest
stays with us for a second, and then gives way to any look-ahead. A push of 128 KiB for each 4 KiB filled the page cache
with what nobody had asked for, and had reads that came to lie behind it by chance taken for those of a reader that had
come through it.

What the page cache has been given, by a push or as an answer, is not fetched early again. The kernel may have dropped
it since: a READ of it tells, and then what lies ahead of that is no longer counted as given.
"""

from dataclasses import replace
from typing import NamedTuple

import trio

from modelfs import pushing
from modelfs.blocks import BLOCK_BYTES, ObjectInfo, block_count, span
from modelfs.cache import BlockCache
from modelfs.errors import ModelfsError
from modelfs.extents import Extent, Landed
from modelfs.given import Given
from modelfs.push import Pusher
from modelfs.readahead import UNIT_BYTES_MAX, Advice, ReadAhead, near_bytes

CAUGHT_UP_BYTES = 2 * 1024 * 1024
"""Where a reader has caught up, it is about to ask for the next two requests of 1 MiB. To push those as well would have
the push and the READs wait for each other's pages: without, a cold read was 17 % faster (median of five, two cores). A
reader of a mapping has one request in the air, of half the size, and is helped by all that is there when it goes on."""

_STREAMED_READ_BYTES = 1024 * 1024

SECOND_LOOK_S = 0.5
"""When read-ahead of a page has failed, the kernel asks for that one page again at once, and the reader waits for it.
Within this time one such READ is told what the first was: a cold ``cat`` of a store that is away took two deadlines.
A READ of a page that follows one of the same page is no second look, but may be another try of who reads."""

_BRING_LOOK_S = 0.01
_BRING_TRIES = 500
_BRING_FAILURE = 150
"""How often what is on its way for a file that nobody reads yet is looked after, in how many looks in a row the next
piece may find no room to be pushed, and for how many of them a fetch counts that has failed."""

_LOSSES_MOST = 16
"""After so many losses nothing of a file is pushed any more: what is pushed does not stay."""


class _Failure(NamedTuple):
    """A READ that was answered with an error."""

    start: int
    stop: int
    at_s: float  # of trio's clock
    error: ModelfsError


class Streamer:
    """Reads of ``info``, whose inode is ``inode``, through ``cache``. ``pusher`` None pushes nothing."""

    def __init__(
        self, info: ObjectInfo, cache: BlockCache, *, window_bytes: int, inode: int = 0, pusher: Pusher | None = None
    ) -> None:
        """Look at most ``window_bytes`` ahead of each stream."""
        self.info = info
        self._cache = cache
        self._inode = inode
        self._pusher = pusher if pusher is not None and pusher.may_hold(info.size) else None
        self._window_bytes = window_bytes
        self._step_bytes = min(pushing.STEP_BYTES, window_bytes // 4 // BLOCK_BYTES * BLOCK_BYTES or BLOCK_BYTES)
        self._wired_from = 0  # where tripwires begin: nobody need be heard of in what was brought
        self._policy = ReadAhead(info.size)
        self._given = Given()
        self._is_open = True
        self._losses = 0
        self._partly: dict[int, int] = {}  # of blocks that count as given: from where on they are
        self._last_read_bytes = 0
        self._failure: _Failure | None = None  # the last one
        self._left: dict[
            int, int
        ] = {}  # from where an extent was pushed, but not what comes before, and its first block

    async def read(self, offset: int, length: int) -> memoryview | bytes:
        """Return ``[offset, offset + length)`` cut to the file's size; exactly these bytes, of one version.

        The result must be used before the next await. Raises a ModelfsError where they cannot be had in time.
        """
        stop = min(offset + length, self.info.size)
        if stop <= offset:
            return b""
        self._is_open = True
        self._last_read_bytes = length
        self._raise_again(offset, length)
        try:
            return await self._read(offset, stop)
        except ModelfsError as error:
            self._failure = _Failure(offset, stop, trio.current_time(), error)
            raise

    def _raise_again(self, offset: int, length: int) -> None:
        """Answer the kernel's second look at a page as the READ that has just failed was answered."""
        failure, self._failure = self._failure, None
        if failure is None or length > pushing.PAGE_BYTES or not failure.start <= offset < failure.stop:
            return
        if failure.stop - failure.start <= pushing.PAGE_BYTES:
            return
        is_second = trio.current_time() - failure.at_s <= SECOND_LOOK_S
        if is_second and self._cache.landed(self.info, offset // BLOCK_BYTES) is None:
            raise type(failure.error)(str(failure.error)) from failure.error

    async def _read(self, offset: int, stop: int) -> memoryview | bytes:
        began_s = trio.current_time()  # what is asked for below is of this read: who failed it is not asked twice
        advice = self._advise(offset, stop)
        landed = None if advice.is_stray else self._landed
        self._ask_early(offset, stop, advice, landed)
        view, base = await self._cache.read(self.info, offset // BLOCK_BYTES, advice.unit, landed, since_s=began_s)
        if advice.is_stray and len(view) <= BLOCK_BYTES:
            self._cache.read_by_chance(self.info, offset // BLOCK_BYTES)
        if stop <= base + len(view):
            return self._take(view, base, offset, stop, goes_back=advice.goes_back)
        copied = bytearray(stop - offset)
        position = offset
        while True:
            upto = min(stop, base + len(view))
            taken = self._take(view, base, position, upto, goes_back=advice.goes_back)
            copied[position - offset : upto - offset] = taken
            position = upto
            if position == stop:
                return memoryview(copied)
            view, base = await self._cache.read(
                self.info, position // BLOCK_BYTES, advice.unit, landed, since_s=began_s
            )

    async def check_readable(self) -> None:
        """Ask the store for a block that is not in memory. Raises a ModelfsError where it cannot be had.

        Rather for one that nobody has asked for: what is on its way may have been asked for in time.
        """
        blocks = range(block_count(self.info.size, block_bytes=BLOCK_BYTES))
        missing = next((index for index in blocks if not self._cache.holds(self.info, index)), None)
        if missing is None:
            missing = next((index for index in blocks if self._cache.landed(self.info, index) is None), None)
        if missing is not None:
            await self._cache.read(self.info, missing, 1)

    @property
    def is_pushing(self) -> bool:
        """Whether the page cache is given what comes."""
        return self._pusher is not None

    async def bring(self, stop: int) -> None:
        """Push the file up to ``stop``, or to its end, before anybody reads it. Returns early where that cannot be.

        Without tripwires: one that is read a minute later costs a round trip for each. What of it has come already, or
        is asked for by a reader meanwhile, is not fetched twice.
        """
        last = min(stop, self.info.size) // BLOCK_BYTES  # what is left of a part block is a reader's own
        self._wired_from = max(self._wired_from, last * BLOCK_BYTES)
        unit = max(1, self._cache.unit_bytes_max // BLOCK_BYTES)
        begun = done = tries = 0
        while self._pusher is not None and self._is_open and tries <= _BRING_TRIES:
            was_done, done = done, self._given.find(done, last, given=False)
            if done < 0:
                return
            tries = 0 if done > was_done else tries
            if not self._cache.holds(self.info, done):
                tries += (done < begun) * _BRING_FAILURE  # or was dropped
                begun = done
            elif (extent := self._cache.landed(self.info, done)) is not None and not extent.waiters:
                tries += 1
                if extent.blocks.start not in self._left.values():  # which its reader has yet to come to
                    self._landed(extent)  # nobody has pushed it, or there was no room to, or the kernel did not take it
            window_bytes = min(self._window(), self._window_bytes // 2)  # a reader's look-ahead needs room too
            ahead = range(max(begun, done), min(last, done + window_bytes // BLOCK_BYTES))
            if ahead and self._prefetch_missing(ahead, unit, self._landed):
                begun = ahead.stop
            await trio.sleep(_BRING_LOOK_S)
        self._wired_from = max(0, done) * BLOCK_BYTES

    def close(self) -> None:
        """Tell the cache that nobody has the file open."""
        self._is_open = False
        self._left.clear()
        self._cache.abandon(self.info)

    def _advise(self, offset: int, stop: int) -> Advice:
        index = offset // BLOCK_BYTES
        was_given = index in self._given and offset >= self._partly.get(index, 0)
        tripped = self._is_tripwire(offset)
        if was_given and not tripped and not self._cache.holds(self.info, index):
            self._note_loss(index)
        advice = self._policy.on_read(
            offset,
            stop - offset,
            window_bytes=self._window(),
            unit_bytes=self._cache.unit_bytes_max,
            shared_bytes=self._window_bytes - self._window_bytes // 4,  # what the cache has for look-ahead
            passed_bytes=self._step_bytes if tripped and index - 1 in self._given else 0,
            unseen_bytes=offset
            - self._given.run_before(index, gap=near_bytes(stop - offset) // BLOCK_BYTES) * BLOCK_BYTES,
            unseen_behind_bytes=self._given_behind(stop),
        )
        # what the page cache has behind it, as of a tripwire's neighbours, need not come again
        given = self._given.find(index + 1, index + advice.unit, given=True)
        return advice if given < 0 else replace(advice, unit=given - index)

    def _given_behind(self, stop: int) -> int:
        """Return how many bytes the page cache was given without a gap from ``stop`` on."""
        blocks = block_count(self.info.size, block_bytes=BLOCK_BYTES)
        missing = self._given.find(stop // BLOCK_BYTES, blocks, given=False)
        return max(0, (self.info.size if missing < 0 else missing * BLOCK_BYTES) - stop)

    def _window(self) -> int:
        """Return how far to look ahead: what can be on its way at once, and what is read before we hear of it.

        That is two steps, and more for who has read much: one that waits for a page elsewhere, as a loader does at
        each tensor, is heard of no more until it has that, and what is on its way should not run dry meanwhile.
        """
        on_its_way = self._cache.fetches_at_once * min(UNIT_BYTES_MAX, self._cache.unit_bytes_max)
        unheard = max(2 * self._step_bytes, self._policy.longest_bytes // 2)
        return min(self._window_bytes, on_its_way + unheard)

    def _is_tripwire(self, offset: int) -> bool:
        return self._pusher is not None and offset % self._step_bytes == 0 and offset >= max(1, self._wired_from)

    def _note_loss(self, index: int) -> None:
        """Take note that the page cache has dropped a block it was given, and so perhaps those behind it."""
        self._given.discard(index, index + -(-self._window_bytes // BLOCK_BYTES))
        self._losses += 1
        if self._losses == _LOSSES_MOST:
            self._pusher = None  # what is pushed does not stay

    def _ask_early(self, offset: int, stop: int, advice: Advice, landed: Landed | None) -> None:
        """Start, in parallel, what this read needs behind its first extent, and what the policy looks ahead to."""
        needed = span(offset, stop - offset, size=self.info.size, block_bytes=BLOCK_BYTES)
        self._cache.start(self.info, needed.start, advice.unit, landed)
        self._cache.prefetch(self.info, range(needed.start + 1, needed.stop), advice.unit, landed)
        if not advice.goes_back:
            self._prefetch_missing(advice.ahead, advice.ahead_unit, landed)
            return
        until = advice.ahead.stop
        while until > advice.ahead.start:
            begin = max(advice.ahead.start, (until - 1) // advice.ahead_unit * advice.ahead_unit)
            if not self._prefetch_missing(range(begin, until), advice.ahead_unit, landed):
                return
            until = begin

    def _prefetch_missing(self, blocks: range, unit: int, landed: Landed | None) -> bool:
        """Begin to fetch what of ``blocks`` the page cache was not given, in order; False when the room has run out."""
        index = blocks.start
        while (index := self._given.find(index, blocks.stop, given=False)) >= 0:
            given = self._given.find(index, blocks.stop, given=True)
            until = blocks.stop if given < 0 else given
            if not self._cache.prefetch(self.info, range(index, until), unit, landed):
                return False
            index = until
        return True

    def _take(self, view: memoryview, base: int, offset: int, stop: int, *, goes_back: bool) -> memoryview:
        self._give(offset, stop)
        end = base + len(view)
        index = offset // BLOCK_BYTES
        if offset == base and self._was_given(base // BLOCK_BYTES, end):
            self._cache.read_to_end(self.info, index)
        elif not goes_back and (stop == end or self._is_tripwire(offset)):
            begun = self._given.find(base // BLOCK_BYTES, index, given=True)
            if self._was_given(index if begun < 0 else begun, end):  # else READs of a part are still to come
                self._cache.read_to_end(self.info, index)
        if self._left:
            self._shed_passed()
        return view[offset - base : stop - base]

    def _shed_passed(self) -> None:
        """Drop the extents of which the page cache has now been given all that was left to their reader."""
        for start, index in list(self._left.items()):
            if not self._was_given(index, start):
                continue
            del self._left[start]
            extent = self._cache.landed(self.info, index)
            if extent is None or extent.waiters or extent.offset > start:
                continue  # it has left, or has come again and is being pushed
            if self._cache.hold(extent):
                self._shed(extent, start)

    def _was_given(self, index: int, stop: int) -> bool:
        """Tell whether the page cache was given all from block ``index`` to the offset ``stop``.

        How far the reader is does not tell: the kernel's read-ahead is answered in any order.
        """
        return self._given.find(index, stop // BLOCK_BYTES, given=False) < 0

    def _give(self, start: int, stop: int) -> None:
        """Take note that the page cache has the blocks whose last byte lies in ``[start, stop)``."""
        first = start // BLOCK_BYTES
        last = block_count(stop, block_bytes=BLOCK_BYTES) if stop == self.info.size else stop // BLOCK_BYTES
        if start <= stop // BLOCK_BYTES * BLOCK_BYTES:
            self._partly.pop(stop // BLOCK_BYTES, None)  # now the beginning of that block was given as well
        if start % BLOCK_BYTES and stop - start >= BLOCK_BYTES and first not in self._given:
            self._partly[first] = start  # else its READ would be taken for one of what the kernel has dropped
        self._given.add(first, last)

    def _landed(self, extent: Extent) -> None:
        """Push what has come, behind what was read of it already."""
        if self._pusher is None or not self._is_open:
            return
        stop = extent.offset + extent.length
        start = self._policy.head_in(extent.offset, stop)
        if start > extent.offset and self._last_read_bytes >= _STREAMED_READ_BYTES:
            start += CAUGHT_UP_BYTES
        if start > extent.offset:
            start = -(-start // BLOCK_BYTES) * BLOCK_BYTES  # a block is given as a whole, or is left as a whole
        parts = pushing.segments(
            start, stop, size=self.info.size, step_bytes=self._step_bytes, wired_from=self._wired_from
        )
        if parts and self._pusher.has_room(extent.length) and self._cache.hold(extent):
            self._pusher.push(self._inode, extent, parts, self._pushed)

    def _pushed(self, extent: Extent, parts: list[tuple[int, int]]) -> None:
        """Drop what the page cache has taken: ``parts``; nothing where it took none."""
        if not parts:
            self._cache.unhold(extent)
            return
        for start, stop in parts:
            self._give(start, stop)
        begun = parts[0][0]
        if self._was_given(extent.blocks.start, begun):
            self._shed(extent, begun)
        else:  # a reader is on its way through what was left to it
            self._cache.unhold(extent)
            self._left[begun] = extent.blocks.start

    def _shed(self, extent: Extent, start: int) -> None:
        """Drop an extent that was pushed from ``start`` on, but for what was held back."""
        stop = extent.offset + extent.length
        kept = pushing.held_back(
            start, stop, size=self.info.size, step_bytes=self._step_bytes, wired_from=self._wired_from
        )
        self._cache.shed(extent, kept)
