"""Starting readers together and hearing how long they took; and what the daemon's processes cost meanwhile.

Law: what is started here has ended when the call returns, whatever happens. CPU seconds and memory come from /proc, of
the processes that serve a mount and of nothing else.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.store import clean_environment

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class MeasureError(Exception):
    """Something cannot be measured, or came out wrong; the message says what."""


@dataclass(frozen=True, slots=True)
class Job:
    """One reader: a kind of ``readers``, its arguments, and how it is started (a cgroup, say)."""

    kind: str
    arguments: Mapping[str, Any]
    preexec: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class Timed:
    """What readers that began together found. ``seconds`` is from the first's start to the last's end."""

    seconds: float
    bytes: int
    each: Sequence[dict[str, Any]]


def run(*jobs: Job, limit_s: float = 900.0, meanwhile: Callable[[], None] | None = None) -> Timed:
    """Run readers side by side, and return when all have ended. Raises MeasureError when one fails."""
    running: list[subprocess.Popen[str]] = []
    try:
        running.extend(_start(job) for job in jobs)
        for process in running:
            _line(process)  # ready
        for process in running:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        if meanwhile is not None:
            meanwhile()
        found = [_result(process, limit_s) for process in running]
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
    seconds = max(each["ended_s"] for each in found) - min(each["began_s"] for each in found)
    return Timed(seconds, sum(each["bytes"] for each in found), found)


def _start(job: Job) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "bench.readers", job.kind, json.dumps(job.arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
        preexec_fn=job.preexec,  # noqa: PLW1509  we have no threads, and a cgroup is joined by the child itself
    )


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        _, complaint = process.communicate()
        raise MeasureError(_failure(process, complaint))
    return line


def _result(process: "subprocess.Popen[str]", limit_s: float) -> dict[str, Any]:
    try:
        answer, complaint = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired as error:
        raise MeasureError(f"a reader did not end within {limit_s:g} s") from error
    if process.returncode:
        raise MeasureError(_failure(process, complaint))
    found: dict[str, Any] = json.loads(answer)
    return found


def _failure(process: "subprocess.Popen[str]", complaint: str) -> str:
    code = process.returncode
    ended = f"signal {signal.Signals(-code).name}" if code < 0 else f"status {code}"
    return f"a reader ended with {ended}: {complaint.strip()[-2000:] or 'it said nothing'}"


@dataclass(slots=True)
class Watched:
    """The processes that serve a mount: what they have cost since ``reset``."""

    pids: Sequence[int]
    _cpu_s: float = field(default=0.0, init=False)

    def reset(self) -> None:
        """Count CPU and the peak of memory from here."""
        self._cpu_s = self._total_cpu_s()
        for pid in self.pids:
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # VmHWM begins anew

    def cpu_s(self) -> float:
        """Return CPU seconds, in ticks of 10 ms."""
        return self._total_cpu_s() - self._cpu_s

    def peak_bytes(self) -> int:
        """Return the sum of the processes' peaks of resident memory."""
        return sum(_status(pid, "VmHWM") for pid in self.pids)

    def resident_bytes(self) -> int:
        """Return what is resident now, counting what processes share for each of them."""
        return sum(_status(pid, "VmRSS") for pid in self.pids)

    def proportional_bytes(self) -> int:
        """Return what is resident now, counting what is shared once."""
        return sum(_field(Path(f"/proc/{pid}/smaps_rollup"), "Pss") for pid in self.pids)

    def _total_cpu_s(self) -> float:
        total = 0
        for pid in self.pids:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total * _TICK_S


def _status(pid: int, name: str) -> int:
    return _field(Path(f"/proc/{pid}/status"), name)


def _field(path: Path, name: str) -> int:
    for line in path.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise MeasureError(f"{path} has no {name}")


def drop_cached(path: Path) -> None:
    """Have the kernel forget the cached pages of a file, or of all files below a folder."""
    for each in [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]:
        descriptor = os.open(each, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
