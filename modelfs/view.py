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
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import NamedTuple, TypeVar

import trio

from modelfs import tree as trees
from modelfs.blocks import ObjectInfo
from modelfs.errors import ModelfsError
from modelfs.gate import by_model
from modelfs.gathering import gather
from modelfs.journal import Journal
from modelfs.journal import Shown as Inheritance
from modelfs.listings import NEWS_LOOK_S, PATIENCE, Listings
from modelfs.remembered import Memory
from modelfs.settle import Moment, Pending
from modelfs.showing import Showing, Shown
from modelfs.store import RetryPolicy, Store, list_everything
from modelfs.texts import TextReader
from modelfs.tree import Difference, Directory, Node, Tree, find_below
from modelfs.upload_reader import UploadReader
from modelfs.uploads import Uploads
from modelfs.withdrawn import Gone, Withdrawn

log = logging.getLogger(__name__)

T = TypeVar("T")

JITTER = 0.1  # of the refresh period: the mounts of a fleet that started together should not list together
EARLIEST_S = 1.0  # between two listings, however often a refresh is asked for
NAMES_AT_ONCE = 10_000  # are put together in the thread that answers: 3 ms
ROUNDS_KEPT = 8  # whoever waits for one asks several times a second

ALONE_POLICY = RetryPolicy(deadline_s=10.0)
"""For a model that is listed alone: whoever asked for it has long gone on."""

ALONE_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Health:
    """``listed_at`` is the Unix time of the last complete listing; ``error`` why later ones failed, or "".

    ``pages`` are the requests that the last one of our own took; ``is_shared``: the last one was another mount's. Of
    ``bare`` folders of the root only the names are known.
    """

    listings: int
    pages: int
    listed_at: float
    error: str
    failing_since: float
    is_shared: bool = False
    bare: int = 0


class Round(NamedTuple):
    """One listing after the first: its number, why it failed or "", and the paths that it changed."""

    number: int
    error: str
    changed: tuple[str, ...] = ()


