"""A large listing, asked for in several places at once: where, is learnt from the one before.

Law: all or nothing, as ever, and the same objects as page after page. A store that does not keep to what it was asked
for (the order of keys, the ends of a span) is listed page after page from then on.

Latency is what it saves: 100 pages of 30 ms, one after the other, take 3 s before a byte is parsed. The number of
requests hardly grows. S3 and Google can begin a listing at any key: the next one is made of spans of equal numbers of
pages, had from the cuts between the pages of the last. Azure cannot, and of a first listing no cuts are known. There
the folders of the root are asked for, which is one request for each 1,000, and then all that begins with one of some
prefixes that their names fall into. What lies in one folder alone is not parted, but by spans.
"""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain

import trio

from modelfs.blocks import ObjectInfo
from modelfs.errors import ModelfsError, StoreRefusedError, UnsortedError
from modelfs.gate import model_of
from modelfs.gathering import gather
from modelfs.spans import Order, cuts_of, prefixes, spans
from modelfs.store import Levelled, Page, RetryPolicy, Splittable, Store, list_everything

log = logging.getLogger(__name__)

OnPage = Callable[[int], Awaitable[None]]
Recall = Callable[[ObjectInfo], ObjectInfo]

PAGES_LEAST = 11
"""A listing of fewer pages is asked for one after the other."""

SPAN_PAGES_LEAST = 3
AT_ONCE = 8
PREFIXES_MOST = 16
"""Each may cost one request more than a listing of all does."""


class Splitting:
    """Lists all of ``store``. One task at a time asks."""

    def __init__(self, store: Store, *, policy: RetryPolicy, limiter: trio.CapacityLimiter) -> None:
        self._store = store
        self._policy = policy
        self._limiter = limiter
        self._side_by_side = trio.CapacityLimiter(AT_ONCE)
        self._ends: Sequence[tuple[str, str]] = ()  # of the last listing's pages, where they were in order
        self._weights: Mapping[str, int] = {}  # of the root's folders: the last listing's objects in them
        self._recall: Recall | None = None
        self._is_first = True
        self._has_order = True
        self.pages = 0
        """The requests of the last listing, without those that were tried again."""

    async def everything(self, on_page: OnPage | None = None, *, recall: Recall | None = None) -> list[ObjectInfo]:
        """Return every object, or raise; see ``list_everything``. ``on_page`` is told the number of objects so far.

        ``recall`` is asked for each object, in the threads that ask the store, and may give an equal one.
        """
        self._recall = recall
        try:
            objects = await self._by_spans(on_page)
        except (UnsortedError, StoreRefusedError) as error:
            log.info("the listing is not split any more because=%r", str(error))
            self._has_order, self._ends, objects = False, (), None
        if objects is None and self._weights:
            objects = await self._by_prefixes(self._weights, on_page)
        if objects is None:
            objects = await self._one_by_one(on_page)
        self._is_first = False
        return objects

    async def _one_by_one(self, on_page: OnPage | None) -> list[ObjectInfo]:
        """List page after page; of a first listing that turns out to be a large one perhaps only the first pages."""
        is_new = self._is_first and isinstance(self._store, Levelled)
        part = _Part(self._store.list_page, pages_most=PAGES_LEAST - 1 if is_new else None)
        progress = _Progress(on_page)
        try:
            objects = await self._list(part, progress, self._limiter)
        except _LargeError:
            found = await self._by_prefixes({}, on_page)
            if found is not None:
                return found
            part.pages_most = None
            progress = _Progress(on_page)
            objects = await self._list(part, progress, self._limiter)
        self.pages = progress.pages
        await self._learn(objects, part.order)
        return objects

    async def _by_spans(self, on_page: OnPage | None) -> list[ObjectInfo] | None:
        """List spans of what the last listing saw; None where there were too few pages."""
        if len(self._ends) < PAGES_LEAST or not isinstance(self._store, Splittable):
            return None
        parts = [
            _Part(partial(self._store.list_span_page, begin=begin, end=end), Order(begin, end))
            for begin, end in spans(cuts_of(self._ends), most=AT_ONCE, pages_least=SPAN_PAGES_LEAST)
        ]
        progress = _Progress(on_page)
        found = await gather(parts, lambda part: self._list(part, progress, self._side_by_side))
        self.pages = progress.pages
        self._ends = list(chain.from_iterable(part.order.pages for part in parts))
        return list(chain.from_iterable(found[part] for part in parts))

    async def _by_prefixes(self, weights: Mapping[str, int], on_page: OnPage | None) -> list[ObjectInfo] | None:
        """List what begins with each of some prefixes; None where the root's folders do not fall into such parts.

        ``weights`` are those that are known of the folders; all others weigh as much as one of them does.
        """
        root, progress = _Part(self._level, pages_most=PAGES_LEAST - 1), _Progress(on_page)
        try:
            objects = await self._list(root, progress, self._limiter)
        except _LargeError:
            return None
        usual = sum(weights.values()) // len(weights) if weights else 1
        folders = {folder: weights.get(folder, usual) for folder in root.folders}
        starts = prefixes(folders, most=PREFIXES_MOST)
        if not _are_parts(starts, folders):
            self._weights = {}
            return None
        parts = [_Part(partial(self._store.list_page, folder=start)) for start in starts]
        turns = trio.CapacityLimiter(AT_ONCE)  # the time that a page may take must not run while it waits for its turn

        async def one(part: _Part) -> list[ObjectInfo]:
            async with turns:
                return await self._list(part, progress, self._side_by_side)

        found = await gather(parts, one)
        self.pages = progress.pages
        beside = [info for info in objects if not info.key.startswith(tuple(starts))]
        objects = [*beside, *chain.from_iterable(found[part] for part in parts)]
        order = Order()
        for part in parts:
            order.join(part.order)
        await self._learn(objects, order)
        return objects

    def _level(self, token: str | None) -> Page:
        assert isinstance(self._store, Levelled)  # noqa: S101  whoever asks has looked
        return self._store.list_level_page(token)

    async def _learn(self, objects: Sequence[ObjectInfo], order: Order) -> None:
        """Note what the next listing may be parted by."""
        self._ends, self._weights = (), {}
        if len(order.pages) < PAGES_LEAST:
            return
        if isinstance(self._store, Splittable):
            self._ends = order.pages if order.is_kept and self._has_order else ()
        elif isinstance(self._store, Levelled):
            weights = await trio.to_thread.run_sync(_weigh, objects)
            if _are_parts(prefixes(weights, most=PREFIXES_MOST), weights):
                self._weights = weights

    async def _list(self, part: "_Part", progress: "_Progress", limiter: trio.CapacityLimiter) -> list[ObjectInfo]:
        part.recall = self._recall
        return await list_everything(part, policy=self._policy, limiter=limiter, on_page=progress.of_a_part())


