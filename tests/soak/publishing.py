"""Publishes to a store what a model of the repository says, and judges what a polling tritonserver made of it.

Law: what is right is said by ``publication`` alone. A publication is judged when two polls after the last of its events
have found nothing more. One that a busy machine wrote too slowly, where only the settling time can tell that it goes
on, is *loose*: what is there in between is what the store really held for so long, so only its end is judged.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from faultserver import FaultServer, StoredObject
from tritonserver import TritonServer

from soak.publication import Load, Publication, Write
from soak.stores import NAME, PREFIX
from soak.triton_log import Event, TritonLog

_LOOK_S = 0.05
_INDEX_EVERY_S = 0.5
_QUIET_POLLS = 2
_NEVER_S = 60.0
"""How much longer than its bound a publication is waited for, to tell what is late from what is missed."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast things are meant to go, in seconds. ``slack_s`` is what a bound allows the machine."""

    refresh_s: float
    settle_s: float
    poll_s: float
    slack_s: float

    def bound_s(self, publication: Publication) -> float:
        """Return within what time of its last write a publication is served.

        A listing sees it (a tenth of the period is jitter), it settles or is missed twice, and a poll comes by.
        """
        listed_s = 1.1 * self.refresh_s
        told_s = 2 * listed_s if publication.removes else listed_s + self.settle_s
        return told_s + self.poll_s + self.slack_s


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a publication went. ``wrong`` is empty when all is right; ``took_s`` is None where nothing had to come."""

    publication: Publication
    wrong: tuple[str, ...]
    is_loose: bool
    took_s: float | None
    bound_s: float


class Watch:
    """Follows a server's log and index in a thread of its own. Thread-safe."""

    def __init__(self, server: TritonServer, log: TritonLog) -> None:
        self._server = server
        self._log = log
        self._lock = threading.Lock()
        self._ready: dict[str, set[int]] = {}
        self._indexed_at_s = 0.0
        self._ends = threading.Event()
        self.problem = ""

    @contextmanager
    def running(self) -> Iterator[None]:
        """Follow as long as the context."""
        thread = threading.Thread(target=self._follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ends.set()
            thread.join()

    def events(self, model: str, since: int) -> list[Event]:
        """Return the events of one model from number ``since`` on."""
        with self._lock:
            return [event for event in self._log.events[since:] if event.model == model]

    def mark(self) -> int:
        """Return the number of the next event."""
        with self._lock:
            return len(self._log.events)

    def polls(self) -> int:
        """Return how many polls have begun."""
        with self._lock:
            return self._log.polls

    def ready(self, model: str, after_s: float) -> set[int] | None:
        """Return the ready versions by an index that was asked for after that moment, or None when none was yet."""
        with self._lock:
            return set(self._ready.get(model, ())) if self._indexed_at_s > after_s else None

    def _follow(self) -> None:
        while not self._ends.wait(_LOOK_S):
            began_s = time.monotonic()
            rows = None
            try:
                if began_s - self._indexed_at_s > _INDEX_EVERY_S:
                    rows = self._server.index()
            except Exception as error:  # noqa: BLE001  whatever it is, an index must always answer: it is told
                self.problem = self.problem or f"the index cannot be had: {error}"
            with self._lock:
                self._log.read()
                if rows is not None:
                    self._indexed_at_s = began_s
                    self._ready = {}
                    for row in rows:
                        if row.get("state") == "READY":
                            self._ready.setdefault(row["name"], set()).add(int(row["version"]))


@dataclass(slots=True)
class Publisher:
    """Writes publications to a store and judges them, one after the other."""

    store: FaultServer
    watch: Watch
    pace: Pace
    _kept: dict[str, StoredObject] = field(default_factory=dict, init=False)

    def publish(self, publication: Publication) -> Verdict:
        """Write it, wait for what it makes a server do, and say what was wrong."""
        mark = self.watch.mark()
        is_loose = self._write(publication)
        wrote_s = time.monotonic()
        bound_s = self.pace.bound_s(publication)
        came_s = self._wait(publication, mark, wrote_s, bound_s)
        wrong = self._wrong(publication, mark, is_loose=is_loose)
        took_s = None
        if publication.load is not None or publication.served is None:
            took_s = None if came_s is None else came_s - wrote_s
            if came_s is None:
                wrong.append("missed")
            elif took_s is not None and took_s > bound_s:
                wrong.append(f"late: {took_s:.1f} s, bound {bound_s:.1f} s")
        return Verdict(publication, tuple(wrong), is_loose, took_s, bound_s)

    # the store

    def _write(self, publication: Publication) -> bool:
        """Do all of it, and return whether a pause became longer than names and settling time can bridge."""
        is_loose = False
        last_s = 0.0
        uploads = {
            write.path: self.store.begin_upload(NAME, f"{PREFIX}/{publication.model}/{write.path}")
            for write in publication.writes
            if write.is_in_parts
        }
        for write in publication.writes:
            time.sleep(write.pause_s)
            key = f"{PREFIX}/{publication.model}/{write.path}"
            if write.is_in_parts:
                self.store.end_upload(NAME, key, uploads[write.path], write.data)
            else:
                self._do(key, write)
            now_s = time.monotonic()
            if last_s and not write.is_guarded and now_s - last_s > self.pace.settle_s:
                is_loose = True
            last_s = now_s
        return is_loose

    def _do(self, key: str, write: Write) -> None:
        found = self.store.get(NAME, key)
        if found is not None:
            self._kept[key] = found
        mtime_ns = time.time_ns() - int(write.age_s * 1e9)
        if write.data is not None:
            self.store.put(NAME, key, write.data, mtime_ns=mtime_ns)
        elif not write.is_again:
            self.store.delete(NAME, key)
        elif found is not None:
            self.store.touch(NAME, key, mtime_ns=mtime_ns)
        else:
            kept = self._kept[key]
            self.store.put(NAME, key, kept.body, mtime_ns=kept.mtime_ns, etag=kept.etag)

    # the server

    def _wait(self, publication: Publication, mark: int, wrote_s: float, bound_s: float) -> float | None:
        """Return when what had to come was there, or None; and wait until nothing more comes of it."""
        came_s = None
        until_s = wrote_s + bound_s + _NEVER_S
        if publication.load is not None or publication.served is None:
            while came_s is None and time.monotonic() < until_s:
                time.sleep(_LOOK_S)
                came_s = self._came_s(publication, mark)
        else:
            time.sleep(max(0.0, wrote_s + bound_s - self.pace.slack_s - time.monotonic()))
        self._wait_for(self._two_polls(), until_s)
        self._wait_for(lambda: self._is_served(publication), until_s)
        return came_s

    def _two_polls(self) -> Callable[[], bool]:
        wanted = self.watch.polls() + _QUIET_POLLS
        return lambda: self.watch.polls() >= wanted

    def _wait_for(self, condition: Callable[[], bool], until_s: float) -> None:
        while not condition() and time.monotonic() < until_s:
            time.sleep(_LOOK_S)

    def _came_s(self, publication: Publication, mark: int) -> float | None:
        events = self.watch.events(publication.model, mark)
        if publication.load is None:
            gone = [event.at_s for event in events if event.kind == "unloaded"]
            return gone[-1] if gone and self._is_served(publication) else None
        told = [number for number, event in enumerate(events) if _load(event) == publication.load]
        loaded = [event.at_s for event in events[told[0] :] if event.kind == "loaded"] if told else []
        return loaded[0] if loaded else None

    def _is_served(self, publication: Publication) -> bool:
        served = set() if publication.served is None else {publication.served}
        return self.watch.ready(publication.model, time.monotonic() - 2 * _INDEX_EVERY_S) == served

    def _wrong(self, publication: Publication, mark: int, *, is_loose: bool) -> list[str]:
        events = self.watch.events(publication.model, mark)
        loads = [load for event in events if (load := _load(event)) is not None]
        expected = [publication.load] if publication.load is not None else []
        wrong = []
        if not self._is_served(publication):
            wrong.append(f"not ready: {publication.served}")
        if is_loose:
            return wrong
        wrong += [f"failed load: {event.text}" for event in events if event.kind in {"failed", "refused"}]
        wrong += [f"torn load: {load}" for load in loads if len(set(load.told)) > 1]
        if len(loads) > len(expected) or (loads and loads != expected):
            wrong.append(f"spurious load: {_words(loads)} in place of {_words(expected)}")
        return wrong


def _load(event: Event) -> Load | None:
    if event.kind != "witness":
        return None
    return Load(int(event.version), tuple(int(number) for number in event.text.split()))


def _words(loads: Sequence[Load]) -> str:
    return ", ".join(f"version {load.version} of {load.told}" for load in loads) or "none"
