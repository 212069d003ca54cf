"""Rows on a real tritonserver: from its start until every model is READY, on a mount, natively, and from local disk.

Law: Triton starts anew for every figure, and everybody's page cache is empty: mounts are fresh, of local files the
pages are dropped, right before each subject's turn: who comes right after it has gigabytes of memory that is really
there, and in a virtual machine whose host takes free memory away that is seconds. What is compared is the repository
that each shows, byte for byte.
"""

import os
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import many_models
import models as examples
from tritonserver import TritonServer, install

from bench import polls, sources
from bench.bench import MIB, Bench
from bench.children import Job, MeasureError, drop_cached, run
from bench.mounts import Mounted
from bench.rows_disk import cache_folder, fill, kept_in
from bench.store import Link, clean_environment
from bench.table import Finding, Measured, Sample, time_ratio

NEAR = Link(latency_s=0.020)
_LIMIT_S = 300.0
_LOOK_S = 0.01
_POLL_S = 2
_POLLS = 5


class _Native(TritonServer):
    """Triton on a cloud's URL, with the credentials that it takes from its environment."""

    @classmethod
    def on(cls, home: Path, url: str, *, log: Path) -> Self:
        """Return a server whose repository is ``url``, which a Path would garble."""
        server = cls(home, Path(), log=log)
        server._arguments[0] = f"--model-repository={url}"
        return server

    def _environment(self) -> dict[str, str]:
        keys = {name: value for name, value in clean_environment().items() if name.startswith("AWS_")}
        return {**super()._environment(), **keys}


@dataclass(frozen=True, slots=True)
class _Repository:
    """A repository in the store, and its copy on the disk."""

    bench: Bench
    name: str
    source: Path
    copy: Path
    size: int

    def ready(self, server: TritonServer) -> float:
        """Start Triton, and return after how many seconds all models were READY."""
        expected = {path.name for path in self.source.iterdir()}
        began_s = time.monotonic()
        with server:
            while not server.started():
                if time.monotonic() - began_s > _LIMIT_S:
                    raise MeasureError(f"Triton is not ready after {_LIMIT_S:g} s: {server.log_tail()}")
                time.sleep(_LOOK_S)
            took_s = time.monotonic() - began_s
            found = {row["name"]: row.get("state") for row in server.index()}
        if found != dict.fromkeys(expected, "READY"):
            raise MeasureError(f"Triton loaded {found} of {sorted(expected)}")
        return took_s

    def server(self, path: Path) -> TritonServer:
        """Return Triton on a path."""
        return TritonServer(self._home(), path, log=self.bench.disk / "triton.log")

    def local(self) -> dict[str, Sample]:
        """Serve from the disk, with an empty page cache."""
        drop_cached(self.copy)
        return {"local disk": Sample(self.ready(self.server(self.copy)), self.size)}

    def native(self) -> dict[str, Sample]:
        """Serve by Triton's own file system for S3."""
        server = _Native.on(self._home(), self.bench.store.modelfs_url(self.name), log=self.bench.disk / "triton.log")
        self.bench.store.reset()
        drop_cached(self.copy)
        took_s = self.ready(server)
        os.sync()  # what it has downloaded to a disk must not be written during the next one's turn
        return {"triton, native S3": Sample(took_s, self.size, fetched_bytes=self.bench.store.sent().bytes)}

    def mounted(self, name: str, mounter: Callable[[], AbstractContextManager[Mounted]]) -> dict[str, Sample]:
        """Serve from a fresh mount."""
        with mounter() as mounted:
            self.bench.store.reset()
            mounted.daemon.reset()
            drop_cached(self.copy)
            took_s = self.ready(self.server(mounted.path))
            cpu_s, peak = mounted.daemon.cpu_s(), mounted.daemon.peak_bytes()
            sent = self.bench.store.sent().bytes
            run(Job("compare_trees", {"root": str(mounted.path), "source": str(self.source)}))
        return {name: Sample(took_s, self.size, cpu_s, peak, sent)}

    def _home(self) -> Path:
        return install(self.bench.triton)


def _measure(bench: Bench, repository: _Repository) -> dict[str, Callable[[], dict[str, Sample]]]:
    subjects: dict[str, Callable[[], dict[str, Sample]]] = {"local disk": repository.local}
    if "triton" in bench.peers:
        subjects["triton, native S3"] = repository.native
    for name, mounter in bench.mounters(repository.name).items():
        subjects[name] = lambda name=name, mounter=mounter: repository.mounted(name, mounter)  # type: ignore[misc]
    return subjects


