"""Plays scenarios on a tritonserver and notes what it did; two servers side by side, and where they differ.

Law: what is noted is Triton's own word: its index, its answers and its log. A step is over when nothing happens any
more: no version is on its way, none that was replaced still ends, and, where it polls, two polls have found nothing.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby, zip_longest
from pathlib import Path
from typing import Any

from tritonserver import TritonError, TritonServer

from soak.scenario import Ask, Infer, Load, Mode, Step, Unload
from soak.targets import Target
from soak.triton_log import VERBOSE, Event, TritonLog
from soak.witness import ASKED

START_S = 240.0
PATIENCE_S = 90.0  # bounds a hang
QUIET_POLLS = 2
"""That began after the last one that found something: the first of them is over, and has found nothing."""
_LOOK_S = 0.05
_ON_ITS_WAY = {"LOADING", "UNLOADING"}

Index = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a server did in one step. ``events`` are those of each model, in their order.

    ``answers`` and ``loading`` begin with their model's name, and a colon.
    """

    step: str
    index: Index
    answers: tuple[str, ...]
    loading: tuple[str, ...]
    events: dict[str, tuple[str, ...]]


@dataclass(slots=True)
class Stage:
    """A server on a target, and what is known of its log."""

    target: Target
    server: TritonServer
    log: TritonLog
    mode: Mode
    _noted: int = field(default=0, init=False)
    _changed_at: int = field(default=0, init=False)

    def play(self, step: Step, *, backwards: bool = False) -> None:
        """Change the repository."""
        self.log.read()
        self._changed_at = self.log.polls
        if step.files:
            pid = self.server.pid if self.mode == "poll" else None
            self.target.change(step.files, pid, backwards=backwards)

    def ask(self, step: Step) -> tuple[str, ...]:
        """Ask what the step asks, once the change can be seen."""
        asks = step.asks
        if self.mode == "poll":
            asks = tuple(each for each in asks if isinstance(each, Infer))
        elif step.files:
            self.target.wait_shown(step.files)
        return tuple(answer for each in asks for answer in self._answers(each))

    def wait_quiet(self) -> None:
        """Wait until the last step is over."""
        deadline = time.monotonic() + PATIENCE_S
        while not self._is_quiet() and time.monotonic() < deadline:
            time.sleep(_LOOK_S)

    def wait_noticed(self, models: set[str]) -> None:
        """Wait until the server has taken all of these for modified since the last step."""
        deadline = time.monotonic() + PATIENCE_S
        while not models <= {each.partition(":")[0] for each in self.so_far().loading} and time.monotonic() < deadline:
            time.sleep(_LOOK_S)

    def seen(self, step: str, answers: tuple[str, ...]) -> Seen:
        """Return what happened since the last call."""
        index = self.index()
        self.log.read()
        events = self.log.events[self._noted :]
        self._noted = len(self.log.events)
        return _seen(step, index, answers, events)

    def so_far(self) -> Seen:
        """Return what happened since the last step, and let it be told again."""
        index = self.index()
        self.log.read()
        return _seen("", index, (), self.log.events[self._noted :])

    def index(self) -> Index:
        """Return Triton's table without what differs by machine."""
        return [{name: self.log.plain(str(value)) for name, value in row.items()} for row in self.server.index()]

    def _is_quiet(self) -> bool:
        index = self.server.index()
        self.log.read()
        if any(row.get("state") in _ON_ITS_WAY for row in index):
            return False
        ready = Counter((row["name"], row["version"]) for row in index if row.get("state") == "READY")
        live = self.log.live()
        if any(live[each] != 0 and live[each] != ready[each] for each in live):
            return False
        found = (event.poll for event in self.log.events if event.kind == "loading")
        return self.mode == "explicit" or self.log.polls >= max([self._changed_at, *found]) + QUIET_POLLS

    def _answers(self, ask: Ask) -> Sequence[str]:
        match ask:
            case Load(models, config, at_once):
                parameters = {"config": config} if config is not None else {}
                return self._of_each(models, lambda model: self.server.load(model, **parameters), at_once=at_once)
            case Unload(models, at_once):
                return self._of_each(models, self.server.unload, at_once=at_once)
            case Infer(model, version):
                return [self._told(model, lambda: self.server.infer(model, ASKED, version=version))]

    def _of_each(self, models: Sequence[str], call: Callable[[str], object], *, at_once: bool) -> list[str]:
        with ThreadPoolExecutor(len(models) if at_once else 1) as pool:
            return list(pool.map(lambda model: self._told(model, lambda: call(model)), models))

    def _told(self, model: str, call: Callable[[], object]) -> str:
        try:
            return f"{model}: {call() or 'done'}"
        except TritonError as error:
            return f"{model}: {self.log.plain(str(error))}"


def _seen(step: str, index: Index, answers: tuple[str, ...], events: Sequence[Event]) -> Seen:
    by_model: dict[str, list[str]] = {}
    for event in events:
        by_model.setdefault(event.model, []).append(f"{event.kind} {event.version} {event.text}".rstrip())
    loading = tuple(f"{event.model}: {event.version}" for event in events if event.kind == "loading")
    return Seen(step, index, answers, loading, {model: _in_order(told) for model, told in by_model.items()})


def _in_order(told: list[str]) -> tuple[str, ...]:
    """Return events of one model; what starts or ends side by side, in threads of Triton's, by its version."""
    beside = {"loading": "starts", "witness": "starts"}  # of one version, while another is begun

    def kind_of(each: str) -> str:
        kind = each.partition(" ")[0]
        return beside.get(kind, kind)

    runs = (list(run) for _, run in groupby(told, key=kind_of))
    return tuple(each for run in runs for each in sorted(run))


@contextmanager
def stage(home: Path, target: Target, scratch: Path, mode: Mode) -> Iterator[Stage]:
    """Run a server on a target."""
    log = scratch / "triton.log"
    with TritonServer(home, target.path, log=log, mode=mode, extra_arguments=VERBOSE) as server:
        server.wait_ready(START_S)
        yield Stage(target, server, TritonLog(log, lambda text: text.replace(str(target.path), "REPOSITORY")), mode)


def differences(expected: Seen, found: Seen, *, in_order: bool = True) -> list[str]:
    """Return in words where two servers did not do the same.

    ``in_order`` also compares the order in which different models were loaded. Where Triton loads several at once,
    after a poll, that is the order of their places in its memory: it differs between two runs on one folder (seen).
    """
    told = []
    for what, one, other in (
        ("index", expected.index, found.index),
        ("answers", expected.answers, found.answers),
        ("order of loads", expected.loading if in_order else (), found.loading if in_order else ()),
        *(
            (f"events of {model}", expected.events.get(model, ()), found.events.get(model, ()))
            for model in sorted(expected.events.keys() | found.events.keys())
        ),
    ):
        for line, (mine, its) in enumerate(zip_longest(one, other)):
            if mine != its:
                told.append(f"{expected.step}: {what}, line {line}: expected {mine}, found {its}")
    return told


def for_models(seen: Seen, models: frozenset[str]) -> Seen:
    """Return what concerns these models."""
    return Seen(
        seen.step,
        [row for row in seen.index if row["name"] in models],
        tuple(each for each in seen.answers if each.partition(":")[0] in models),
        tuple(each for each in seen.loading if each.partition(":")[0] in models),
        {model: events for model, events in seen.events.items() if model in models},
    )
