"""Where complete listings come from: the store, or another mount of this machine that has just asked it the same.

Law: whoever is given a listing of another mount was let in by the store itself the last time it asked. A listing is a
*witness* of what vanished only when it is a regular one, and of another moment than the witness before it: a period
later, or nearly so.
"""

import math
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple, TypeVar

import trio

from modelfs.blocks import ObjectInfo
from modelfs.sharing import Sharing, Taken
from modelfs.splitting import Splitting
from modelfs.store import RetryPolicy, Store

T = TypeVar("T")

Recall = Callable[[ObjectInfo], ObjectInfo]

NEWS_LOOK_S = 1.0
"""How often a mount that follows another looks for its listing: a stat of a file in memory."""

PATIENCE = 1.5
"""After so many periods without a listing of the mount that leads, one that follows lists itself, and leads then."""

WITNESS_PERIODS = 0.85
"""How far two witnesses are apart. The regular listings of one mount begin 0.9 to 1.1 periods after each other."""

SHARING_S = 10.0
"""How long the source of the credentials may take to tell who we are; without it nothing is shared this time."""


class Listing(NamedTuple):
    """A complete listing, with its begin on trio's clock. ``pages`` are the requests that this mount made for it."""

    objects: list[ObjectInfo]
    began_s: float
    pages: int
    is_witness: bool


class Listings:
    """The listings of one mount of ``store``. Without ``sharing`` all are its own.

    ``period_s`` is that of the regular ones. One task at a time asks for them.
    """

    def __init__(
        self,
        store: Store,
        *,
        policy: RetryPolicy,
        limiter: trio.CapacityLimiter,
        period_s: float = 0.0,
        sharing: Sharing | None = None,
    ) -> None:
        self._splitting = Splitting(store, policy=policy, limiter=limiter)
        self._period_s = period_s
        self._sharing = sharing
        self._one = trio.CapacityLimiter(1)  # what was given up may still be at it
        self._is_let_in = False  # by the store itself, the last time that we asked
        self._began_s = self._witnessed_s = -math.inf  # of the listing, and of the witness, that was had last
        self._taken: Taken | None = None
        self.is_following = False
        self.recall: Recall = _as_it_is
        """Gives the object that is known already for one that is equal, so that there is one of each."""

    async def own(self, on_page: Callable[[int], Awaitable[None]] | None = None, *, is_early: bool = False) -> Listing:
        """List. Raises a ModelfsError. ``on_page`` is told the number of objects so far after each page."""
        self._is_let_in = False
        self._taken = None
        is_first = self._began_s == -math.inf
        began_s = trio.current_time()
        objects = await self._splitting.everything(on_page, recall=self.recall)
        self._is_let_in = True
        if (
            self._sharing is not None and not is_first
        ):  # which a mount waits for, while the credentials' digest takes 50 ms
            began, ended = began_s + _ahead_s(), time.monotonic()
            offer = partial(self._sharing.offer, objects, began_s=began, ended_s=ended)
            self.is_following = await self._within_bounds(offer) is False
        return self._noted(objects, began_s, self._splitting.pages, is_early=is_early)

    async def has_news(self) -> bool:
        """Tell whether another mount has listed since the last listing that we had; ``of_another`` then has it."""
        if self._sharing is None or not self._is_let_in or not self._sharing.has_news():
            return False
        began_s = self._began_s + _ahead_s()
        with trio.CancelScope(shield=True):  # what was looked at is not looked at again
            taken = await self._within_bounds(partial(self._sharing.take, after_s=began_s, recall=self.recall))
        self._taken = taken or self._taken
        return self._taken is not None

    def of_another(self) -> Listing | None:
        """Return what another mount listed since the last listing that we had, once; or None."""
        taken, self._taken = self._taken, None
        return None if taken is None else self._noted(taken.objects, taken.began_s - _ahead_s(), 0, is_early=False)

    async def leave(self) -> None:
        """Share no more."""
        if self._sharing is not None:
            await self._within_bounds(self._sharing.leave)

    def _noted(self, objects: list[ObjectInfo], began_s: float, pages: int, *, is_early: bool) -> Listing:
        is_apart = self._sharing is None or began_s - self._witnessed_s >= WITNESS_PERIODS * self._period_s
        is_witness = is_apart and not is_early
        self._began_s = began_s
        if is_witness:
            self._witnessed_s = began_s
        return Listing(objects, began_s, pages, is_witness)

    async def _within_bounds(self, work: Callable[[], T]) -> T | None:
        with trio.move_on_after(SHARING_S):
            return await trio.to_thread.run_sync(work, limiter=self._one, abandon_on_cancel=True)
        return None


def _as_it_is(info: ObjectInfo) -> ObjectInfo:
    return info


def _ahead_s() -> float:
    """Return by how much CLOCK_MONOTONIC is ahead of trio's clock, which begins anywhere."""
    return time.monotonic() - trio.current_time()
