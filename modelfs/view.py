"""View: the tree as it is shown now, and how it is kept up to date.

Law: ``tree`` is swapped whole, and only for one built from a complete listing. Whatever the store does, the last good
tree stays, for as long as it takes; ``health`` says so. Lookups, stats and readdirs read ``tree`` and never wait.

One listing is taken at a time, and only one that began when the one before it had been taken: else what is older could
be shown over what is newer. So a model that was taken alone while all were being listed is listed once more with them,
and one that was being listed alone when all were taken is listed again.
"""

import logging
import math
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import NamedTuple, TypeVar

import trio

from modelfs import collector
from modelfs import tree as trees
from modelfs.blocks import ObjectInfo
from modelfs.errors import ModelfsError
from modelfs.gate import Gate, Models, by_model
from modelfs.gathering import gather
from modelfs.listings import NEWS_LOOK_S, PATIENCE, Listings
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

ALONE_POLICY = RetryPolicy(deadline_s=10.0)
"""For a model that is listed alone: whoever asked for it has long gone on."""

ALONE_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Health:
    """``listed_at`` is the Unix time of the last complete listing; ``error`` why later ones failed, or "".

    ``pages`` are the requests that the last one of our own took; ``is_shared``: the last one was another mount's.
    """

    listings: int
    pages: int
    listed_at: float
    error: str
    failing_since: float
    is_shared: bool = False


class Round(NamedTuple):
    """One listing after the first: its number, why it failed or "", and the paths that it changed."""

    number: int
    error: str
    changed: tuple[str, ...] = ()


