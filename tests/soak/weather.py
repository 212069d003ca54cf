"""A tritonserver that polls a mount while the mount's store has a bad day: what it may never notice.

Law: the store is one that a test breaks, and what must hold is looked at in every index there is to have meanwhile.
Nothing here waits for a time: a fault is over when it has met listings and polls enough.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from faultserver import FaultServer, Keys
from faultserver.objects import Body
from mount.mounting_for_tests import ACCESS_KEY, SECRET_KEY, Mount, mounted
from tritonserver import TritonServer

from soak.playing import START_S
from soak.stores import LONG_AGO_NS, NAME, PREFIX, s3_url
from soak.storms import Storm
from soak.triton_log import VERBOSE, TritonLog
from soak.witness import config, version

MODELS = ("one", "two", "three")
FILLERS = 2100
"""Files beside the models' versions, which make a listing three pages, and which Triton looks at in each poll."""
PATIENCE = ("--connect-timeout", "1", "--stall-timeout", "1", "--mount-timeout", "2")
"""Short, so that a listing that fails has failed soon."""
LISTINGS, POLLS = 2, 2
_PATIENCE_S = 300.0  # bounds a hang
_LOOK_S = 0.25


class StormError(AssertionError):
    """What never comes about did, or the other way round."""


@dataclass(slots=True)
class Weather:
    """The server, its mount and its store. ``versions`` is what each model serves, and shall go on to serve."""

    store: FaultServer
    mount: Mount
    server: TritonServer
    log: TritonLog
    versions: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MODELS, 1))
    looks: int = 0

    def look(self) -> None:
        """Compare an index, and what was loaded and unloaded so far, with what must be. Raises StormError."""
        self.looks += 1
        ready: dict[str, set[int]] = {}
        for row in self.server.index():
            if row.get("state") == "READY":
                ready.setdefault(row["name"], set()).add(int(row["version"]))
        expected = {model: {number} for model, number in self.versions.items()}
        if ready != expected:
            raise StormError(f"the index has {ready}, and should have {expected}")
        self.log.read()
        loads = sum(event.kind == "witness" for event in self.log.events)
        if loads != sum(self.versions.values()):
            raise StormError(f"{loads} loads, where there should be {self.versions}")
        wrong = [event.text for event in self.log.events if event.kind in {"failed", "refused", "error"}]
        if wrong:
            raise StormError(f"Triton complains: {wrong}")

    def watch(self, until: Callable[[], bool], *, at_least_polls: int = POLLS, within_s: float = _PATIENCE_S) -> None:
        """Look again and again until it is so, and some polls have gone by."""
        polls = self.log.polls + at_least_polls
        deadline = time.monotonic() + within_s
        self.look()
        while self.log.polls < polls or not until():
            if time.monotonic() > deadline:
                raise StormError("waited in vain")
            time.sleep(_LOOK_S)
            self.look()

    def watch_for(self, seconds: float) -> None:
        """Look again and again for so long."""
        until_s = time.monotonic() + seconds
        self.watch(lambda: time.monotonic() >= until_s, within_s=seconds + _PATIENCE_S)

    def outlast(self, storm: Storm) -> int:
        """Have a storm come and go, and return how many requests met it; nothing of it may be noticed.

        It goes when listings and polls enough have met it; then a complete listing is waited for.
        """
        with storm(self.store) as met:
            self.watch(lambda: met() >= LISTINGS if met is not None else not self.figures()[1])
            count = met() if met is not None else 0
        listings = self.figures()[0]
        self.watch(lambda: self._is_well(listings + LISTINGS))
        return count

    def change(self, model: str, *, mtime_ns: int | None = None) -> None:
        """Publish the next version of a model, and wait until it, and nothing else, was loaded in place of the last."""
        number = self.versions[model] + 1
        self.publish(model, version(str(number), number), mtime_ns=mtime_ns)
        self.wait_served(model)

    def publish(self, model: str, files: Mapping[str, Body], *, mtime_ns: int | None = None) -> None:
        """Put the files of the next version of a model, which shall be served from now on."""
        for path, data in files.items():
            self.store.put(NAME, f"{PREFIX}/{model}/{path}", data, mtime_ns=mtime_ns)
        self.versions[model] += 1

    def wait_served(self, model: str) -> None:
        """Wait until the version that was published last is the one that is served."""
        wanted = [str(self.versions[model])]
        deadline = time.monotonic() + _PATIENCE_S
        while self._served(model) != wanted:
            if time.monotonic() > deadline:
                raise StormError(f"{model} does not serve version {wanted[0]}: {self.mount.status()}")
            time.sleep(_LOOK_S)
        self.look()

    def _is_well(self, listings: int) -> bool:
        count, is_healthy = self.figures()
        return is_healthy and count >= listings

    def _served(self, model: str) -> list[str]:
        return [row["version"] for row in self.server.index() if row["name"] == model and row.get("state") == "READY"]

    def figures(self) -> tuple[int, bool]:
        """Return how many listings were complete, and whether the mount says that all is well."""
        found = self.mount.figures()
        return found["listings"], found["healthy"]


@contextmanager
def weather(home: Path, scratch: Path, *, refresh_s: float = 1.0, settle_s: float = 1.0) -> Iterator[Weather]:
    """Serve three models and 2,100 files beside them from a mount that is refreshed often."""
    with FaultServer(keys=Keys(ACCESS_KEY, SECRET_KEY)) as store:
        for model in MODELS:
            for path, data in {f"{model}/config.pbtxt": config(), **version(f"{model}/1", 1)}.items():
                store.put(NAME, f"{PREFIX}/{path}", data, mtime_ns=LONG_AGO_NS)
        for number in range(FILLERS):
            store.put(NAME, f"{PREFIX}/one/beside/{number:04d}", b"", mtime_ns=LONG_AGO_NS)
        options = ("--refresh", str(refresh_s), "--settle", str(settle_s), *PATIENCE)
        log = scratch / "triton.log"
        with (
            mounted(s3_url(store), scratch, *options, "--log-file", str(scratch / "mount.log")) as mount,
            TritonServer(home, mount.path, log=log, mode="poll", extra_arguments=VERBOSE) as server,
        ):
            server.wait_ready(START_S)
            yield Weather(store, mount, server, TritonLog(log))
