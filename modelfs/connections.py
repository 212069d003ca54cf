"""Who may use a connection next: demand before prefetch, files by turns, and not more at once than is worth it.

Law: synchronous but for the waiting itself, on the trio thread. A prefetch that a reader has come to wait for is
demand from then on. A quarter of the connections is kept for demand. Prefetches of one file go in the order they were
asked for; those of several files take turns, so that no file waits behind the whole window of another.

``max_bytes_per_s`` bounds what is asked for, for links that others share.
"""

from collections import OrderedDict
from collections.abc import Hashable
from types import TracebackType
from typing import Self

import trio

from modelfs.pace import Pace

SMALL_BYTES = 256 * 1024
"""Such a request takes a round trip and no bandwidth to speak of: pace has nothing to find out about it."""


class Ticket:
    """The right to one request, taken with ``async with``, as often as the request has to be made again."""

    def __init__(self, connections: "Connections", group: Hashable, length: int, *, is_urgent: bool) -> None:
        self._connections = connections
        self.group = group
        self.length = length
        self.is_urgent = is_urgent
        self.turn: trio.Event | None = None  # while it waits
        self.runs_as_prefetch: bool | None = None  # while it runs
        self.began_s = 0.0  # of trio's clock: when it last came to run
        self.alongside = 0  # how many ran then, itself among them

    @property
    def is_waiting(self) -> bool:
        """Whether no connection has been had yet, or none at the moment."""
        return self.runs_as_prefetch is None

    def promote(self) -> None:
        """Make it demand: somebody waits for it."""
        if not self.is_urgent:
            self._connections.promote(self)

    async def __aenter__(self) -> Self:
        await self._connections.acquire(self)
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._connections.release(self)


class Connections:
    """At most ``most`` requests at once, prefetches at most as many as ``pace`` has found to be worth it."""

    def __init__(self, *, most: int, max_bytes_per_s: float | None = None) -> None:
        """Begin with nobody. ``most`` is at least 1."""
        self._most = most
        self._early_most = max(1, most - most // 4)
        self.pace = Pace(least=2, most=self._early_most)
        self._max_bytes_per_s = max_bytes_per_s
        self._free_at_s = 0.0
        self._running = 0
        self._prefetches = 0
        self._urgent: OrderedDict[Ticket, None] = OrderedDict()
        self._early: OrderedDict[Hashable, OrderedDict[Ticket, None]] = OrderedDict()

    def ticket(self, group: Hashable, length: int, *, is_urgent: bool) -> Ticket:
        """Return a ticket for a request of ``length`` bytes, which takes its turn among the files with ``group``."""
        return Ticket(self, group, length, is_urgent=is_urgent)

    async def acquire(self, ticket: Ticket) -> None:
        """Wait for the ticket's turn."""
        ticket.turn = trio.Event()
        if ticket.is_urgent:
            self._urgent[ticket] = None
        else:
            self._early.setdefault(ticket.group, OrderedDict())[ticket] = None
        self._admit()
        try:
            await ticket.turn.wait()
            await self._throttle(ticket.length)
            ticket.began_s = trio.current_time()
            ticket.alongside = self._running
        except trio.Cancelled:
            if ticket.turn.is_set():
                self.release(ticket)
            else:
                self._withdraw(ticket)
            raise
        finally:
            ticket.turn = None

    def release(self, ticket: Ticket) -> None:
        """End a ticket's use of a connection."""
        self._running -= 1
        if ticket.runs_as_prefetch:
            self._prefetches -= 1
        ticket.runs_as_prefetch = None
        self._admit()

    def promote(self, ticket: Ticket) -> None:
        """See ``Ticket.promote``."""
        if ticket.turn is not None and not ticket.turn.is_set():
            self._withdraw(ticket)
            self._urgent[ticket] = None
        elif ticket.runs_as_prefetch:
            self._prefetches -= 1
            ticket.runs_as_prefetch = False
        ticket.is_urgent = True
        self._admit()

    def _withdraw(self, ticket: Ticket) -> None:
        if ticket.is_urgent:
            del self._urgent[ticket]
            return
        waiting = self._early[ticket.group]
        del waiting[ticket]
        if not waiting:
            del self._early[ticket.group]

    def _admit(self) -> None:
        while self._running < self._most and (ticket := self._next()) is not None:
            self._running += 1
            ticket.runs_as_prefetch = not ticket.is_urgent
            self._prefetches += not ticket.is_urgent
            assert ticket.turn is not None  # noqa: S101  it waits
            ticket.turn.set()

    def _next(self) -> Ticket | None:
        if self._urgent:
            return self._urgent.popitem(last=False)[0]
        for group, waiting in self._early.items():
            ticket = next(iter(waiting))
            if self._prefetches >= (self._early_most if ticket.length <= SMALL_BYTES else self.pace.limit):
                continue
            del waiting[ticket]
            del self._early[group]
            if waiting:
                self._early[group] = waiting  # behind the others
            return ticket
        return None

    async def _throttle(self, length: int) -> None:
        if self._max_bytes_per_s is None:
            return
        now_s = trio.current_time()
        starts_s = max(now_s, self._free_at_s)
        self._free_at_s = starts_s + length / self._max_bytes_per_s
        await trio.sleep_until(starts_s)
