"""Who may use a connection next: demand before prefetch, files by turns, and not more at once than is worth it.

Law: synchronous but for the waiting itself, on the trio thread. A prefetch that a reader has come to wait for is
demand from then on. A quarter of the connections is kept for demand. Prefetches of one file go in the order they were
asked for; those of several files take turns, so that no file waits behind the whole window of another.

``max_bytes_per_s`` bounds what is asked for, for links that others share. It is heeded before a turn is given and not
behind it: prefetches that had their turn and waited for the rate would keep demand waiting behind all of them.
"""

import math
from collections import OrderedDict
from collections.abc import Hashable
from types import TracebackType
from typing import Self

import trio

from modelfs.pace import UNIT_S, Pace

SMALL_BYTES = 256 * 1024
"""Such a request takes a round trip and no bandwidth to speak of: pace has nothing to find out about it."""


class Ticket:
    """The right to one request, taken with ``async with``, as often as the request has to be made again."""

    def __init__(self, connections: "Connections", group: Hashable, length: int, *, is_urgent: bool) -> None:
        self._connections = connections
        self.group = group
        self.length = length
        self.is_urgent = is_urgent
        self.turn: trio.Event | None = None  # while it is in the line, or its turn has come and nobody took it up
        self.runs_as_prefetch: bool | None = None  # from its turn on
        self.began_s = 0.0  # of trio's clock: when it last came to run
        self._began_busy = 0.0  # see Connections.busy
        self.is_of_the_link = False  # else what was asked for came from elsewhere, which tells nothing of the link

    def alongside(self) -> float:
        """Return how many have run since it last began, itself among them: the mean over that time."""
        passed_s = trio.current_time() - self.began_s
        return (self._connections.busy() - self._began_busy) / passed_s if passed_s > 0 else 1.0

    def begin(self) -> None:
        """Take note that it runs from now on."""
        self.began_s, self._began_busy = trio.current_time(), self._connections.busy()
        self.is_of_the_link = True

    @property
    def is_waiting(self) -> bool:
        """Whether no connection has been had yet, or none at the moment."""
        return self.runs_as_prefetch is None

    def promote(self) -> None:
        """Make it demand: somebody waits for it."""
        if not self.is_urgent:
            self._connections.promote(self)

    def line_up(self) -> None:
        """Take a place in the line now. Tasks begin in any order, and what is asked for first should come first."""
        self._connections.line_up(self)

    def end(self) -> None:
        """Give up a place that was not taken up."""
        self._connections.end(self)

    async def __aenter__(self) -> Self:
        await self._connections.acquire(self)
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._connections.release(self)


class Connections:
    """At most ``most`` requests at once, prefetches at most as many as ``pace`` has found to be worth it."""

    def __init__(self, *, most: int, max_bytes_per_s: float | None = None, fastest_answer_s: float = math.inf) -> None:
        """Begin with nobody. ``most`` is at least 1; ``fastest_answer_s`` is what the store was seen to take before."""
        self._most = most
        self._early_most = max(1, most - most // 4)
        self.pace = Pace(least=2, most=self._early_most, fastest_answer_s=fastest_answer_s)
        self._max_bytes_per_s = max_bytes_per_s
        self._free_at_s = -math.inf  # of trio's clock: when the rate allows the next request
        self._is_timed = False  # whether a task waits for that
        self._running = 0
        self._busy = 0.0  # connections times seconds, until the number last changed
        self._changed_s = 0.0  # of trio's clock
        self._prefetches = 0
        self._urgent: OrderedDict[Ticket, None] = OrderedDict()
        self._early: OrderedDict[Hashable, OrderedDict[Ticket, None]] = OrderedDict()

    @property
    def unit_bytes_max(self) -> int:
        """The most that one request should ask for: at the rate of a connection, and at the one that is allowed."""
        paced = self.pace.unit_bytes_max
        return paced if self._max_bytes_per_s is None else min(paced, int(self._max_bytes_per_s * UNIT_S))

    def busy(self) -> float:
        """Return how many connections were in use, over all seconds until now."""
        return self._busy + self._running * (trio.current_time() - self._changed_s)

    def _run(self, more: int) -> None:
        self._busy, self._changed_s = self.busy(), trio.current_time()
        self._running += more

    def ticket(self, group: Hashable, length: int, *, is_urgent: bool) -> Ticket:
        """Return a ticket for a request of ``length`` bytes, which takes its turn among the files with ``group``."""
        return Ticket(self, group, length, is_urgent=is_urgent)

    def line_up(self, ticket: Ticket) -> trio.Event:
        """Give the ticket a place in the line, if it has none, and return what tells of its turn."""
        if ticket.turn is None:
            ticket.turn = trio.Event()
            if ticket.is_urgent:
                self._urgent[ticket] = None
            else:
                self._early.setdefault(ticket.group, OrderedDict())[ticket] = None
            self._admit()
        return ticket.turn

    async def acquire(self, ticket: Ticket) -> None:
        """Wait for the ticket's turn."""
        turn = self.line_up(ticket)
        try:
            await turn.wait()
            ticket.begin()
        except trio.Cancelled:
            self.end(ticket)
            raise
        ticket.turn = None

    def end(self, ticket: Ticket) -> None:
        """See ``Ticket.end``."""
        if ticket.turn is None:
            return
        has_come = ticket.turn.is_set()
        ticket.turn = None
        if has_come:
            self.release(ticket)
        else:
            self._withdraw(ticket)

    def release(self, ticket: Ticket) -> None:
        """End a ticket's use of a connection."""
        self._run(-1)
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
        while self._running < self._most and not self._is_throttled() and (ticket := self._next()) is not None:
            if self._max_bytes_per_s is not None:
                self._free_at_s = max(trio.current_time(), self._free_at_s) + ticket.length / self._max_bytes_per_s
            self._run(+1)
            ticket.runs_as_prefetch = not ticket.is_urgent
            self._prefetches += not ticket.is_urgent
            assert ticket.turn is not None  # noqa: S101  it waits
            ticket.turn.set()

    def _is_throttled(self) -> bool:
        """Tell whether the rate allows no request now. Whoever waits then gets a turn when it does."""
        if trio.current_time() >= self._free_at_s or not (self._urgent or self._early):
            return False
        if not self._is_timed:
            self._is_timed = True
            trio.lowlevel.spawn_system_task(self._admit_in_time)
        return True

    async def _admit_in_time(self) -> None:
        await trio.sleep_until(self._free_at_s)
        self._is_timed = False
        self._admit()

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
