"""How long the workers of a mount have lived, and what follows for the next one.

Law: pure; time is passed in. A worker that has served for long is followed by the next one at once. After some short
lives in a row there are pauses, which grow: a worker that dies by itself would else take a core for nothing.
"""

from typing import NamedTuple

SHORT_S = 10.0
"""A shorter life is told by what it died of: what kills a worker as soon as it is read or listed does so in seconds."""

_FREE = 3  # short lives without a pause: whoever restarts a machine's processes may hit a new one, too
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0

UNSERVED_MOST_S = 300.0
"""So long nobody has served, whatever was tried: then a mount that hangs is worse than none, and a service manager
starts anew. An upgrade that replaces modelfs's files takes less."""


class Facts(NamedTuple):
    """What people are told. ``at_s`` is the Unix time of the last death, ``reason`` what it was; "" where none was."""

    restarts: int = 0
    at_s: int = 0
    reason: str = ""


class Lives:
    """The workers of one mount."""

    def __init__(self) -> None:
        self.facts = Facts()
        self._short = 0
        self._serves_since_s: float | None = None
        self._unserved_since_s = 0.0

    @property
    def was_short(self) -> bool:
        """Whether the last worker has had a short life."""
        return self._short > 0

    @property
    def pause_s(self) -> float:
        """How long to wait before the next one."""
        paused = self._short - _FREE
        return 0.0 if paused <= 0 else min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(paused - 1, 16))

    def serves(self, now_s: float) -> None:
        """Take note that a worker serves from now on."""
        self._serves_since_s = now_s

    def ended(self, now_s: float, reason: str, *, at_s: float) -> None:
        """Take note of a death, of a worker that served or of one that came to nothing."""
        served_s = 0.0 if self._serves_since_s is None else now_s - self._serves_since_s
        if self._serves_since_s is not None:
            self._unserved_since_s = now_s
        self._serves_since_s = None
        self._short = self._short + 1 if served_s < SHORT_S else 0
        self.facts = Facts(self.facts.restarts + 1, int(at_s), reason)

    def is_hopeless(self, now_s: float) -> bool:
        """Tell whether nobody has served for too long."""
        return self._serves_since_s is None and now_s - self._unserved_since_s > UNSERVED_MOST_S
