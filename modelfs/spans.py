"""Where a listing is cut into spans that can be listed side by side, learnt from the pages of the one before.

Law: pure. A cut lies between two keys that followed each other. What is stored between them later is on one side of it,
which one depends on the store; but each store has it on one side alone, so that spans overlap nowhere and leave nothing
out. Keys are ordered by their bytes, as S3 and Google say that theirs are. Python's order is another where a key is no
UTF-8.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from heapq import heappop, heappush
from itertools import groupby, pairwise
from typing import NamedTuple

from modelfs.blocks import ObjectInfo


class Cut(NamedTuple):
    """Between the last key of one page and the first of the next."""

    last: str
    first: str


Span = tuple[Cut | None, Cut | None]
"""From one cut to another; None is the end of the repository."""


def order(key: str) -> bytes:
    """Return what keys are ordered by."""
    return key.encode("utf-8", "surrogateescape")


def spans(cuts: Sequence[Cut], *, most: int, pages_least: int) -> list[Span]:
    """Return at most ``most`` spans of equal numbers of pages, at least ``pages_least``, from the cuts between pages.

    >>> cuts = [Cut(str(number), str(number + 1)) for number in range(1, 7)]
    >>> [(begin and begin.first, end and end.last) for begin, end in spans(cuts, most=3, pages_least=2)]
    [(None, '2'), ('3', '4'), ('5', None)]
    """
    pages = len(cuts) + 1
    number = max(1, min(most, pages // pages_least))
    chosen = [cuts[pages * part // number - 1] for part in range(1, number)]
    return list(zip([None, *chosen], [*chosen, None], strict=True))


class Order:
    """Watches the pages of a span, and sees whether they are what was asked for."""

    def __init__(self, begin: Cut | None = None, end: Cut | None = None) -> None:
        self.pages: list[tuple[str, str]] = []  # the first and the last key of each that has any
        self.is_kept = True
        self._after = order(begin.last) if begin else None
        self._before = order(end.first) if end else None

    def watch(self, objects: Sequence[ObjectInfo]) -> None:
        """Take the next page. From the first on that is out of order, or out of the span, ``is_kept`` is False."""
        if not objects:
            return
        keys = [order(info.key) for info in objects]
        is_within = (self._after is None or self._after < keys[0]) and (self._before is None or keys[-1] < self._before)
        self.is_kept = self.is_kept and is_within and all(map(bytes.__lt__, keys, keys[1:]))
        self._after = keys[-1]
        self.pages.append((objects[0].key, objects[-1].key))

    def join(self, other: "Order") -> None:
        """Take the pages of a span that lies behind, and was watched by itself."""
        if other.pages:
            first = order(other.pages[0][0])
            self.is_kept = self.is_kept and other.is_kept and (self._after is None or self._after < first)
            self._after = order(other.pages[-1][1])
            self.pages += other.pages


def cuts_of(pages: Sequence[tuple[str, str]]) -> list[Cut]:
    """Return the cuts between pages, each told by its first and its last key.

    >>> cuts_of([("a", "c"), ("d", "f")])
    [Cut(last='c', first='d')]
    """
    return [Cut(last, first) for (_, last), (first, _) in pairwise(pages)]


def cut_off(page: list[ObjectInfo], end: Cut | None) -> tuple[list[ObjectInfo], bool]:
    """Return what of a page in order lies before ``end``, and whether the end is reached.

    For a store that can begin a listing anywhere, and not end it.
    """
    if end is None:
        return page, False
    stop = bisect_right(page, order(end.last), key=lambda info: order(info.key))
    return page[:stop], stop < len(page) or (stop > 0 and page[stop - 1].key == end.last)


def prefixes(weights: Mapping[str, int], *, most: int) -> list[str]:
    """Return the beginnings by which folders can be listed in groups, each folder in exactly one; sorted.

    ``weights`` are of folders, whose names end in a slash. The heaviest group is parted until it is an eighth of all,
    or one folder, or there would be more than ``most``.

    >>> prefixes({f"model_{number:02d}/": 1 for number in range(20)} | {"a/": 1}, most=9)
    ['a/', 'model_0', 'model_1']
    """
    total = sum(weights.values())
    groups = [(-total, "", sorted(weights))]
    while -groups[0][0] * _PARTS > total and len(groups[0][2]) > 1:
        _, _, folders = groups[0]
        shared = _shared(folders[0], folders[-1])
        parts = [list(found) for _, found in groupby(folders, key=lambda folder: folder[: shared + 1])]
        if len(groups) - 1 + len(parts) > most:
            break
        heappop(groups)
        for found in parts:
            start = found[0] if len(found) == 1 else found[0][: shared + 1]
            heappush(groups, (-sum(weights[folder] for folder in found), start, found))
    return sorted((start for _, start, _ in groups if start), key=order)


_PARTS = 8


def _shared(one: str, other: str) -> int:
    """Return how many characters two names begin with in common."""
    return next(
        (index for index, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
