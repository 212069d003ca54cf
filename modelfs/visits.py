"""Who reads the root: which lookups in it belong to a poll, and who still knows names that have gone.

Law: pure; time is passed in. Visitors are the threads that the kernel names in its requests; all that live in a PID
namespace of their own, where ours has no number for them, are one: 0.

A poll reads the root and then stats what it found, in one thread and without a pause. Its lookups are told from those
of a load by that, and not by the entry timeout, which a poll of 1,000 models outlasts (without: 70 listings in a poll
of 1.6 s). A load that comes from the same thread after a pause is none of the poll's: a server's threads serve both its
index and its loads. After a pause one lookup counts as none of the poll's, and then the poll goes on. So a poll that
had to wait for a core costs one listing and no more: two listings in 60 polls with six busy loops on two cores (seen).
"""

from dataclasses import dataclass

from cachetools import LRUCache

PAUSE_S = 0.08
"""A poll asks something all the time: a model of ten files takes some milliseconds. A load after an upload comes 0.1 s
later at the earliest."""

WALK_S = 5.0
WALK_S_FOR_EACH = 0.01
"""How long a poll lasts at most, for the whole root and for each name in it: twice what 1,000 models may take (R26)."""

LONG_PAUSE_S = 2.0
"""A poll on a busy machine does not rest as long. What comes after that is no part of it, and is told of names that
have gone in between."""

KEPT = 1000


@dataclass(slots=True)
class _Visit:
    read_s: float
    until_s: float
    asked_s: float
    has_paused: bool = False
    is_over: bool = False


class Visits:
    """The threads that have read the root lately."""

    def __init__(self) -> None:
        self._visits: LRUCache[int, _Visit] = LRUCache(KEPT)  # by thread
        self._last: _Visit | None = None  # of who began to read last

    def note_reading(self, thread: int, now_s: float, *, names: int) -> None:
        """Take note that ``thread`` begins to read the root, which holds so many ``names``."""
        visit = _Visit(now_s, now_s + WALK_S + WALK_S_FOR_EACH * names, now_s)
        self._last = self._visits[thread] = visit

    def note_more(self, now_s: float) -> None:
        """Take note that the root is being read on: by its last reader, as far as the kernel says."""
        if self._last is not None:
            self._last.asked_s = now_s

    def note_request(self, thread: int, now_s: float) -> None:
        """Take note that ``thread`` asks for something else than a name in the root."""
        visit = self._visits.get(thread)
        if visit is not None:
            visit.has_paused = visit.has_paused or now_s - visit.asked_s > PAUSE_S
            visit.is_over = visit.is_over or now_s - visit.asked_s > LONG_PAUSE_S or now_s > visit.until_s
            visit.asked_s = now_s

    def is_polling(self, thread: int, now_s: float) -> bool:
        """Tell whether a lookup in the root by ``thread`` belongs to a poll, and take note of it.

        >>> visits = Visits()
        >>> visits.note_reading(7, 0.0, names=3)
        >>> visits.is_polling(7, 0.05), visits.is_polling(8, 0.05), visits.is_polling(7, 0.1), visits.is_polling(7, 0.2)
        (True, False, True, False)
        """
        self.note_request(thread, now_s)
        visit = self._visits.get(thread)
        if visit is None or now_s > visit.until_s:
            return False
        had_paused, visit.has_paused = visit.has_paused, False
        return not had_paused

    def has_read_before(self, thread: int, when_s: float) -> bool:
        """Tell whether ``thread`` read the root before ``when_s`` and is still at what it read there.

        Its request of now was noted before.
        """
        visit = self._visits.get(thread)
        return visit is not None and visit.read_s < when_s and not visit.is_over