class View:
    """The current tree of ``store``. ``refresh`` is called by one task at a time.

    With a ``settle_s`` of 0 everything shows as soon as it is listed. Without a ``memory`` the times go on only as
    long as the view lives. Without ``listings`` every listing is asked of the store. Without a ``journal`` no other
    process can go on with what is shown.
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
        journal: Journal | None = None,
    ) -> None:
        self.tree: Tree = trees.EMPTY
        self.pending: tuple[Pending, ...] = ()
        self._store = store
        self._policy = policy
        self._workers = trio.CapacityLimiter(2)  # not of ``limiter``, whose threads may all wait for the store
        self._listings = listings or Listings(store, policy=policy, limiter=limiter)
        # of whoever has the turn
        self._showing = Showing(show_hidden=show_hidden, settle_s=settle_s, memory=memory, journal=journal)
        self._journal = journal
        self._untold: list[Difference] = []  # by the worker before this one
        self._telling = 0  # models taken alone of which the kernel is being told
        self._listings.recall = self._showing.gate.recall
        self._listings.known = lambda model: self._showing.gate.listed.get(model, {}).values()
        self._settles_s: float | None = None
        self._withdrawn = Withdrawn()
        self._texts = TextReader(store, policy)
        self._uploads = UploadReader(store)
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

    def health(self) -> Health:
        """Return how the last listings went."""
        taken, pages = self._listings_taken, self._pages
        bare = self._showing.bare
        return Health(taken, pages, self._listed_at, self._error, self._failing_since, self._is_shared, bare)

    def withdrawn(self, name: str) -> Gone | None:
        """Return what stood under ``name`` in the root until a moment ago."""
        return self._withdrawn.find(name, trio.current_time())

    def find(self, path: str) -> Node | None:
        """Return what is shown at ``path``, or was until its model was withdrawn a moment ago."""
        node = self.tree.find(path)
        if node is None:
            name, _, below = path.partition("/")
            gone = self.withdrawn(name)
            node = find_below(gone.node, below) if gone is not None else None
        return node

    def take_over(self, shown: Inheritance) -> None:
        """Show what a worker before this one showed last. What ``keep_fresh`` lists soon is compared with it."""
        self.tree = shown.tree
        self._listed_at = shown.listed_at
        self._untold = shown.untold
        if shown.is_on_open or self._listings.is_on_open:
            children = shown.tree.root.children
            known = (name for name, node in children.items() if isinstance(node, Directory) and node.children)
            self._listings.begin_on_open(known)
        self._showing.take_over(shown.tree, is_on_open=self._listings.is_on_open)
        self._asked.set()

    def is_replaced(self, info: ObjectInfo) -> bool:
        """Tell whether the store lists another version of this object, or none, than the one that is shown."""
        if self._showing.is_taken_over:
            return False  # nobody knows yet
        listed = self._showing.gate.find(info.key)
        return listed is None or listed.version != info.version

    def note_use(self, model: str) -> bool:
        """Take note that somebody looks into a folder of the root; tell whether it has to be listed for that."""
        self._listings.note_use(model, is_open=False)
        return self._showing.is_bare(model)

    def is_bare(self, model: str) -> bool:
        """Tell whether nothing but its name is known of a folder of the root."""
        return self._showing.is_bare(model)

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
        ``on_page`` is told the number of objects so far after each page, and of 0 before the first one.
        """
        listing = None if is_early else self._listings.of_another()
        due = await self._due() if listing is None else []
        uploads = await self._uploads.read(due, is_first=not self._taken)
        if due and on_page is not None:
            await on_page(0)
        if listing is None:
            listing = await self._listings.own(on_page, is_early=is_early)
            self._uploads.note_listed()
        async with self._turn:
            self._alone = {model: at_s for model, at_s in self._alone.items() if at_s > listing.began_s}
            objects = await self._with_what_is_newer(listing.objects)
            moment = Moment(listing.began_s, trio.current_time(), time.time_ns())
            bare = listing.bare - self._alone.keys()
            is_witness = listing.is_witness
            take = partial(self._showing.take, objects, moment, may_withdraw=is_witness, bare=bare, uploads=uploads)
            texts = await self._texts.read(await self._in_thread(take))
            shown = await self._in_thread(partial(self._showing.show, texts))
            self._taken += 1
            self._listings_taken += 1
            self._pages = listing.pages or self._pages
            self._is_shared = not listing.pages
            self._listed_at = time.time()
            self._swap(shown)
        return shown.differences

    async def refresh_model(self, model: str) -> list[Difference]:
        """List the folder ``model`` of the root alone, swap the tree if anything differs, and return where.

        What is new is shown, and nothing is withdrawn. Raises a ModelfsError and changes nothing. Not before the first
        ``refresh``, and for one model by one task at a time. Of what is returned ``note_told`` is told in the end.
        """
        while True:
            due = await self._due()
            uploads = await self._uploads.read([model] if model in due or self._showing.is_bare(model) else ())
            began_s, taken = trio.current_time(), self._taken
            listing = await self._list_alone(model)
            self._uploads.note_listed()
            async with self._turn:
                if taken == self._taken:
                    self._alone[model] = trio.current_time()
                    self._listings.note_use(model, is_open=True)
                    moment = Moment(began_s, trio.current_time(), time.time_ns())
                    return await self._take_model(model, listing, moment, uploads)

    async def _due(self) -> list[str]:
        """Return the models whose open uploads are to be known before the listing that begins now."""
        async with self._turn:
            return [] if self._listings.is_on_open and not self._taken else self._showing.due(trio.current_time())

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
                objects = dict(self._showing.gate.listed.get(model, {}))
            found[model] = {folder: marker, **objects} if marker is not None else objects
            self._alone[model] = trio.current_time()

        await gather(sorted(self._alone), ask)
        return [info for objects in found.values() for info in objects.values()]

    async def _take_model(
        self, model: str, listing: list[ObjectInfo], moment: Moment, uploads: Uploads
    ) -> list[Difference]:
        wanted = await self._in_thread(partial(self._showing.take_model, model, listing, moment, uploads=uploads))
        if wanted is None:
            return []
        texts = await self._texts.read(wanted, deadline_s=ALONE_POLICY.deadline_s)
        shown = await self._in_thread(partial(self._showing.show, texts, model))
        self._swap(shown)
        self._hurry()
        self._telling += bool(shown.differences)
        return shown.differences

    def _hurry(self) -> None:
        """Have the wait for the next listing end when something settles that was not known when it began."""
        if self._settles_s is not None:
            self._patience.deadline = min(self._patience.deadline, self._settles_s)

    def _swap(self, shown: Shown) -> None:
        gone = [name for path, names in shown.differences if not path for name in names]
        self._withdrawn.note(gone, old=self.tree, new=shown.tree, now_s=trio.current_time())
        self.tree, self.pending, self._settles_s = shown.tree, shown.pending, shown.settles_s

    @property
    def settles_s(self) -> float | None:
        """The moment of trio's clock from which a listing can show what is settling now, or None."""
        return self._settles_s

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(work, limiter=self._workers)

    async def keep_fresh(self, period_s: float, on_change: Callable[[list[Difference]], Awaitable[None]]) -> None:
        """Refresh every ``period_s``, give or take a tenth, for ever, and tell what changed.

        Where another mount lists for this one too, that is whenever it has. What is asked for or settles in between is
        listed early. That moves no regular listing, so that what was deleted goes in time however much is uploaded
        elsewhere.
        """
        is_early = False
        due_s = 0.0
        if self._untold:
            await _tell(on_change, self._untold)
        await self._keep_told()
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
            await self._keep_told()
            # who waits for the round finds in the mount what it told: the kernel knows by now
            tell = partial(_all_paths, differences)
            is_much = sum(len(each.names) for each in differences) > NAMES_AT_ONCE
            self._rounds.append(Round(self._begun, "", await self._in_thread(tell) if is_much else tell()))

    def note_told(self) -> None:
        """Take note that the kernel was told of what ``refresh_model`` returned."""
        self._telling -= 1

    async def _keep_told(self) -> None:
        """Keep for the next worker that the kernel was told of all that is shown, if it was."""
        if self._journal is None:
            return
        async with self._turn:
            if not self._telling:
                keep = partial(self._journal.told, self._listed_at, is_on_open=self._listings.is_on_open)
                await self._in_thread(keep)

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


def paths_of(difference: Difference) -> list[str]:
    """Return the paths of what was added, removed or replaced."""
    return [f"{difference.path}/{name}" if difference.path else name for name in difference.names]


def _all_paths(differences: list[Difference]) -> tuple[str, ...]:
    return tuple(chain.from_iterable(map(paths_of, differences)))


async def _tell(on_change: Callable[[list[Difference]], Awaitable[None]], differences: list[Difference]) -> None:
    try:
        await on_change(differences)
    except Exception:  # the root of a task; what was not told is seen when the kernel's timeouts end
        log.exception("unexpected error while telling what changed")
