"""Looks: a name that is looked up in the root is looked for in the store first, so that a load sees what was uploaded.

Law: a lookup waits a bounded time, and then gets the old view; the look goes on without it, and counts when it ends. No
poll has a look (``visits``), hidden names never have, and ``restraint`` bounds how many there are.

The kernel holds up a folder while it looks one of its names up. So what is invalidated in the root waits until nobody
waits there. What a look has changed inside its model is invalidated before the lookup is answered: the kernel would
else answer the next stat from what it remembers.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import chain

import trio
from cachetools import LRUCache

from modelfs.errors import ModelfsError
from modelfs.names import is_model_name
from modelfs.restraint import Restraint
from modelfs.tree import Difference, Directory, File
from modelfs.view import Round, View, paths_of
from modelfs.visits import Visits

log = logging.getLogger(__name__)

LATE_MOST = 3
"""After so many lookups in a row that waited in vain none waits, until a look was in time again: a store that does not
answer must not make each path that leads through the root wait."""

QUIET_S = 2.0
"""How long an invalidation in the root waits for a moment in which nobody waits there."""

ROUNDS_KEPT = 64


@dataclass(slots=True)
class _Look:
    began_s: float
    done: trio.Event = field(default_factory=trio.Event)
    told: trio.Event = field(default_factory=trio.Event)  # the kernel knows all of it
    failure: ModelfsError | None = None
    round: Round = field(default_factory=lambda: Round(0, ""))


class Looks:
    """The looks of one mount at the models of ``view``. ``tell`` tells the kernel what differs."""

    def __init__(
        self,
        view: View,
        *,
        wait_s: float,
        nursery: trio.Nursery,
        tell: Callable[[list[Difference]], Awaitable[None]],
    ) -> None:
        """Have lookups wait ``wait_s`` at most; with 0 there are no looks but those that are asked for."""
        self.visits = Visits()
        self._view = view
        self._wait_s = wait_s
        self._nursery = nursery
        self._tell = tell
        self._running: dict[str, _Look] = {}
        self._restraint = Restraint()
        self._late = 0
        self._waiting = 0
        self._nobody_waits = trio.Event()
        self._rounds: LRUCache[int, Round] = LRUCache(ROUNDS_KEPT)
        self._asked = 0

    async def before_lookup(self, name: str, thread: int) -> None:
        """Have ``name`` looked for in the store before a lookup of it in the root is answered, where that is due."""
        asked_s = trio.current_time()
        known = self._view.find(name)
        is_polling = self.visits.is_polling(thread, asked_s) and known is not None  # a poll asks for what there is
        if is_polling or isinstance(known, File) or not self._wait_s or not is_model_name(name):
            return
        self._waiting += 1
        try:
            with trio.move_on_after(self._wait_s if self._late < LATE_MOST else 0.0) as patience:
                while (look := self._running.get(name) or self._begin(name)) is not None:
                    await look.done.wait()
                    if look.began_s >= asked_s:
                        break  # else it may have listed what there was before whoever asks now stored something
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._nobody_waits.set()
                self._nobody_waits = trio.Event()
        if patience.cancelled_caught:
            self._note(in_time=False)

    async def before_use(self, path: str) -> None:
        """Have the model that ``path`` lies in listed before it is looked into, where only its name is known.

        Raises what the listing raised, where there is nothing else to show.
        """
        name = path.partition("/")[0]
        if not self._view.note_use(name):
            return
        look = self._running.get(name) or self._start(name)
        await look.done.wait()
        known = self._view.tree.root.children.get(name)
        if look.failure is not None and not (isinstance(known, Directory) and known.children):
            raise type(look.failure)(str(look.failure)) from look.failure

    def note_opening(self, path: str) -> None:
        """Take note that a file or folder is opened."""
        self._restraint.note_opening(path.partition("/")[0], trio.current_time())

    async def until_nobody_waits(self) -> None:
        """Return when no lookup in the root waits, or after QUIET_S."""
        with trio.move_on_after(QUIET_S):
            while self._waiting:
                await self._nobody_waits.wait()

    def ask(self, model: str) -> int:
        """Have ``model`` listed alone now, and return the number of that round."""
        self._asked += 1
        self._nursery.start_soon(self._answer, model, self._asked)
        return self._asked

    def round(self, number: int) -> Round | None:
        """Return how round ``number`` ended; None while it is not over, or when it was long ago."""
        return self._rounds.get(number)

    async def _answer(self, model: str, number: int) -> None:
        while (running := self._running.get(model)) is not None:
            await running.done.wait()
        look = self._start(model)
        await look.told.wait()
        self._rounds[number] = look.round._replace(number=number)

    def _begin(self, name: str) -> _Look | None:
        """Begin a look, unless there was one just now, or there are too many."""
        is_known = name in self._view.tree.root.children
        return self._start(name) if self._restraint.may_look(name, trio.current_time(), is_known=is_known) else None

    def _start(self, name: str) -> _Look:
        look = self._running[name] = _Look(trio.current_time())
        self._restraint.note_look(name, look.began_s)
        self._nursery.start_soon(self._run, name, look)
        return look

    async def _run(self, name: str, look: _Look) -> None:
        differences: list[Difference] = []
        first: list[Difference] = []
        error = ""
        # of what was never looked into the kernel holds no names, and it would have us wait for those who wait there
        is_bare = self._view.is_bare(name)
        try:
            differences = await self._view.refresh_model(name)
            first = [each for each in differences if each.path and not is_bare]
            await self._tell(first)
        except ModelfsError as failure:
            error, look.failure = str(failure), failure
            log.info("a model cannot be looked at model=%r error=%s", name, failure)
        except Exception:  # the root of a task: a bug in an engine must not end the mount
            error = "an unexpected error, which the log tells"
            look.failure = ModelfsError(error)
            log.exception("unexpected error in a look")
        finally:
            del self._running[name]
            look.round = Round(0, error, tuple(chain.from_iterable(map(paths_of, differences))))
            look.done.set()
        if trio.current_time() - look.began_s <= self._wait_s:  # who waited in vain has said so
            self._note(in_time=not error)
        if differences:
            log.info("a model changed model=%r folders=%d", name, len(differences))
        await self._tell([each for each in differences if each not in first])
        if differences:
            self._view.note_told()
        look.told.set()

    def _note(self, *, in_time: bool) -> None:
        if in_time and self._late >= LATE_MOST:
            log.info("lookups wait for the store again")
        self._late = 0 if in_time else self._late + 1
        if self._late == LATE_MOST:
            log.info("lookups do not wait for the store until it is faster than --look wait_s=%g", self._wait_s)
