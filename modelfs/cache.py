"""BlockCache: blocks of object versions in memory, loaded once each, under one exact budget.

Law: a block is in the table from the moment its fetch begins, as part of the extent (a run of blocks, one request)
that brings it, so no block is ever on its way twice; and it is readable only once the whole fetch has been checked,
so a failed fetch is never shown as data. The bytes of an extent are reserved before its fetch begins and returned
when it leaves the table; their sum never passes the budget.

Who runs: everything but ``read`` is synchronous on the trio thread, hence atomic. A reader that needs room and finds
none waits until some is returned. What a prefetch brought and nobody has read yet is evicted only for a demand
read, or when it has lain there for too long (``extents``), never for another prefetch before; what was read to its end
goes first, because the kernel's page cache holds it now.

Rejected: evicting in the order of last use. It throws the prefetched blocks, which nobody has touched yet, out before
the ones that were just read and will not be read again.
"""

import logging
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import chain

import trio

from modelfs.blocks import BLOCK_BYTES, ObjectInfo, block_count
from modelfs.connections import Connections, Ticket
from modelfs.errors import PASSING, ModelfsError, StoreUnavailableError
from modelfs.extents import STRAY_STALE_S, Extent, Landed, checked

log = logging.getLogger(__name__)

Fetch = Callable[[ObjectInfo, int, int, Ticket], Awaitable[memoryview]]
"""``await fetch(info, offset, length, ticket)`` returns exactly these bytes, or raises a ModelfsError; each of its
requests is made while it holds the ticket."""

Identity = tuple[str, str]  # key, version

