"""What a disk tier has done, counted from any thread."""

import threading
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Counts:
    """Since the mount began.

    Bytes that were found on the disk, that were written there, and that were not, for want of time or room.
    """

    hit_bytes: int = 0
    stored_bytes: int = 0
    shed_bytes: int = 0
    evicted_chunks: int = 0
    damaged_chunks: int = 0


class Tally:
    """Counts things. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = dict.fromkeys((field.name for field in fields(Counts)), 0)

    def add(self, **more: int) -> None:
        """Add to some counts, by their names in Counts."""
        with self._lock:
            for name, number in more.items():
                self._counts[name] += number

    def counts(self) -> Counts:
        """Return the counts of now."""
        with self._lock:
            return Counts(**self._counts)
