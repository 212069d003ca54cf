"""View: the tree as it is shown now, and how it is kept up to date.

Law: ``tree`` is swapped whole, and only for one built from a complete listing. Whatever the store does, the last good
tree stays, for as long as it takes; ``health`` says so. Lookups, stats and readdirs read ``tree`` and never wait.
"""

import logging
import math
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TypeVar

import trio

from modelfs import tree as trees
from modelfs.blocks import ObjectInfo
from modelfs.errors import ModelfsError
from modelfs.gate import Gate
from modelfs.journal import Journal, Shown
from modelfs.remembered import Memory
from modelfs.settle import Moment, Pending, Settling, Texts
from modelfs.store import RetryPolicy, Store, list_everything
from modelfs.texts import TextReader
from modelfs.tree import Difference, Tree

log = logging.getLogger(__name__)

T = TypeVar("T")

JITTER = 0.1  # of the refresh period: the mounts of a fleet that started together should not list together
EARLIEST_S = 1.0  # between two listings, however often a refresh is asked for
ROUNDS_KEPT = 8  # whoever waits for one asks several times a second
OMISSIONS_LOGGED = 5  # of each listing; the count tells the rest


@dataclass(frozen=True, slots=True)
class Health:
    """``listed_at`` is the Unix time of the last complete listing; ``error`` why later ones failed, or "".

    ``pages`` are the requests that it took.
    """

    listings: int
    pages: int
    listed_at: float
    error: str
    failing_since: float


@dataclass(frozen=True, slots=True)
class Round:
    """One listing after the first: its number, why it failed or "", and the paths that it changed."""

    number: int
    error: str
    changed: tuple[str, ...] = ()


