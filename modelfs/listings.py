"""Where complete listings come from: the store, or another mount of this machine that has just asked it the same.

Law: whoever is given a listing of another mount was let in by the store itself the last time it asked. A listing is a
*witness* of what vanished only when it is a regular one, and of another moment than the witness before it: a period
later, or nearly so.
"""

import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import NamedTuple, TypeVar

import trio

from modelfs.blocks import ObjectInfo
from modelfs.errors import ModelfsError
from modelfs.on_open import Known, OnOpen, Partial
from modelfs.sharing import Sharing, Taken
from modelfs.splitting import Splitting
from modelfs.store import Levelled, RetryPolicy, Store

log = logging.getLogger(__name__)

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
    """A complete listing, with its begin on trio's clock. ``pages`` are the requests that this mount made for it.

    ``bare`` are the folders of the root of which only the name is known.
    """

    objects: list[ObjectInfo]
    began_s: float
    pages: int
    is_witness: bool
    bare: frozenset[str] = frozenset()


class TooManyError(ModelfsError):
    """There are more objects than shall be listed as a whole."""


class Listings:
    """The listings of one mount of ``store``. Without ``sharing`` all are its own.

    ``period_s`` is that of the regular ones. One task at a time asks for them. With ``is_on_open``, and where there are
    more than ``most_objects`` and the store can list single folders, models are listed when they are used: see
    ``on_open``.
    """

    def __init__(
        self,
        store: Store,
        *,
        policy: RetryPolicy,
        limiter: trio.CapacityLimiter,
        period_s: float = 0.0,
        sharing: Sharing | None = None,
        is_on_open: bool = False,
        most_objects: int | None = None,
    ) -> None:
        self._splitting = Splitting(store, policy=policy, limiter=limiter)
        self._period_s = period_s
        self._sharing = sharing
        self._one = trio.CapacityLimiter(1)  # what was given up may still be at it
        self._is_let_in = False  # by the store itself, the last time that we asked
        self._began_s = self._witnessed_s = -math.inf  # of the listing, and of the witness, that was had last
        self._taken: Taken | None = None
        self._begin_on_open = partial(OnOpen, store, policy=policy)
        self._on_open: OnOpen | None = None
        if is_on_open:
            self.begin_on_open()
        self._most_objects = most_objects if isinstance(store, Levelled) else None
        self.is_following = False
        self.recall: Recall = _as_it_is
        """Gives the object that is known already for one that is equal, so that there is one of each."""
        self.known: Known = _nothing
        """Tells the objects of a model that count now."""

    @property
    def is_on_open(self) -> bool:
        """Whether models are listed when they are used."""
        return self._on_open is not None

    def begin_on_open(self, known: Iterable[str] = ()) -> None:
        """Have models listed when they are used, from now on. All is known already of the models ``known``."""
        self._on_open = self._begin_on_open()
        for model in known:
            self._on_open.note_open(model)

    def note_use(self, model: str, *, is_open: bool) -> None:
        """Take note that a model is used; with ``is_open`` all of it is known from now on."""
        if self._on_open is not None:
            (self._on_open.note_open if is_open else self._on_open.note_use)(model)

    async def own(self, on_page: Callable[[int], Awaitable[None]] | None = None, *, is_early: bool = False) -> Listing:
        """List. Raises a ModelfsError. ``on_page`` is told the number of objects so far after each page."""
        self._is_let_in = False
        self._taken = None
        is_first = self._began_s == -math.inf
        began_s = trio.current_time()
        found = await self._everything(on_page, is_first=is_first)
        self._is_let_in = True
        # a mount waits for the first one, and the digest of the credentials takes 50 ms
        if self._sharing is not None and not is_first and self._on_open is None:
            began, ended = began_s + _ahead_s(), time.monotonic()
            offer = partial(self._sharing.offer, found.objects, began_s=began, ended_s=ended)
            self.is_following = await self._within_bounds(offer) is False
        return self._noted(found, began_s, is_early=is_early)

    async def _everything(self, on_page: Callable[[int], Awaitable[None]] | None, *, is_first: bool) -> Partial:
        """Return all, or what is in use: where the first listing turns out to be too large, from then on."""

        async def bounded(objects: int) -> None:
            if self._most_objects is not None and objects > self._most_objects:
                raise TooManyError(f"there are more than {self._most_objects} objects")
            if on_page is not None:
                await on_page(objects)

        if self._on_open is None:
            try:
                objects = await self._splitting.everything(bounded if is_first else on_page, recall=self.recall)
                return Partial(objects, frozenset(), self._splitting.pages)
            except TooManyError as error:
                log.warning("models are listed when they are used because=%r", str(error))
                self._on_open = self._begin_on_open()
        return await self._on_open.everything(self.recall, self.known)

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
        if taken is None:
            return None
        return self._noted(Partial(taken.objects, frozenset(), 0), taken.began_s - _ahead_s(), is_early=False)

    async def leave(self) -> None:
        """Share no more."""
        if self._sharing is not None:
            await self._within_bounds(self._sharing.leave)

    def _noted(self, found: Partial, began_s: float, *, is_early: bool) -> Listing:
        is_apart = self._sharing is None or began_s - self._witnessed_s >= WITNESS_PERIODS * self._period_s
        is_witness = is_apart and not is_early
        self._began_s = began_s
        if is_witness:
            self._witnessed_s = began_s
        return Listing(found.objects, began_s, found.pages, is_witness, found.bare)

    async def _within_bounds(self, work: Callable[[], T]) -> T | None:
        with trio.move_on_after(SHARING_S):
            return await trio.to_thread.run_sync(work, limiter=self._one, abandon_on_cancel=True)
        return None


def _nothing(_model: str) -> Iterable[ObjectInfo]:
    return ()


def _as_it_is(info: ObjectInfo) -> ObjectInfo:
    return info


def _ahead_s() -> float:
    """Return by how much CLOCK_MONOTONIC is ahead of trio's clock, which begins anywhere."""
    return time.monotonic() - trio.current_time()
