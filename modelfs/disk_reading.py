"""The cache's way to its bytes where there is a disk tier: from the disk, else from the store and onto the disk.

Law: what is on the disk needs no connection and waits for none, so it is there when the store is not. A block is
downloaded by one of all the processes of the machine: by whoever has claimed it, once a connection is his. The others
wait until it is there, or its claim ends, which it does with its holder at the latest; and not for longer than is
sensible, since a holder may be stopped, or have a slower way to the store than we.

Runs on the trio thread; what blocks is called in threads.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import TracebackType

import trio

from modelfs.blocks import ObjectInfo
from modelfs.connections import Ticket
from modelfs.disk import Claim, DiskTier

Fetch = Callable[[ObjectInfo, int, int, AbstractAsyncContextManager[object]], Awaitable[memoryview]]
"""Fetches from the store, each try in a context that is a connection's."""

AT_ONCE = 4
"""Reads of 8 MiB keep an NVMe busy with that; as many more are kept for those that a reader waits for."""

PATIENCE_S = 5.0
"""How long the disk may take. Then it is left to itself, and the store is asked."""

URGENT_S = 1.0
EARLY_S = 5.0
"""How long another's download is waited for, by a reader and by a prefetch. One takes half a second at most, as fetches
are made as large as that allows."""

PACE_S = 0.25
"""How long an early download waits for a disk that is behind, where others read the same: what is not kept, each of
them downloads again (eight readers on four mounts: 1.08 of a file, seen). A disk of 500 MB/s takes 128 MiB in that
time; a slower one must not slow readers."""

FIRST_LOOK_S, LAST_LOOK_S = 0.002, 0.02


class DiskReading:
    """Reads through ``tier``; what it lacks, ``fetch`` gets, which should do so by ``tier.read_through``."""

    def __init__(self, tier: DiskTier, fetch: Fetch) -> None:
        self._tier = tier
        self._fetch = fetch
        self._coming_bytes = 0  # from the store
        self._urgent, self._early = trio.CapacityLimiter(AT_ONCE), trio.CapacityLimiter(AT_ONCE)

    async def fetch(self, info: ObjectInfo, offset: int, length: int, ticket: Ticket) -> memoryview:
        """Return exactly ``[offset, offset + length)``, as ``cache.Fetch`` has it."""
        with self._tier.attending(info):
            return await self._get(info, offset, length, ticket)

    async def _get(self, info: ObjectInfo, offset: int, length: int, ticket: Ticket) -> memoryview:
        if self._tier.may_have(info, offset, length):
            ticket.end()  # others may have its place in the line
            found = await self._read(info, offset, length, ticket)
            if found is not None:
                return found
        if await self._keep_pace(info, length, ticket):
            found = await self._read(info, offset, length, ticket)
            if found is not None:
                return found
        self._coming_bytes += length
        try:
            return await self._download(info, offset, length, ticket)
        finally:
            self._coming_bytes -= length

    async def _keep_pace(self, info: ObjectInfo, length: int, ticket: Ticket) -> bool:
        """Let the disk keep up with early downloads that others wait for; tell whether that took a while."""
        has_waited = False
        with trio.move_on_after(PACE_S):
            while not ticket.is_urgent and self._tier.is_behind(info, self._coming_bytes + length):
                ticket.end()  # as above
                has_waited = True
                await trio.sleep(LAST_LOOK_S)
        return has_waited

    async def _download(self, info: ObjectInfo, offset: int, length: int, ticket: Ticket) -> memoryview:
        claiming = _Claiming(ticket, partial(self._tier.claim, info, offset, length))
        is_kept = False
        try:
            while True:
                try:
                    data = await self._fetch(info, offset, length, claiming)
                    break
                except _ElsewhereError:
                    await claiming.wait()
                    found = await self._read(info, offset, length, ticket)
                    if found is not None:
                        ticket.is_of_the_link = False
                        return found
            is_kept = True  # from here on the claim is the writer's
        finally:
            if not is_kept:
                claiming.give_up()
        self._tier.keep(info, offset, data, claiming.claim)
        return data

    async def _read(self, info: ObjectInfo, offset: int, length: int, ticket: Ticket) -> memoryview | None:
        limiter = self._urgent if ticket.is_urgent else self._early
        with trio.move_on_after(PATIENCE_S):
            async with limiter:
                return await trio.to_thread.run_sync(
                    self._tier.read, info, offset, length, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1)
                )
        self._tier.note_hang(PATIENCE_S)
        return None


class _ElsewhereError(Exception):
    """Another process downloads it."""


class _Claiming:
    """A connection and then a claim, kept until it is given up; what ``in_thread_with_retries`` takes a try in."""

    def __init__(self, ticket: Ticket, take: Callable[[], Claim | None]) -> None:
        self.claim: Claim | None = None
        self._ticket = ticket
        self._take = take
        self._waits = True  # for others

    async def __aenter__(self) -> None:
        await self._ticket.__aenter__()
        if self.claim is None:
            self.claim = self._take()
        if self.claim is None and self._waits:
            await self._ticket.__aexit__(None, None, None)
            raise _ElsewhereError

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._ticket.__aexit__(kind, error, trace)

    async def wait(self) -> None:
        """Wait until the claim has ended, or for as long as is sensible; then it is not asked for again."""
        began_s = trio.current_time()
        pause_s = FIRST_LOOK_S
        while (claim := self._take()) is None:
            patience_s = URGENT_S if self._ticket.is_urgent else EARLY_S
            if trio.current_time() > began_s + patience_s:
                self._waits = False
                return
            await trio.sleep(pause_s)
            pause_s = min(LAST_LOOK_S, pause_s * 1.5)
        claim.release()

    def give_up(self) -> None:
        """Let others claim it."""
        if self.claim is not None:
            self.claim.release()
            self.claim = None
