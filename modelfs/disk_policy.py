"""How much the disk cache may hold, and what goes first when it holds more.

Law: pure. What is gone from the store goes first, then what was used longest ago, and never what is pinned or in use.
A file pushes out no chunk of its own: one that is larger than the cache keeps its first part there, where least
recently used alone would throw out each chunk before it is read again.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

GIB = 1024**3
DEFAULT_SHARE = 0.20
DEFAULT_MOST_BYTES = 200 * GIB
KEPT_FREE_SHARE = 0.15
"""Of the disk, for whatever else lives there; ext4 and xfs also slow down when they are nearly full."""

GONE, KEPT, PINNED = 0, 1, 2
"""Ranks. What is pinned is never thrown away, the others in this order."""


class Candidate(NamedTuple):
    """A chunk that may be thrown away."""

    object_id: bytes
    chunk: int
    bytes: int


class FilledDiskError(Exception):
    """Others have filled the disk, so that there is no room for us even when all of ours is gone."""

    def __init__(self) -> None:
        share = f"{KEPT_FREE_SHARE:.0%}".replace("%", " %")
        super().__init__(f"less than {share} of the disk are free, which is left to others; make room on it")


class Room(NamedTuple):
    """What there is: ``quota_bytes`` are ours at most, ``free_bytes`` of ``disk_bytes`` are free for us or others."""

    quota_bytes: int
    free_bytes: int
    disk_bytes: int

    def excess(self, used_bytes: int, wanted_bytes: int) -> int:
        """Return how many bytes must go before ``wanted_bytes`` may come, 0 or less where none must.

        >>> Room(100, 1000, 1000).excess(80, 30), Room(100, 160, 1000).excess(0, 30)
        (10, 20)
        """
        return max(used_bytes + wanted_bytes - self.quota_bytes, self.lack(wanted_bytes))

    def lack(self, wanted_bytes: int) -> int:
        """Return how many bytes must become free on the disk before ``wanted_bytes`` may come, whatever is ours.

        >>> Room(100, 1000, 1000).lack(30), Room(100, 160, 1000).lack(30)
        (-820, 20)
        """
        return int(self.disk_bytes * KEPT_FREE_SHARE) + wanted_bytes - self.free_bytes


def default_quota(disk_bytes: int) -> int:
    """Return how much may be kept on a disk of this size where nobody says.

    >>> default_quota(100 * GIB) // GIB, default_quota(8000 * GIB) // GIB
    (20, 200)
    """
    return min(int(disk_bytes * DEFAULT_SHARE), DEFAULT_MOST_BYTES)


def throw_away(
    candidates: Iterable[Candidate], excess_bytes: int, *, spare: bytes, discard: Callable[[Candidate], bool]
) -> Iterator[Candidate]:
    """Yield what ``discard`` has thrown away, until ``excess_bytes`` are gone; it refuses what is in use.

    ``candidates`` come in the order in which they should go. Chunks of the object ``spare`` stay.
    """
    for candidate in candidates:
        if excess_bytes <= 0:
            return
        if candidate.object_id != spare and discard(candidate):
            excess_bytes -= candidate.bytes
            yield candidate