UNITS_IN_BUDGET = 16
"""A budget of 64 MiB is read ahead by 12 fetches of 4 MiB rather than by 6 of 8: the first bytes come sooner."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """A snapshot of the cache. ``used_bytes`` counts what is in memory and what is on its way."""

    budget_bytes: int
    used_bytes: int
    peak_bytes: int
    fetches: int
    fetched_bytes: int
    waiting_for_room: int


class BlockCache:
    """Extents of object versions, at most ``budget_bytes`` of them, fetched in ``nursery`` with ``fetch``.

    ``budget_bytes`` is at least one block: with less a reader would wait for ever.
    """

    def __init__(
        self,
        *,
        budget_bytes: int,
        fetch: Fetch,
        connections: Connections,
        nursery: trio.Nursery,
        deadline_s: float = math.inf,
    ) -> None:
        """Begin empty. ``deadline_s`` bounds how long a read waits for room; ``fetch`` has a bound of its own."""
        if budget_bytes < BLOCK_BYTES:
            raise ValueError(f"a budget of {budget_bytes} bytes does not hold one block of {BLOCK_BYTES}")
        self._budget_bytes = budget_bytes
        self.fetch = fetch  # may be replaced: what has begun goes on with the old one
        self._connections = connections
        self._nursery = nursery
        self._deadline_s = deadline_s
        self._table: dict[tuple[Identity, int], Extent] = {}
        self._loading: set[Extent] = set()
        self._unread: OrderedDict[Extent, None] = OrderedDict()  # landed, nobody has read them to their end
        self._read: OrderedDict[Extent, None] = OrderedDict()  # landed, evicted first
        self._used_bytes = self._peak_bytes = self._fetches = self._fetched_bytes = 0
        self._room = trio.lowlevel.ParkingLot()

    def statistics(self) -> Statistics:
        """Return the figures of this moment."""
        return Statistics(
            self._budget_bytes, self._used_bytes, self._peak_bytes, self._fetches, self._fetched_bytes, len(self._room)
        )

    def held_bytes(self) -> dict[Identity, int]:
        """Return how many bytes of each version are in memory, of those of which any are."""
        held: dict[Identity, int] = {}
        for extent in chain(self._unread, self._read):
            identity = (extent.info.key, extent.info.version)
            held[identity] = held.get(identity, 0) + extent.length
        return held

    def start(self, info: ObjectInfo, index: int, unit: int, on_landed: Landed | None = None) -> Extent | None:
        """Return the extent of block ``index``, begun now if need be; None when there is no room.

        A new extent has that block as the first of at most ``unit``; the caller is one who waits for it.
        """
        extent = self._table.get(((info.key, info.version), index))
        if extent is not None:
            extent.is_abandoned = False
            if extent in self._read:
                self._read.move_to_end(extent)  # else the look-ahead for this very read may evict it
            elif extent.ticket is not None:
                extent.ticket.promote()
            return extent
        extent = self._begin(info, range(index, index + unit), on_landed, is_prefetch=False)
        if extent is None:
            # the least that will do: a small budget must not keep a reader out
            return self._begin(info, range(index, index + 1), on_landed, is_prefetch=False)
        return extent

    async def read(
        self,
        info: ObjectInfo,
        index: int,
        unit: int,
        on_landed: Landed | None = None,
        *,
        since_s: float | None = None,
    ) -> tuple[memoryview, int]:
        """Return a landed extent's bytes that hold block ``index``, and the file offset they begin at.

        As ``start``, but waits for room and for the bytes. The view stays valid, but its bytes are only counted in
        the budget until the caller's next await: copy or answer before. Raises what a fetch raised that began with this
        read (``since_s``, now where it is None) or later, or was tried for half the deadline since; the next read then
        tries again.
        """
        began_s = trio.current_time() if since_s is None else since_s
        for _ in range(2):
            extent = await self._started(info, index, unit, on_landed)
            await self._wait(extent)
            is_tried = extent.began_s >= began_s or trio.current_time() - began_s > self._deadline_s / 2
            if is_tried or not isinstance(extent.error, PASSING):
                break  # else it was a prefetch that had used up most of its time before we came: ours begins now
        if extent.error is not None:
            raise type(extent.error)(str(extent.error)) from extent.error
        assert extent.data is not None  # noqa: S101  it had a waiter, so it was not evicted
        return extent.data, extent.offset

    async def _wait(self, extent: Extent) -> None:
        """Wait until an extent has landed, or has failed."""
        if extent.data is not None:
            return
        self._connections.pace.starve()
        extent.waiters += 1
        try:
            await extent.landed.wait()
        finally:
            extent.waiters -= 1
            if not extent.waiters:
                self._room.unpark_all()  # it may be evicted now, and nothing else would tell

    async def _started(self, info: ObjectInfo, index: int, unit: int, on_landed: Landed | None) -> Extent:
        """Return the extent of block ``index``, begun as soon as there is room for it."""
        if (found := self.start(info, index, unit, on_landed)) is not None:
            return found
        with trio.move_on_after(self._deadline_s):
            while True:
                await self._room.park()
                if (found := self.start(info, index, unit, on_landed)) is not None:
                    return found
        raise StoreUnavailableError(f"cannot read {info.key!r}: no memory came free within {self._deadline_s:g} s")

    @property
    def unit_bytes_max(self) -> int:
        """The most that one fetch should ask for, on this link and in this budget."""
        return min(self._connections.unit_bytes_max, self._budget_bytes // UNITS_IN_BUDGET)

    @property
    def fetches_at_once(self) -> int:
        """How many prefetches are worth it at one time."""
        return self._connections.pace.limit

    def holds(self, info: ObjectInfo, index: int) -> bool:
        """Tell whether a block is in memory or on its way."""
        return ((info.key, info.version), index) in self._table

    def landed(self, info: ObjectInfo, index: int) -> Extent | None:
        """Return the extent of a block if it is in memory."""
        extent = self._table.get(((info.key, info.version), index))
        return extent if extent is not None and extent.data is not None else None

    def prefetch(self, info: ObjectInfo, blocks: range, unit: int, on_landed: Landed | None = None) -> bool:
        """Begin to fetch those of ``blocks`` that are not on their way, in order; False where the room has run out.

        Fetches end at multiples of ``unit``, so that those of several readers of a file fit together.
        """
        identity = (info.key, info.version)
        index = blocks.start
        while index < blocks.stop:
            if (found := self._table.get((identity, index))) is not None:
                index = found.blocks.stop
                continue
            stop = min(index - index % unit + unit, blocks.stop)
            extent = self._begin(info, range(index, stop), on_landed, is_prefetch=True)
            if extent is None:
                return False
            index = extent.blocks.stop
        return True

    def drop_idle(self) -> None:
        """Drop all that has landed: the kernel has it, or nobody came. Nothing while a reader waits: it comes next."""
        if len(self._room) or any(extent.waiters for extent in self._loading):
            return
        for extent in [each for queue in (self._read, self._unread) for each in queue if not each.waiters]:
            self._drop(extent)

    def hold(self, extent: Extent) -> bool:
        """Keep an extent that landed from being evicted until it is shed; False where it is too late."""
        if extent not in self._unread and extent not in self._read:
            return False
        extent.waiters += 1
        return True

    def unhold(self, extent: Extent) -> None:
        """End what ``hold`` began, and keep the extent."""
        extent.waiters -= 1
        self._room.unpark_all()

    def shed(self, extent: Extent, keep: list[int]) -> None:
        """Drop an extent that is held, but for the blocks ``keep``, each of which becomes an unread extent of its own.

        For what the kernel's page cache has been given. Of two who hold one extent the first to shed it drops it.
        """
        extent.waiters -= 1
        if extent not in self._unread and extent not in self._read:
            return
        data = extent.data
        assert data is not None  # noqa: S101  it landed
        self._drop(extent)
        for index in keep:
            kept = Extent(extent.info, range(index, index + 1))
            start = kept.offset - extent.offset
            kept.data = memoryview(bytes(data[start : start + kept.length]))
            kept.landed_at_s = trio.current_time()
            kept.landed.set()
            self._used_bytes += kept.length  # less than was just given back
            self._table[(extent.info.key, extent.info.version), index] = kept
            self._unread[kept] = None

    def read_to_end(self, info: ObjectInfo, index: int) -> None:
        """Tell that the extent of block ``index`` was read to its end: it may be evicted before any unread one."""
        extent = self._table.get(((info.key, info.version), index))
        if extent is not None and extent in self._unread:
            del self._unread[extent]
            self._read[extent] = None
            self._room.unpark_all()

    def read_by_chance(self, info: ObjectInfo, index: int) -> None:
        """Tell that the extent of block ``index`` is one of a small read out of nowhere, which was made just now."""
        extent = self._table.get(((info.key, info.version), index))
        if extent is not None and extent in self._unread:
            extent.landed_at_s, extent.patience_s = trio.current_time(), STRAY_STALE_S

    def abandon(self, info: ObjectInfo) -> None:
        """Tell that nobody has the file open any more: its blocks may be evicted before any others.

        Also those that are on their way. Else every file that is closed early would keep its look-ahead in the
        budget, where no other prefetch may evict it, until no file could be read ahead.
        """
        mine = [extent for extent in self._loading if extent.info == info and not extent.waiters]
        for extent in mine:
            extent.is_abandoned = True
            if extent.ticket is not None and extent.ticket.is_waiting:
                extent.loading.cancel()
                self._loading.discard(extent)
                self._drop(extent)  # at once: nobody must come to wait for it
        mine = [extent for extent in self._unread if extent.info == info]
        for extent in mine:
            del self._unread[extent]
            self._read[extent] = None
        if mine:
            self._room.unpark_all()

    def _begin(self, info: ObjectInfo, wanted: range, on_landed: Landed | None, *, is_prefetch: bool) -> Extent | None:
        """Reserve and begin one fetch of the leading blocks of ``wanted`` that are missing; None without room."""
        identity = (info.key, info.version)
        stop = wanted.start + 1
        last = min(wanted.stop, block_count(info.size, block_bytes=BLOCK_BYTES))
        while stop < last and (identity, stop) not in self._table:
            stop += 1
        extent = Extent(info, range(wanted.start, stop), on_landed)
        if not self._make_room(extent.length, is_prefetch=is_prefetch):
            return None
        extent.began_s = trio.current_time()
        self._used_bytes += extent.length
        self._peak_bytes = max(self._peak_bytes, self._used_bytes)
        for index in extent.blocks:
            self._table[identity, index] = extent
        self._loading.add(extent)
        extent.ticket = self._connections.ticket(identity, extent.length, is_urgent=not is_prefetch)
        extent.ticket.line_up()
        self._nursery.start_soon(self._load, extent, extent.ticket)
        return extent

    def _make_room(self, length: int, *, is_prefetch: bool) -> bool:
        """Evict until ``length`` bytes fit, and tell whether they do. Evicts nothing where that cannot help.

        Prefetches leave a quarter of the budget alone, so that a demand read need not wait for one to land.
        """
        budget_bytes = self._budget_bytes - self._budget_bytes // 4 if is_prefetch else self._budget_bytes
        missing = self._used_bytes + length - budget_bytes
        if missing <= 0:
            return True
        evictable = (
            extent
            for queue in (self._read, self._unread)
            for extent in queue
            if not extent.waiters and (queue is self._read or not is_prefetch or self._is_stale(extent))
        )
        chosen: list[Extent] = []
        for extent in evictable:
            if missing <= 0:
                break
            chosen.append(extent)
            missing -= extent.length
        if missing > 0:
            return False
        for extent in chosen:
            self._drop(extent)
        return True

    @staticmethod
    def _is_stale(extent: Extent) -> bool:
        return trio.current_time() - extent.landed_at_s > extent.patience_s

    def _drop(self, extent: Extent) -> None:
        """Take an extent out of the table and return its bytes."""
        identity = (extent.info.key, extent.info.version)
        for index in extent.blocks:
            del self._table[identity, index]
        self._unread.pop(extent, None)
        self._read.pop(extent, None)
        self._used_bytes -= extent.length
        self._room.unpark_all()

    async def _load(self, extent: Extent, ticket: Ticket) -> None:
        self._fetches += 1
        try:
            with extent.loading:
                data = checked(extent, await self.fetch(extent.info, extent.offset, extent.length, ticket))
                self._land(extent, data)
        except ModelfsError as error:
            extent.error = error
        except Exception:  # the root of a task: a bug in a fetch must not end the mount
            log.exception("unexpected error in a fetch key=%r offset=%d", extent.info.key, extent.offset)
            extent.error = ModelfsError(f"{extent.info.key!r}: an unexpected error, which the log tells")
        finally:
            ticket.end()
            extent.ticket = None
            self._loading.discard(extent)
            if extent.data is None and not extent.loading.cancel_called:
                self._drop(extent)
            extent.landed.set()
        if extent.data is not None and extent.on_landed is not None:
            try:
                extent.on_landed(extent)
            except Exception:  # the root of a task, as above
                log.exception("unexpected error behind a fetch key=%r offset=%d", extent.info.key, extent.offset)

    def _land(self, extent: Extent, data: memoryview) -> None:
        extent.data = data
        extent.landed_at_s = now_s = trio.current_time()
        ticket = extent.ticket
        if ticket is not None and ticket.is_of_the_link:
            self._connections.pace.land(
                extent.length, began_s=ticket.began_s, now_s=now_s, alongside=ticket.alongside()
            )
        self._fetched_bytes += extent.length
        (self._read if extent.is_abandoned else self._unread)[extent] = None
        self._room.unpark_all()