class View:
    """The current tree of ``store``. ``refresh`` is called by one task at a time.

    With a ``settle_s`` of 0 everything shows as soon as it is listed. Without a ``memory`` the times go on only as
    long as the view lives. Without a ``journal`` no other process can go on with what is shown.
    """

    def __init__(
        self,
        store: Store,
        *,
        policy: RetryPolicy,
        limiter: trio.CapacityLimiter,
        show_hidden: bool,
        settle_s: float = 0.0,
        memory: Memory | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.tree: Tree = trees.EMPTY
        self.pending: tuple[Pending, ...] = ()
        self._store = store
        self._policy = policy
        self._limiter = limiter
        self._show_hidden = show_hidden
        self._settle_s = settle_s
        self._memory = memory
        self._journal = journal
        self._is_taken_over = False  # and nothing was listed since
        self._untold: list[Difference] = []
        self._gate = Gate()
        self._settling: Settling | None = None
        self._texts = TextReader(store, policy)
        self._previous: Tree = trees.EMPTY  # what was shown last, also by the process before this one
        self._asked = trio.Event()
        self._begun = 0
        self._rounds: deque[Round] = deque(maxlen=ROUNDS_KEPT)
        self._listings = self._pages = 0
        self._listed_at = self._failing_since = 0.0
        self._error = ""
        self._omitted: frozenset[trees.Omission] = frozenset()

    def health(self) -> Health:
        """Return how the last listings went."""
        return Health(self._listings, self._pages, self._listed_at, self._error, self._failing_since)

    def take_over(self, shown: Shown) -> None:
        """Show what a worker before this one showed last. What ``keep_fresh`` lists soon is compared with it."""
        self.tree = self._previous = shown.tree
        self._listed_at = shown.listed_at
        self._untold = shown.untold
        self._is_taken_over = True
        self._asked.set()

    def is_replaced(self, info: ObjectInfo) -> bool:
        """Tell whether the store lists another version of this object, or none, than the one that is shown."""
        if self._is_taken_over:
            return False  # nobody knows yet
        listed = self._gate.listed.get(info.key)
        return listed is None or listed.version != info.version

    def ask_for_refresh(self) -> int:
        """Have ``keep_fresh`` list soon, and return the number of the round that begins after now."""
        self._asked.set()
        return self._begun + 1

    def round(self, number: int) -> Round | None:
        """Return how round ``number`` ended, or the first after it that is still known; None while it is not over."""
        return next((each for each in self._rounds if each.number >= number), None)

    async def refresh(
        self, on_page: Callable[[int], Awaitable[None]] | None = None, *, is_early: bool = False
    ) -> list[Difference]:
        """List, swap the tree if anything differs, and return where. Raises a ModelfsError and changes nothing.

        A listing that ``is_early`` shows what is new, and withdraws nothing.
        ``on_page`` is told the number of objects so far after each page.
        """
        began_s = trio.current_time()
        pages = 0

        async def count(objects: int) -> None:
            nonlocal pages
            pages += 1
            if on_page is not None:
                await on_page(objects)

        listing = await list_everything(self._store, policy=self._policy, limiter=self._limiter, on_page=count)
        moment = Moment(began_s, trio.current_time(), time.time_ns())
        # in a thread: a million objects take 4 s of Python (measured), and a stat must not wait for them
        wanted = await self._in_thread(partial(self._admit, listing, moment, may_withdraw=not is_early))
        texts = await self._texts.read(wanted)
        new, found = await self._in_thread(partial(self._build, texts))
        self.tree = new
        self._listings += 1
        self._pages = pages
        self._listed_at = time.time()
        self._tell_omissions(new)
        self._tell_pending()
        return found

    @property
    def settles_s(self) -> float | None:
        """The moment of trio's clock from which a listing can show what is settling now, or None."""
        return self._settling.settles_s if self._settling is not None else None

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(work, limiter=self._limiter)

    def _admit(self, listing: list[ObjectInfo], moment: Moment, *, may_withdraw: bool) -> list[ObjectInfo]:
        """Take a complete listing, and return the objects whose content decides what of it is shown."""
        if self._is_taken_over:
            known = trees.listing_of(self.tree)
            self._gate = Gate(known)
            self._settling = Settling(self._settle_s, {}, listed=known) if self._settle_s else None
            self._is_taken_over = False
        if self.tree is trees.EMPTY and self._previous is trees.EMPTY and self._memory is not None:
            self._previous = self._memory.recall()
        if self._settling is None and self._settle_s:
            self._settling = Settling(self._settle_s, trees.files(self._previous))
        listed = self._gate.admit(listing, may_withdraw=may_withdraw)
        return self._settling.take(listed, moment) if self._settling is not None else []

    def _build(self, texts: Texts) -> tuple[Tree, list[Difference]]:
        """Return the tree of what is to be shown, and where it differs from the one that is shown."""
        shown = self._settling.show(texts) if self._settling is not None else self._gate.listed.values()
        new = trees.build(shown, previous=self._previous, show_hidden=self._show_hidden)
        found = trees.differences(self.tree, new)
        if self._memory is not None:
            self._memory.keep(new)  # before it is shown: a crash must not take a time back
        if self._journal is not None:
            self._journal.keep(self.tree, new, found)
        self._previous = new
        return new, found

    async def keep_fresh(self, period_s: float, on_change: Callable[[list[Difference]], Awaitable[None]]) -> None:
        """Refresh every ``period_s``, give or take a tenth, for ever, and tell what changed.

        What is asked for or settles in between is listed early. That moves no regular listing, so that what was
        deleted goes in time however much is uploaded elsewhere.
        """
        is_early = False
        due_s = 0.0
        await _tell(on_change, self._untold)
        while True:
            if not is_early:
                due_s = trio.current_time() + period_s * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  spreads load
            is_early = await self._wait_until(due_s)
            self._asked = trio.Event()
            self._begun += 1
            try:
                differences = await self.refresh(is_early=is_early)
            except ModelfsError as error:
                self._note_failure(error)
                continue
            except Exception:  # the root of a task: a bug in an engine must not end the mount
                log.exception("unexpected error in a refresh")
                self._note_failure(ModelfsError("an unexpected error, which the log tells"))
                continue
            self._note_success()
            if differences:
                log.info("the repository changed folders=%d files=%d", len(differences), self.tree.files)
                await _tell(on_change, differences)
            if self._journal is not None:
                await self._in_thread(partial(self._journal.told, self._listed_at))
            # who waits for the round finds in the mount what it told: the kernel knows by now
            self._rounds.append(Round(self._begun, "", tuple(chain.from_iterable(map(_paths, differences)))))

    async def _wait_until(self, due_s: float) -> bool:
        """Return at ``due_s``, or True before, when a listing is asked for or a settling time ends. Never at once."""
        settles_s = self.settles_s if not self._error else None  # a store that fails is not asked more often
        await trio.sleep(EARLIEST_S)
        if trio.current_time() >= due_s:
            return False
        with trio.move_on_at(due_s):
            with trio.move_on_at(math.inf if settles_s is None else settles_s):
                await self._asked.wait()
            return True
        return False

    def _note_failure(self, error: ModelfsError) -> None:
        if not self._error:
            self._failing_since = time.time()
            log.warning("the store cannot be listed; the last good tree is shown until it can error=%s", error)
        self._error = str(error)
        self._rounds.append(Round(self._begun, self._error))

    def _note_success(self) -> None:
        if self._error:
            log.warning("the store is listed again down_s=%.0f", time.time() - self._failing_since)
        self._error = ""
        self._failing_since = 0.0

    def _tell_omissions(self, tree: Tree) -> None:
        omitted = frozenset(tree.omissions)
        news = sorted(omitted - self._omitted)
        for omission in news[:OMISSIONS_LOGGED]:
            log.warning("an object is not shown key=%r because=%r", omission.key, omission.reason)
        if len(news) > OMISSIONS_LOGGED:
            log.warning("more objects are not shown count=%d", len(news) - OMISSIONS_LOGGED)
        self._omitted = omitted

    def _tell_pending(self) -> None:
        """Log what is held back for another reason than that it is being uploaded, once."""
        pending = tuple(self._settling.pending) if self._settling is not None else ()
        stuck = [each for each in pending if not each.is_settling and each not in self.pending]
        for each in stuck[:OMISSIONS_LOGGED]:
            log.warning(
                "not shown as it is stored, because it is not whole folder=%r because=%r", each.folder, each.reason
            )
        if len(stuck) > OMISSIONS_LOGGED:
            log.warning("more folders are not whole count=%d", len(stuck) - OMISSIONS_LOGGED)
        self.pending = pending


def _paths(difference: Difference) -> list[str]:
    return [f"{difference.path}/{name}" if difference.path else name for name in difference.names]


async def _tell(on_change: Callable[[list[Difference]], Awaitable[None]], differences: list[Difference]) -> None:
    try:
        await on_change(differences)
    except Exception:  # the root of a task; what was not told is seen when the kernel's timeouts end
        log.exception("unexpected error while telling what changed")
