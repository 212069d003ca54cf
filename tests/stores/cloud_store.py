"""Stores in memory that list as clouds do: in pages, by levels, in spans.

Law: plain, and obviously right: every page is found by going over all keys.
"""

from collections.abc import Callable, Sequence

from stores.memory_store import MemoryStore

from modelfs.spans import Cut, order
from modelfs.store import Page

PAGE = 3


class CloudStore(MemoryStore):
    """Lists as a cloud does, counts the requests, and notes how many were asked for at the same time."""

    def __init__(self, keys: Sequence[str] = (), *, page_size: int = PAGE) -> None:
        super().__init__(page_size=page_size)
        self.requests = 0
        self.arrange: Callable[[list[str]], list[str]] = lambda keys: sorted(keys, key=order)
        for key in keys:
            self.put(key, b"")

    def keys(self, start: str = "") -> list[str]:
        """Return the keys that begin with ``start``, in the order of a listing."""
        return self.arrange([key for key in self._objects if key.startswith(start)])

    def list_page(self, token: str | None, folder: str = "") -> Page:
        """Return a page of what begins with ``folder``."""
        return self.page_of(self.keys(folder), token)

    def page_of(self, keys: list[str], token: str | None) -> Page:
        """Return the page behind the key ``token``."""
        self.requests += 1
        self._ask("list", None)
        first = keys.index(token) + 1 if token in keys else sum(order(key) <= order(token or "") for key in keys)
        page = keys[first : first + self.page_size]
        is_end = first + self.page_size >= len(keys)
        return Page([self._objects[key].info for key in page], None if is_end else page[-1])


class LevelledStore(CloudStore):
    """As Azure: can list one level, and begins no listing in its middle."""

    def list_level_page(self, token: str | None, folder: str = "") -> Page:
        """Return all of a level in one page."""
        del token
        self.requests += 1
        self._ask("list", None)
        below = [key.removeprefix(folder) for key in self.keys(folder)]
        folders = sorted({f"{folder}{key.partition('/')[0]}/" for key in below if "/" in key})
        return Page([self._objects[folder + key].info for key in below if "/" not in key], None, tuple(folders))


class S3Store(LevelledStore):
    """As S3: begins behind a key; what lies between the keys of a cut is behind it."""

    def list_span_page(self, token: str | None, begin: Cut | None, end: Cut | None) -> Page:
        """Return a page of a span."""
        first, stop = (order(cut.last) if cut else None for cut in (begin, end))
        keys = [key for key in self.keys() if (first is None or order(key) > first)]
        return self.page_of([key for key in keys if stop is None or order(key) <= stop], token)


class GcsStore(LevelledStore):
    """As Google: begins at a key and ends before one; what lies between the keys of a cut is before it."""

    def list_span_page(self, token: str | None, begin: Cut | None, end: Cut | None) -> Page:
        """Return a page of a span."""
        first, stop = (order(cut.first) if cut else None for cut in (begin, end))
        keys = [key for key in self.keys() if (first is None or order(key) >= first)]
        return self.page_of([key for key in keys if stop is None or order(key) < stop], token)
