"""Scripted faults: what goes wrong, and with which requests.

Law: an effect is a value, a Fault is one effect with its matcher and its count, and all faults that match a request act
on it together (so latency goes with a rate, and a rate with a reset). Setting and healing act at once, also on requests
that are waiting.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from faultserver.log import Kind, Record


@dataclass(frozen=True, slots=True)
class Latency:
    """Wait before the first byte of the answer."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Rate:
    """Send bodies at this rate on each connection."""

    bytes_per_s: float


@dataclass(frozen=True, slots=True)
class TotalRate:
    """Send bodies at this rate over all connections together."""

    bytes_per_s: float


@dataclass(frozen=True, slots=True)
class Status:
    """Answer with this status and an XML error instead."""

    status: int
    code: str | None = None
    retry_after_s: int | None = None


@dataclass(frozen=True, slots=True)
class Stall:
    """Answer nothing at all (None), or stop after so many bytes of the body; go on when healed."""

    after_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Reset:
    """Break the connection with a TCP reset, before the answer (None) or after so many bytes of the body.

    A slow client sees fewer of them: the kernel drops what it had not yet sent.
    """

    after_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Truncate:
    """Close the connection in order after so many bytes of the body, fewer than Content-Length said."""

    after_bytes: int


@dataclass(frozen=True, slots=True)
class Excess:
    """Send so many bytes more than Content-Length said, then close."""

    extra_bytes: int


@dataclass(frozen=True, slots=True)
class WrongLength:
    """Answer a range with this much more (or less, if negative) than was asked for, in sound HTTP."""

    delta_bytes: int


@dataclass(frozen=True, slots=True)
class WrongRange:
    """Answer with the bytes so much further on; Content-Range says so (``admit``) or claims the right ones."""

    shift_bytes: int
    admit: bool = False


@dataclass(frozen=True, slots=True)
class IgnoreRange:
    """Answer a ranged GET with 200 and the whole object."""


@dataclass(frozen=True, slots=True)
class IgnoreVersion:
    """Serve whatever version there is, whatever If-Match or generation the request names: a store that lies."""


Effect = (
    Latency
    | Rate
    | TotalRate
    | Status
    | Stall
    | Reset
    | Truncate
    | Excess
    | WrongLength
    | WrongRange
    | IgnoreRange
    | IgnoreVersion
)


class Pacer:
    """Spreads bytes over time at a rate. Thread-safe."""

    def __init__(self, bytes_per_s: float) -> None:
        self.bytes_per_s = bytes_per_s
        self._lock = threading.Lock()
        self._free_at_s = 0.0

    def reserve(self, length: int) -> float:
        """Take ``length`` bytes and return how many seconds to wait before sending them."""
        with self._lock:
            now = time.monotonic()
            begin = max(now, self._free_at_s)
            self._free_at_s = begin + length / self.bytes_per_s
            return self._free_at_s - now


@dataclass(eq=False, slots=True)
class Fault:
    """One effect on the requests that match. ``seen`` counts those, ``hits`` those it acted on.

    ``kind`` None is every kind; ``key`` is a glob over whole keys ("*" also matches "/"); ``page`` is a listing's page,
    from 1; ``when`` is asked last, for all else. Of the matching requests it skips the first ``nth - 1``, then acts on
    every ``every``-th, ``times`` times at most (None: until healed).
    """

    effect: Effect
    kind: Kind | None = None
    key: str = "*"
    page: int | None = None
    when: Callable[[Record], bool] | None = None
    nth: int = 1
    every: int = 1
    times: int | None = None
    seen: int = field(default=0, init=False)
    hits: int = field(default=0, init=False)
    healed: bool = field(default=False, init=False)
    pacer: Pacer | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if isinstance(self.effect, TotalRate):
            self.pacer = Pacer(self.effect.bytes_per_s)

    def acts_on(self, record: Record) -> bool:
        """Count the request, and return whether this fault acts on it."""
        if not self._matches(record):
            return False
        self.seen += 1
        past = self.seen - self.nth
        if past < 0 or past % self.every or (self.times is not None and self.hits >= self.times):
            return False
        self.hits += 1
        return True

    def _matches(self, record: Record) -> bool:
        return (
            (self.kind is None or self.kind == record.kind)
            and (self.page is None or self.page == record.page)
            and fnmatchcase(record.key, self.key)
            and (self.when is None or self.when(record))
        )


class Faults:
    """The faults in force. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Put a fault in force."""
        with self._lock:
            self._faults.append(fault)

    def heal(self, fault: Fault | None) -> None:
        """Take one fault out of force, or all."""
        with self._lock:
            for each in self._faults if fault is None else [fault]:
                each.healed = True
            self._faults = [each for each in self._faults if not each.healed]

    def on(self, record: Record) -> list[Fault]:
        """Return the faults that act on this request, in the order they were set, and count it."""
        with self._lock:
            return [each for each in self._faults if each.acts_on(record)]