def _large_models(bench: Bench) -> _Repository:
    folder = bench.folder / "large"
    for number in range(4):
        if not (folder / f"model_{number}").exists():
            sources.onnx_with_weights(folder / f"model_{number}", bench.scale.model_bytes, seed=10 + number)
    return _served(bench, "large", folder)


def large(bench: Bench) -> Measured:
    """Load four large models: mounted, from local disk with an empty page cache, and natively (--peers triton)."""
    repository = _large_models(bench)
    rounds = bench.take_turns(_measure(bench, repository))
    findings = [Finding("READY to local disk", time_ratio(rounds, "modelfs", "local disk"), "x", 1.15, "at most")]
    if "triton, native S3" in rounds:
        ratio = time_ratio(rounds, "modelfs", "triton, native S3")
        findings.append(Finding("READY to native S3", ratio, "x", 0.5, "at most"))
    title = f"READY of four models of {bench.scale.model_bytes / MIB:g} MiB, cold, {bench.link_name}"
    return Measured("ready-large", title, rounds, findings)


def restarted(bench: Bench) -> Measured:
    """Load four large models after a remount, from the cache on disk, beside local disk; all page caches are empty."""
    repository = _large_models(bench)
    with cache_folder(bench) as folder:
        kept = kept_in(bench, folder, "large", size=repository.size)
        fill(bench, kept, lambda path: [Job("whole_files", {"root": str(path)})])

        def mounted() -> dict[str, Sample]:
            drop_cached(Path(folder))
            return repository.mounted("modelfs", kept)

        rounds = bench.take_turns({"local disk": repository.local, "modelfs": mounted})
    findings = [Finding("READY to local disk", time_ratio(rounds, "modelfs", "local disk"), "x", 1.1, "at most")]
    title = f"READY of four models of {bench.scale.model_bytes / MIB:g} MiB after a restart, from the cache on disk"
    return Measured("ready-restart", title, rounds, findings)


def small(bench: Bench) -> Measured:
    """Load the eight example models, 20 ms away, beside local disk."""
    folder = bench.folder / "examples"
    if not folder.exists():
        folder.mkdir()
        examples.make(folder)
    repository = _served(bench, "examples", folder)
    bench.store.shape(NEAR)
    rounds = bench.take_turns(_measure(bench, repository))
    bench.store.shape(bench.link)
    findings = [Finding("READY to local disk", time_ratio(rounds, "modelfs", "local disk"), "x", 1.1, "at most")]
    return Measured("ready-examples", "READY of the eight example models, cold, 20 ms", rounds, findings)


def _served(bench: Bench, name: str, folder: Path) -> _Repository:
    bench.store.put(sources.keys_below(folder, name))
    copy = bench.disk / name
    size = sources.copy_tree(folder, copy)
    return _Repository(bench, name, folder, copy, size)


def poll(bench: Bench) -> Measured:
    """Poll 1,000 models of ten files each, idle: mounted, and on local disk."""
    folder = bench.folder / "polled"
    if not folder.exists():
        for key, data in many_models.files(bench.scale.models).items():
            (folder / key).parent.mkdir(parents=True, exist_ok=True)
            (folder / key).write_bytes(data)
    repository = _served(bench, "polled", folder)
    subjects: dict[str, Callable[[], dict[str, Sample]]] = {
        "local disk": lambda: {"local disk": Sample(_median_poll(bench, repository.copy))}
    }
    for name, mounter in bench.mounters("polled").items():

        def mounted(
            name: str = name, mounter: Callable[[], AbstractContextManager[Mounted]] = mounter
        ) -> dict[str, Sample]:
            with mounter() as mounted:
                return {name: Sample(_median_poll(bench, mounted.path))}

        subjects[name] = mounted
    rounds = bench.take_turns(subjects)
    took_s = max(each.seconds for each in rounds["modelfs"])
    findings = [Finding("an idle poll, the slowest round", took_s, "s", 5, "at most")]
    return Measured("poll", f"an idle poll of {bench.scale.models} models of ten files", rounds, findings)


def _median_poll(bench: Bench, path: Path) -> float:
    log = bench.disk / "triton.log"
    with TritonServer(install(bench.triton), path, log=log, mode="poll", poll_s=_POLL_S) as server:
        server.wait_ready(_LIMIT_S)
        states = {row.get("state") for row in server.index()}
        if states != {"READY"}:
            raise MeasureError(f"Triton loaded some models only: {states}")
        return statistics.median(polls.durations_s(path, polls=_POLLS, rest_s=_POLL_S / 2, limit_s=_LIMIT_S))


ROWS = {"ready-large": large, "ready-restart": restarted, "ready-examples": small, "poll": poll}