class _LargeError(ModelfsError):
    """There are more pages than are asked for one after the other."""


class _Part:
    """A part of the listing, behind the protocol of the whole.

    With an ``order`` that is given, raises UnsortedError where it is not kept. With ``pages_most`` raises _LargeError
    after so many; a second try begins with the pages that were had.
    """

    def __init__(
        self, ask: Callable[[str | None], Page], order: Order | None = None, *, pages_most: int | None = None
    ) -> None:
        self._ask = ask
        self._must_keep = order is not None
        self._had: dict[str | None, Page] = {}
        self.order = order or Order()
        self.recall: Recall | None = None
        self.pages_most = pages_most
        self.folders: list[str] = []

    def list_page(self, token: str | None, folder: str = "") -> Page:  # noqa: ARG002  the whole's
        """Return a page of the part."""
        if token in self._had:
            return self._had[token]
        if self.pages_most is not None and len(self._had) == self.pages_most:
            raise _LargeError("there are more pages")
        page = self._ask(token)
        self.order.watch(page.objects)
        if self._must_keep and not self.order.is_kept:
            raise UnsortedError("the store's listing is not in order")
        self.folders += page.folders
        if self.recall is not None:
            page = page._replace(objects=list(map(self.recall, page.objects)))
        if self.pages_most is not None:
            self._had[token] = page
        return page


class _Progress:
    """Counts the pages and objects of all parts."""

    def __init__(self, on_page: OnPage | None) -> None:
        self._on_page = on_page
        self.pages = self._objects = 0

    def of_a_part(self) -> OnPage:
        """Return what is told the number of objects so far of one part after each of its pages."""
        before = 0

        async def note(objects: int) -> None:
            nonlocal before
            self.pages += 1
            self._objects += objects - before
            before = objects
            if self._on_page is not None:
                await self._on_page(self._objects)

        return note


def _weigh(objects: Iterable[ObjectInfo]) -> Counter[str]:
    return Counter(f"{model}/" for info in objects if (model := model_of(info.key)))


def _are_parts(starts: Sequence[str], weights: Mapping[str, int]) -> bool:
    """Tell whether the largest part is at most half of all."""
    heaviest = max(
        (sum(weight for folder, weight in weights.items() if folder.startswith(start)) for start in starts), default=0
    )
    return 0 < 2 * heaviest <= sum(weights.values())
