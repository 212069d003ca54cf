"""What a tritonserver did, from its log: what it loaded and unloaded, what failed, and when it polled.

Law: the log is read as it grows, each line once. It must be written with ``VERBOSE``: only then does Triton tell of its
polls, and which versions it really loads; its "loading:" line also names those that it keeps as they are.
"""

import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

VERBOSE = ("--log-verbose=1", "--disable-auto-complete-config")
"""The second has a Python model start one process for each load instead of two, which is 1.2 s less."""

_LINE = re.compile(r'([IWE])\d{4} [\d:.]+ \d+ ([a-z_]+)\.cc:\d+\] "?(.*?)"?$')
_POLL = "Polling model repository"
_WITNESS = re.compile(r"witness (\S+) (\d+) ([\d ]+)$")
_KINDS = (
    ("loading", re.compile(r"loading: ([^:]+):(\d+)")),
    ("starts", re.compile(r"Starting Python backend stub: .*/([^/ ]+)/(\d+)/model\.py ")),
    ("loaded", re.compile(r"successfully loaded '([^']+)'()")),
    ("unloaded", re.compile(r"successfully unloaded '([^']+)' version (\d+)")),
    ("failed", re.compile(r"failed to load '([^']+)' version (\d+)")),
    ("refused", re.compile(r"(?:Poll failed for model directory|failed to poll model|failed to load) '([^']+)'()")),
)
_TELLS_OF_MODELS = ("model_lifecycle", "model_repository_manager")


class Event(NamedTuple):
    """One thing that happened to a model; ``version`` may be "".

    ``poll`` counts the polls before it, ``at_s`` is when it was read, on the monotonic clock.
    """

    at_s: float
    poll: int
    kind: str
    model: str
    version: str
    text: str


class TritonLog:
    """The log at ``path``, which may be written meanwhile. ``plain`` takes out of a text what differs by machine."""

    def __init__(self, path: Path, plain: Callable[[str], str] = str) -> None:
        self.path = path
        self.polls = 0
        self.events: list[Event] = []
        self.plain = plain
        self._offset = 0
        self._rest = b""

    def read(self) -> None:
        """Take in what was written since the last time."""
        with self.path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        at_s = time.monotonic()
        for line in lines:
            self._take(line.decode(errors="replace"), at_s)

    def live(self) -> Counter[tuple[str, str]]:
        """Return how many instances of each (Python model, version) there are now, those that end included."""
        found: Counter[tuple[str, str]] = Counter()
        for event in self.events:
            if event.kind in {"starts", "unloaded", "failed"}:
                found[event.model, event.version] += 1 if event.kind == "starts" else -1
        return found

    def _take(self, line: str, at_s: float) -> None:
        said = _WITNESS.search(line)
        if said is not None:  # Triton writes the end of its line apart, so a model's word may stand before that
            line = line[: said.start()]
            self.events.append(Event(at_s, self.polls, "witness", said[1], said[2], said[3]))
        matched = _LINE.match(line)
        if matched is None:
            return  # a table, or a traceback that goes on
        level, source, text = matched.groups()
        if text == _POLL:
            self.polls += 1
            return
        for kind, pattern in _KINDS:
            found = pattern.search(text)
            if found is not None:
                told = "" if kind == "starts" else self.plain(text)
                self.events.append(Event(at_s, self.polls, kind, found[1], found[2], told))
                return
        if level == "E" and source in _TELLS_OF_MODELS:
            self.events.append(Event(at_s, self.polls, "error", "", "", self.plain(text)))
