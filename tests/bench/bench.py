"""One run of the benchmark: the store, the sizes, the peers, and the rounds in which subjects take turns.

Law: each subject of a round starts from a fresh mount, hence from an empty page cache of its own; what it read is
compared with the source afterwards, untimed, through the same mount.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench import mounts, sources
from bench.children import Job, MeasureError, Timed, run
from bench.mounts import Mounted
from bench.store import LINKS, Link, Store
from bench.table import Finding, Measured, Rounds, Sample, rate_ratio

MIB = 1 << 20
GIB = 1 << 30
RANGE_BYTES = 8 * MIB
AT_ONCE = (4, 8, 16, 32, 64)

Subject = Callable[[], Mapping[str, Sample]]
Mounter = Callable[[], AbstractContextManager[Mounted]]


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is read. The short mode shows that everything runs; its figures are noisier."""

    file_bytes: int = GIB
    stream_bytes: int = 20 * GIB
    group_bytes: int = 4 * GIB
    slow_bytes: int = 32 * MIB
    model_bytes: int = 512 * MIB
    models: int = 1_000
    many: int = 1_000_000
    keys: int = 100_000
    files: int = 10_000
    small_files: int = 1_000
    scattered: int = 400


SHORT = Scale(
    file_bytes=256 * MIB,
    stream_bytes=2 * GIB,
    group_bytes=2 * GIB,
    slow_bytes=8 * MIB,
    model_bytes=64 * MIB,
    models=200,
    many=100_000,
    keys=20_000,
    files=3_000,
    small_files=300,
    scattered=100,
)


@dataclass
class Bench:
    """What the rows share. ``folder`` lies in memory, ``disk`` on a disk; ``triton`` is where tritonserver is had."""

    store: Store
    folder: Path
    disk: Path
    triton: Path
    scale: Scale
    rounds: int
    peers: Sequence[str] = ()
    options: Sequence[str] = ()
    link_name: str = "loopback"
    _best: dict[tuple[Link, int], int] = field(default_factory=dict)

    @property
    def link(self) -> Link:
        """The way to the store, for rows that say nothing else of it."""
        return LINKS[self.link_name]

    def say(self, text: str) -> None:
        """Tell whoever waits what is going on."""
        print(f"bench: {text}", file=sys.stderr, flush=True)

    # -- what is read

    def big_file(self) -> Path:
        """Return the large file, which the store serves as ``big/model.safetensors``."""
        path = sources.safetensors_file(self.folder / "big" / "model.safetensors", self.scale.file_bytes)
        self.store.put({"big/model.safetensors": path})
        return path

    def local_copy(self, source: Path) -> Path:
        """Return a copy of ``source`` on the disk."""
        path = self.disk / source.name
        if not path.exists() or path.stat().st_size != source.stat().st_size:
            path.write_bytes(source.read_bytes())
        return path

    # -- how

    def modelfs(self, prefix: str, *options: str) -> Mounter:
        """Return what mounts modelfs on a prefix."""
        return partial(mounts.modelfs, self.store, *self.options, *options, prefix=prefix)

    def mounters(self, prefix: str) -> dict[str, Mounter]:
        """Return what mounts modelfs, and each peer that is asked for."""
        peers: dict[str, Mounter] = {
            name: partial(mounts.PEERS[name], self.store, prefix=prefix) for name in self.peers if name in mounts.PEERS
        }
        return {"modelfs": self.modelfs(prefix), **peers}

    def take_turns(self, subjects: Mapping[str, Subject], *, rounds: int = 0) -> Rounds:
        """Let each subject have its share of each round, and return all samples."""
        found: dict[str, list[Sample]] = {}
        total = rounds or self.rounds
        for number in range(total):
            for name, subject in subjects.items():
                self.say(f"  round {number + 1} of {total}: {name}")
                for told, sample in subject().items():
                    found.setdefault(told, []).append(sample)
        return found

    def raw(self, key: str, size: int, link: Link) -> Subject:
        """Return the raw store as a subject, at the best of 4 to 64 requests at once, which is found beforehand."""
        at_once = self._best.get((link, size)) or self._find_best(key, size, link)

        def subject() -> dict[str, Sample]:
            return {"raw": _sample(run(self._raw_job(key, size, at_once)))}

        return subject

    def best_raw(self, size: int, link: Link) -> Finding:
        """Return how many requests at once were best for the raw store."""
        return Finding("raw is fastest at", self._best[link, size], "requests at once")

    def _find_best(self, key: str, size: int, link: Link) -> int:
        tries = {
            at_once: max(_sample(run(self._raw_job(key, size, at_once))).rate for _ in range(2)) for at_once in AT_ONCE
        }
        self.say("  raw: " + ", ".join(f"{rate / 1e6:.0f} MB/s at {at_once}" for at_once, rate in tries.items()))
        best = max(tries, key=lambda each: tries[each])
        self._best[link, size] = best
        return best

    def _raw_job(self, key: str, size: int, at_once: int) -> Job:
        told = {"url": self.store.url, "key": key, "size": size, "at_once": at_once, "range_bytes": RANGE_BYTES}
        return Job("raw", told)

    def cold(
        self,
        name: str,
        mounter: Mounter,
        jobs: Callable[[Path], Sequence[Job]],
        *,
        check: Callable[[Path], Job],
        size: int = 0,
        again: bool = False,
    ) -> Subject:
        """Return a subject: mounts anew, reads, reads again if asked, then compares what it read.

        ``size`` is how many bytes a round is said to carry; 0 is what the readers count.
        """

        def subject() -> dict[str, Sample]:
            found = {}
            with mounter() as mounted:
                found[name] = self.measured(mounted, jobs(mounted.path), size=size)
                if again:
                    found[f"{name}, again"] = self.measured(mounted, jobs(mounted.path), size=size)
                run(check(mounted.path))
            return found

        return subject

    def measured(self, mounted: Mounted, jobs: Sequence[Job], *, size: int = 0) -> Sample:
        """Run readers on a mount, and return what it took, with the daemon's costs and what the store sent."""
        self.store.reset()
        mounted.daemon.reset()
        timed = run(*jobs)
        cpu_s, peak = mounted.daemon.cpu_s(), mounted.daemon.peak_bytes()
        return Sample(timed.seconds, size or timed.bytes, cpu_s, peak, self.store.sent().bytes)


def _sample(timed: Timed, *, size: int = 0) -> Sample:
    return Sample(timed.seconds, size or timed.bytes)


def local(name: str, jobs: Sequence[Job], *, before: Callable[[], object] = lambda: None, size: int = 0) -> Subject:
    """Return a subject that reads local files; ``before`` drops or warms their pages, untimed."""

    def subject() -> dict[str, Sample]:
        before()
        return {name: _sample(run(*jobs), size=size)}

    return subject


def against_raw(rounds: Rounds, subject: str, bar: float) -> Finding:
    """Return how a subject stands to the raw store."""
    return Finding(f"{subject} to raw", rate_ratio(rounds, subject, "raw"), "x", bar)


__all__ = ["SHORT", "Bench", "Finding", "MeasureError", "Measured", "Scale", "Subject", "against_raw", "local"]
