"""Listings of a repository that is too large to be listed as a whole: the names in its root, and what is in use.

Law: a folder of the root is told by its name alone until it is used; from then on all of it is listed, as a whole, as
ever. It is listed again while it is used, and told as it was known when it is not. So whatever holds of a model holds
of it as soon as somebody looks into it.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import trio

from modelfs.blocks import ObjectInfo
from modelfs.gathering import gather
from modelfs.store import Levelled, Page, RetryPolicy, Store, list_everything

AT_ONCE = 8

Known = Callable[[str], Iterable[ObjectInfo]]
"""Tells the objects of a model as they were listed last."""


class Partial(NamedTuple):
    """All objects of the root and of the models that are open; ``bare`` are the names of the others."""

    objects: list[ObjectInfo]
    bare: frozenset[str]
    pages: int


class OnOpen:
    """Lists ``store``, which is Levelled. One task at a time asks for a listing; uses are noted at any time."""

    def __init__(self, store: Store, *, policy: RetryPolicy) -> None:
        assert isinstance(store, Levelled)  # noqa: S101  whoever makes one has looked
        self._levelled = store
        self._store = store
        self._policy = policy
        self._open: set[str] = set()
        self._used: set[str] = set()

    def note_open(self, model: str) -> None:
        """Have a model listed from now on, since all of it is known."""
        self._open.add(model)
        self._used.add(model)

    def note_use(self, model: str) -> None:
        """Have a model listed the next time, if it is open."""
        self._used.add(model)

    async def everything(self, recall: Callable[[ObjectInfo], ObjectInfo], known: Known) -> Partial:
        """Return the listing, or raise: all or nothing, as ``list_everything``.

        ``recall`` is asked for each object, and may give an equal one.
        """
        root = _Root(self._levelled)
        limiter = trio.CapacityLimiter(AT_ONCE)
        objects = [recall(info) for info in await list_everything(root, policy=self._policy, limiter=limiter)]
        folders = {folder[:-1] for folder in root.folders}
        used, self._used = self._used & self._open, set()
        turns = trio.CapacityLimiter(AT_ONCE)  # the time that a page may take must not run while it waits for its turn
        pages = root.pages

        async def count(_objects: int) -> None:
            nonlocal pages
            pages += 1

        async def ask(model: str) -> list[ObjectInfo]:
            async with turns:
                return await list_everything(
                    self._store, folder=f"{model}/", policy=self._policy, limiter=limiter, on_page=count
                )

        try:
            found = await gather(sorted(used & folders), ask)
        except BaseException:
            self._used |= used
            raise
        for model in sorted(folders & self._open):
            objects += map(recall, found[model]) if model in found else known(model)
        return Partial(objects, frozenset(folders - self._open), pages)


class _Root:
    """The root as a listing of its own, which notes the folders."""

    def __init__(self, store: Levelled) -> None:
        self._store = store
        self.folders: list[str] = []
        self.pages = 0

    def list_page(self, token: str | None, folder: str = "") -> Page:
        """Return a page of the root."""
        page = self._store.list_level_page(token, folder)
        self.folders += page.folders
        self.pages += 1
        return page
