"""Which reads the store fails now: what a reader waits for and nobody else would see.

Law: used on the trio thread alone. What succeeds, or is given up, is forgotten at once.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import trio

from modelfs.errors import ModelfsError

FOR_LONG_S = 30.0
"""Reads that fail for longer than this are worth telling: a throttled store, or one that restarts, is back before."""


@dataclass(frozen=True, slots=True)
class Failing:
    """``reads`` are being tried again now, the first of them for ``for_s``; ``error`` is the last one, or ""."""

    reads: int = 0
    for_s: float = 0.0
    error: str = ""

    @property
    def reason(self) -> str:
        """Return why the mount is not healthy; empty while this may still be the weather."""
        return f"reads have been failing for {self.for_s:.0f} s: {self.error}" if self.for_s > FOR_LONG_S else ""

    @property
    def since(self) -> float:
        """Return the Unix time of the first failure; 0 where there is none."""
        return time.time() - self.for_s if self.reads else 0.0


class FailingReads:
    """The reads that have failed and are tried again."""

    def __init__(self) -> None:
        self._began: dict[int, float] = {}
        self._next = 0
        self._error = ""

    @contextmanager
    def watch(self) -> Iterator[Callable[[ModelfsError], None]]:
        """Give what is to be told of each failure of one read, which ends with the context."""
        number = self._next = self._next + 1

        def note(error: ModelfsError) -> None:
            self._began.setdefault(number, trio.current_time())
            self._error = str(error)

        try:
            yield note
        finally:
            self._began.pop(number, None)

    def now(self) -> Failing:
        """Return how it is at this moment."""
        if not self._began:
            return Failing()
        return Failing(len(self._began), trio.current_time() - min(self._began.values()), self._error)
