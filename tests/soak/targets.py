"""Where a tritonserver finds its repository: a local folder, or a mount of a store. Both get the same changes.

Law: a folder changes between two polls of its server, never during one, which is as atomic as a folder can be: the
server is stopped for that moment. A mount gets no such help: its server polls whenever it does.
"""

import math
import os
import platform
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from mount.mounting_for_tests import Mount, mounted, wait_until

from soak.scenario import Files
from soak.stores import Bucket

REFRESH_S = 1
_SEEN, _GONE = 2, 3
"""Listings after which what was put is seen, as one may have begun before; and what is gone, as two must agree."""
_WAITS = {"x86_64": {"202", "219"}, "aarch64": {"98", "128"}}
"""Numbers of futex(2), and of restart_syscall(2), which it becomes after a stop."""


class Target(Protocol):
    """A repository that changes. ``path`` is what the server is told."""

    path: Path

    def change(self, files: Files, server_pid: int | None, *, backwards: bool = False) -> None:
        """Put and delete ``files``, in their order or the other way round. A server that polls tells its pid."""

    def wait_shown(self, files: Files) -> None:
        """Wait until a change of ``files`` is what a server finds."""


class Folder:
    """A local folder that its server cannot write to, as no server can write to a mount.

    On one that it can, Python models leave their bytecode, and Triton takes that for a change.
    """

    def __init__(self, source: Path, path: Path) -> None:
        self.path = path
        self._source = source

    def change(self, files: Files, server_pid: int | None, *, backwards: bool = False) -> None:
        """Change the folder, between two polls where there is a server that polls."""
        del backwards  # nobody sees an order
        with _between_polls(server_pid):
            for path, data in files.items():
                self._put(path, data)

    def wait_shown(self, files: Files) -> None:
        """Nothing to wait for."""

    def _put(self, path: str, data: bytes | None) -> None:
        target = self._source / path
        if data is None:
            shutil.rmtree(target) if target.is_dir() else target.unlink()
            for parent in target.parents:
                if parent == self._source or any(parent.iterdir()):
                    return
                parent.rmdir()  # a store has no empty folders
        elif path.endswith("/"):
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            new = self._source.parent / "new"
            new.write_bytes(data)
            new.rename(target)


@contextmanager
def folder(scratch: Path, initial: Files) -> Iterator[Folder]:
    """Make a folder with ``initial`` in it, shown read-only."""
    source, path = scratch / "source", scratch / "models"
    source.mkdir(parents=True)
    path.mkdir()
    subprocess.run(["mount", "--bind", source, path], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", path], check=True)
        found = Folder(source, path)
        found.change(initial, None)
        yield found
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


class Mounted:
    """A mount of a bucket."""

    def __init__(self, mount: Mount, bucket: Bucket, settle_s: float) -> None:
        self.path = mount.path
        self._settle_s = settle_s
        self._mount = mount
        self._bucket = bucket

    def change(self, files: Files, server_pid: int | None, *, backwards: bool = False) -> None:
        """Write to the store. Nothing is stopped; listings wait where the store can have them wait."""
        del server_pid
        with self._bucket.held():
            write(self._bucket, files, backwards=backwards)

    def wait_shown(self, files: Files) -> None:
        """Wait for the listings that must have seen it, without a look at the mount."""
        settling = math.ceil(self._settle_s / REFRESH_S) + 1 if self._settle_s else 0
        until = self._listings() + (_GONE if None in files.values() else _SEEN) + settling
        wait_until(lambda: self._listings() >= until)

    def _listings(self) -> int:
        found: int = self._mount.figures()["listings"]
        return found


def write(bucket: Bucket, files: Files, *, backwards: bool = False) -> None:
    """Put and delete ``files`` in a bucket."""
    items = list(files.items())
    for path, data in reversed(items) if backwards else items:
        if data is None:
            bucket.delete(path)
        else:
            bucket.put(path, data)


@contextmanager
def mounted_bucket(bucket: Bucket, scratch: Path, *, settle_s: float) -> Iterator[Mounted]:
    """Mount a bucket."""
    scratch.mkdir(parents=True, exist_ok=True)
    options = ("--refresh", str(REFRESH_S), "--settle", str(settle_s), *bucket.options)
    with mounted(bucket.url, scratch, *options, **bucket.environment) as mount:
        yield Mounted(mount, bucket, settle_s)


@contextmanager
def _between_polls(pid: int | None) -> Iterator[None]:
    """Stop a server at a moment when its main thread waits for its next poll, and have it go on afterwards."""
    if pid is None:
        yield
        return
    while True:
        os.kill(pid, signal.SIGSTOP)
        try:
            wait_until(lambda: _state(pid) == "T")
            if _waits_for_a_time(pid):
                yield
                return
        finally:
            os.kill(pid, signal.SIGCONT)
        time.sleep(0.01)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _waits_for_a_time(pid: int) -> bool:
    """Tell whether the main thread is in a futex with a time-out: between polls; in one it waits without, for loads."""
    number, *arguments = Path(f"/proc/{pid}/syscall").read_text().split()
    return number in _WAITS[platform.machine()] and len(arguments) > 3 and arguments[3] != "0x0"