class View:
    """The current tree of ``store``. ``refresh`` is called by one task at a time.

    With a ``settle_s`` of 0 everything shows as soon as it is listed. Without a ``memory`` the times go on only as
    long as the view lives. Without ``listings`` every listing is asked of the store.
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
        listings: Listings | None = None,
    ) -> None:
        self.tree: Tree = trees.EMPTY
        self.pending: tuple[Pending, ...] = ()
        self._store = store
        self._policy = policy
        self._limiter = limiter
        self._listings = listings or Listings(store, policy=policy, limiter=limiter)
        self._show_hidden = show_hidden
        self._settle_s = settle_s
        self._memory = memory
        self._gate = Gate()
        self._listings.recall = self._gate.recall
        self._settling: Settling | None = None  # of whoever has the turn
        self._settles_s: float | None = None
        self._texts = TextReader(store, policy)
        self._previous: Tree = trees.EMPTY  # what was shown last, also by the process before this one
        self._set_aside = 0  # of the gate's new objects
        self._built: Models | None = None  # what was listed when it was built
        self._were_waiting: frozenset[str] = frozenset()  # then, the models of which not all was shown
        self._asked = trio.Event()
        self._patience = trio.CancelScope()  # of the wait for the next listing; its deadline may come nearer
        self._turn = trio.Lock()  # to take a listing
        self._taken = 0  # listings of all
        self._alone: dict[str, float] = {}  # the models taken alone since the last listing of all began, and when
        self._alone_limiter = trio.CapacityLimiter(ALONE_AT_ONCE)
        self._begun = 0
        self._rounds: deque[Round] = deque(maxlen=ROUNDS_KEPT)
        self._listings_taken = self._pages = 0
        self._is_shared = False
        self._listed_at = self._failing_since = 0.0
        self._error = ""
        self._omitted: frozenset[trees.Omission] = frozenset()

    def health(self) -> Health:
        """Return how the last listings went."""
        return Health(
            self._listings_taken, self._pages, self._listed_at, self._error, self._failing_since, self._is_shared
        )

    def is_replaced(self, info: ObjectInfo) -> bool:
        """Tell whether the store lists another version of this object, or none, than the one that is shown."""
        listed = self._gate.find(info.key)
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
        listing = None if is_early else self._listings.of_another()
        if listing is None:
            listing = await self._listings.own(on_page, is_early=is_early)
        async with self._turn:
            self._alone = {model: at_s for model, at_s in self._alone.items() if at_s > listing.began_s}
            objects = await self._with_what_is_newer(listing.objects)
            moment = Moment(listing.began_s, trio.current_time(), time.time_ns())
            # in a thread: a million objects take 4 s of Python (measured), and a stat must not wait for them
            wanted = await self._in_thread(partial(self._admit, objects, moment, may_withdraw=listing.is_witness))
            texts = await self._texts.read(wanted)
            new, found = await self._in_thread(partial(self._build, texts))
            self._taken += 1
            self._listings_taken += 1
            self._pages = listing.pages or self._pages
            self._is_shared = not listing.pages
            self._listed_at = time.time()
            self._swap(new)
        return found

    async def refresh_model(self, model: str) -> list[Difference]:
        """List the folder ``model`` of the root alone, swap the tree if anything differs, and return where.

        What is new is shown, and nothing is withdrawn. Raises a ModelfsError and changes nothing. Not before the first
        ``refresh``, and for one model by one task at a time.
        """
        while True:
            began_s, taken = trio.current_time(), self._taken
            listing = await self._list_alone(model)
            async with self._turn:
                if taken == self._taken:
                    self._alone[model] = trio.current_time()
                    return await self._take_model(model, listing, Moment(began_s, trio.current_time(), time.time_ns()))

    async def _list_alone(self, model: str) -> list[ObjectInfo]:
        return await list_everything(self._store, folder=f"{model}/", policy=ALONE_POLICY, limiter=self._alone_limiter)

    async def _with_what_is_newer(self, listing: list[ObjectInfo]) -> list[ObjectInfo]:
        """Return a listing of all, with the models listed once more that were taken alone since it began."""
        if not self._alone:
            return listing
        found = by_model(listing)

        async def ask(model: str) -> None:
            folder = f"{model}/"
            marker = found.get(model, {}).get(folder)
            try:
                objects = {info.key: info for info in await self._list_alone(model)}
            except ModelfsError as error:
                log.info("a model stays as it was listed alone model=%r error=%s", model, error)
                objects = dict(self._gate.listed.get(model, {}))
            found[model] = {folder: marker, **objects} if marker is not None else objects
            self._alone[model] = trio.current_time()

        await gather(sorted(self._alone), ask)
        return [info for objects in found.values() for info in objects.values()]

    async def _take_model(self, model: str, listing: list[ObjectInfo], moment: Moment) -> list[Difference]:
        before = self._gate.listed.get(model, {})
        objects = self._gate.admit_model(model, listing)
        wanted: list[ObjectInfo] = []
        if self._settling is not None:
            wanted = self._settling.take_model(model, objects, moment)
        is_waiting = self._settling is not None and self._settling.is_waiting(model)
        if objects is before and not is_waiting:
            return []
        texts = await self._texts.read(wanted, deadline_s=ALONE_POLICY.deadline_s)
        new, found = await self._in_thread(partial(self._build_model, model, texts))
        self._swap(new)
        self._hurry()
        return found

    def _hurry(self) -> None:
        """Have the wait for the next listing end when something settles that was not known when it began."""
        if self._settles_s is not None:
            self._patience.deadline = min(self._patience.deadline, self._settles_s)

    def _swap(self, new: Tree) -> None:
        self.tree = new
        self._settles_s = self._settling.settles_s if self._settling is not None else None
        self._tell_omissions(new)
        self._tell_pending()

    @property
    def settles_s(self) -> float | None:
        """The moment of trio's clock from which a listing can show what is settling now, or None."""
        return self._settles_s

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(work, limiter=self._limiter)

    def _admit(self, listing: list[ObjectInfo], moment: Moment, *, may_withdraw: bool) -> list[ObjectInfo]:
        """Take a complete listing, and return the objects whose content decides what of it is shown."""
        if self.tree is trees.EMPTY and self._previous is trees.EMPTY and self._memory is not None:
            self._previous = self._memory.recall()
        if self._settling is None and self._settle_s:
            self._settling = Settling(self._settle_s, trees.files(self._previous).values())
        listed = self._gate.admit(listing, may_withdraw=may_withdraw)
        return self._settling.take(listed, moment) if self._settling is not None else []

    def _build(self, texts: Texts) -> tuple[Tree, list[Difference]]:
        """Return the tree of what is to be shown, and where it differs from the one that is shown."""
        models = self._concerned()
        if models is None:
            shown = chain.from_iterable(self._to_show(model, texts) for model in self._gate.listed)
            new = trees.build(shown, previous=self._previous, show_hidden=self._show_hidden)
        elif models:
            shown_of = {model: self._to_show(model, texts) for model in models}
            new = trees.graft(self._previous, shown_of, show_hidden=self._show_hidden)
        else:
            new = self._previous
        self._note_built()
        if collector.set_aside(self._gate.new - self._set_aside):
            self._set_aside = self._gate.new
        return self._show(new)

    def _build_model(self, model: str, texts: Texts) -> tuple[Tree, list[Difference]]:
        """Return the tree with what is to be shown of one model, and where it differs from the one that is shown."""
        new = trees.graft(self._previous, {model: self._to_show(model, texts)}, show_hidden=self._show_hidden)
        self._note_built()
        return self._show(new)

    def _to_show(self, model: str, texts: Texts) -> Iterable[ObjectInfo]:
        if self._settling is not None:
            return self._settling.show_model(model, texts)
        return self._gate.listed.get(model, {}).values()

    def _concerned(self) -> set[str] | None:
        """Return the models of which something else may be shown than before; None where that concerns the root."""
        if self._built is None:
            return None
        listed, built = self._gate.listed, self._built
        waiting = self._settling.waiting if self._settling is not None else ()
        models = {*self._were_waiting, *waiting, *(model for model in built if model not in listed)}
        models |= {model for model, objects in listed.items() if objects is not built.get(model)}
        files = listed.get("", {})
        return None if "" in models or any(model in files for model in models) else models

    def _note_built(self) -> None:
        self._built = self._gate.listed
        self._were_waiting = frozenset(self._settling.waiting) if self._settling is not None else frozenset()

    def _show(self, new: Tree) -> tuple[Tree, list[Difference]]:
        if self._memory is not None:
            self._memory.keep(new)  # before it is shown: a crash must not take a time back
        self._previous = new
        return new, trees.differences(self.tree, new)

    async def keep_fresh(self, period_s: float, on_change: Callable[[list[Difference]], Awaitable[None]]) -> None:
        """Refresh every ``period_s``, give or take a tenth, for ever, and tell what changed.

        Where another mount lists for this one too, that is whenever it has. What is asked for or settles in between is
        listed early. That moves no regular listing, so that what was deleted goes in time however much is uploaded
        elsewhere.
        """
        is_early = False
        due_s = 0.0
        while True:
            if not is_early:
                due_s = trio.current_time() + self._wait_s(period_s)
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
            # who waits for the round finds in the mount what it told: the kernel knows by now
            self._rounds.append(Round(self._begun, "", tuple(chain.from_iterable(map(paths_of, differences)))))

    def _wait_s(self, period_s: float) -> float:
        """Return how long to wait for the next regular listing."""
        if self._listings.is_following:
            return period_s * PATIENCE + NEWS_LOOK_S
        return period_s * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  spreads load

    async def _wait_until(self, due_s: float) -> bool:
        """Return at ``due_s``, or True before, when a listing is asked for or a settling time ends. Never at once."""
        await trio.sleep(EARLIEST_S)
        if trio.current_time() >= due_s:
            return False
        settles_s = self.settles_s if not self._error else None  # a store that fails is not asked more often
        with trio.CancelScope(deadline=min(due_s, math.inf if settles_s is None else settles_s)) as self._patience:
            if await self._hear():
                return False
        return self._asked.is_set() or trio.current_time() < due_s

    async def _hear(self) -> bool:
        """Return False when a listing is asked for, or True when another mount has left one."""
        look_s = NEWS_LOOK_S if self._listings.is_following else math.inf
        while not self._asked.is_set():
            with trio.move_on_after(look_s):
                await self._asked.wait()
                return False
            if await self._listings.has_news():
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


def paths_of(difference: Difference) -> list[str]:
    """Return the paths of what was added, removed or replaced."""
    return [f"{difference.path}/{name}" if difference.path else name for name in difference.names]


async def _tell(on_change: Callable[[list[Difference]], Awaitable[None]], differences: list[Difference]) -> None:
    try:
        await on_change(differences)
    except Exception:  # the root of a task; what was not told is seen when the kernel's timeouts end
        log.exception("unexpected error while telling what changed")
