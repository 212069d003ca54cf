"""Starts the real supervisor with the worker of ``fake_worker.py``, as ``modelfs mount`` does with the real one."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest

from modelfs import mounting, runtime

needs_fuse = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/fuse"), reason="needs root and /dev/fuse")

FAKE_WORKER = Path(__file__).with_name("fake_worker.py")
PATCHED = Path(__file__).with_name("patched_supervisor.py")
SOURCE = r"s3://bucket/a b,c\d"
"""A source that holds all that mount options and mount tables must escape."""


@dataclass
class Supervised:
    """A started supervisor. ``report`` is its first word, empty when it ended without one."""

    process: "subprocess.Popen[bytes]"
    mountpoint: Path
    runtime_dir: Path
    report: dict[str, Any]
    log: str = ""

    @property
    def is_mounted(self) -> bool:
        return mounting.mounted_at(str(self.mountpoint)) is not None

    @property
    def facts(self) -> dict[str, Any]:
        """What the supervisor tells of its mount."""
        (folder,) = runtime.folders(str(self.runtime_dir))
        return runtime.description(folder)

    @property
    def words(self) -> str:
        """What stands in the log of a mount in the background."""
        (folder,) = runtime.folders(str(self.runtime_dir))
        return Path(runtime.log_path(folder)).read_text()

    @property
    def worker(self) -> int:
        """The pid of the only worker; waits while there is none."""
        found: list[int] = []

        def look() -> bool:
            found[:] = [pid for pid in children(self.process.pid) if not has_ended(pid)]
            return len(found) == 1

        assert eventually(look)
        return found[0]

    @property
    def leftovers(self) -> list[Path]:
        return list(self.runtime_dir.rglob("*"))

    def wait(self) -> int:
        return self.process.wait(30)


def start(
    what: str,
    mountpoint: Path,
    runtime_dir: Path,
    *,
    foreground: bool = False,
    environment: dict[str, str] | None = None,
    options: Sequence[str] = (),
) -> Supervised:
    """Start it and return after its first word, or in the foreground at once.

    ``options`` are for ``patched_supervisor``.
    """
    plan = {
        "url": f"fake:{what}",
        "source": SOURCE,
        "mountpoint": str(mountpoint),
        "foreground": foreground,
        "runtime_dir": str(runtime_dir),
        "log_file": None,
        "config": {"mount_timeout_s": 0.5, "log_level": "info", "log_format": "text", "allow_other": None},
    }
    plan_fd = os.memfd_create("plan")
    os.write(plan_fd, json.dumps(plan).encode())
    os.lseek(plan_fd, 0, os.SEEK_SET)
    said, status_fd = os.pipe()
    process = subprocess.Popen(
        [
            *(
                sys.executable,
                "-P",
                *(("-m", "modelfs.supervisor") if not options else (str(PATCHED), *options)),
                "--plan-fd",
                str(plan_fd),
                "--status-fd",
                str(status_fd),
            ),
            *("--", sys.executable, "-P", str(FAKE_WORKER)),
        ],
        pass_fds=[plan_fd, status_fd],
        env={**os.environ, **(environment or {})},
        stderr=subprocess.PIPE,
        cwd="/",
    )
    os.close(plan_fd)
    os.close(status_fd)
    with os.fdopen(said) as file:
        line = file.readline()
    return Supervised(process, mountpoint, runtime_dir, json.loads(line) if line else {})


class Bench:
    """A mount point and a runtime folder; what a test starts is ended with the context."""

    def __init__(self, folder: Path) -> None:
        self.mountpoint = folder / "mount point"
        self.mountpoint.mkdir(parents=True)
        self.runtime_dir = folder / "run"
        self._started: list[Supervised] = []

    def start(self, what: str = "ok", **options: Any) -> Supervised:
        started = start(what, self.mountpoint, self.runtime_dir, **options)
        self._started.append(started)
        return started

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for started in self._started:
            for child in children(started.process.pid):
                with suppress(ProcessLookupError):  # it may be ending by itself
                    os.kill(child, signal.SIGKILL)
            started.process.kill()
            started.process.communicate(timeout=30)
        while mounting.mounted_at(str(self.mountpoint)) is not None:
            mounting.unmount(str(self.mountpoint), lazy=True)


def eventually(condition: Callable[[], object], *, within_s: float = 15.0) -> bool:
    """Return whether ``condition`` came true within a generous bound."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def children(pid: int) -> list[int]:
    """Return the pids of a process's children."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


def has_ended(pid: int) -> bool:
    """Return whether a process is gone. One that nobody reaps has ended too: containers may lack a reaper."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def mount_and_end_as_this_user(mountpoint: Path, runtime_dir: Path) -> dict[str, Any]:
    """Go through one life of a mount and return what was seen, for a test in another user's skin."""
    supervised = start("ok", mountpoint, runtime_dir)
    seen: dict[str, Any] = {"uid": os.geteuid(), "report": supervised.report}
    if supervised.report.get("event") == "ready":
        entry = mounting.mounted_at(str(mountpoint))
        assert entry is not None
        seen |= {"source": entry.source, "fstype": entry.fstype, "options": entry.super_options}
        seen["content"] = (mountpoint / "hello").read_text()
        with (mountpoint / "hello").open():
            try:
                mounting.unmount(str(mountpoint), lazy=False)
            except OSError as error:
                seen["busy_errno"] = error.errno
        supervised.process.terminate()
    seen |= {"exit_status": supervised.wait(), "mounted": supervised.is_mounted, "left": len(supervised.leftovers)}
    return seen


if __name__ == "__main__":
    print(json.dumps(mount_and_end_as_this_user(Path(sys.argv[1]), Path(sys.argv[2]))))
