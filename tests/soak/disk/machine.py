"""One machine for a run: a store on it, a folder for the cache, and mounts that share it.

Law: whatever a run does, in the end nothing of it is mounted, and no process and no loop device is left. What is right
is told by the sources, never by a mount.
"""

import ctypes
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Self

from faultserver import FaultServer, Keys, write_stamped
from mount.mounting_for_tests import ACCESS_KEY, SECRET_KEY, Mount, environment, is_mounted, wait_until

MIB = 1 << 20
BUCKET, PREFIX = "models", "repository"
OURS = Keys(ACCESS_KEY, SECRET_KEY)
WARNS = "the disk cache is"
_FORCE_AND_DETACH = 3
_READ_S = 300.0  # bounds a hang


class Machine:
    """``cache`` is the folder of the cache; mounts are told apart by names. ``keys`` None lets everybody read."""

    def __init__(self, folder: Path, cache: Path, keys: Keys | None = OURS) -> None:
        self.folder = folder
        self.cache = cache
        self.store = FaultServer(keys=keys)
        self.sources: dict[str, Path] = {}
        self.mounts: dict[str, Mount] = {}

    def __enter__(self) -> Self:
        self.store.start()
        self.store.create_bucket(BUCKET)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            for mount in self.mounts.values():
                clear_away(mount)
        finally:
            self.store.stop()

    @property
    def url(self) -> str:
        """The repository, in Triton's own form of a private store's URL."""
        return f"s3://127.0.0.1:{self.store.port}/{BUCKET}/{PREFIX}"

    def put(self, key: str, size: int) -> None:
        """Have an object of ``size`` bytes in the store."""
        self.sources[key] = self.folder / f"source-{key.replace('/', '-')}"
        write_stamped(self.sources[key], key, "v1", size)
        self.store.put(BUCKET, f"{PREFIX}/{key}", self.sources[key])

    def place(self, name: str = "one", **more: str) -> Mount:
        """Return a mount that is not made yet."""
        path = self.folder / name / "models"
        path.mkdir(parents=True, exist_ok=True)
        kept = {"MODELFS_CACHE_DIR": str(self.cache), **more}
        self.mounts[name] = Mount(path, environment(self.folder / name / "run", **kept))
        return self.mounts[name]

    def begin(self, name: str = "one", *options: str, **more: str) -> Mount:
        """Mount, and return the mount."""
        mount = self.place(name, **more)
        done = mount.command("mount", self.url, str(mount.path), *options)
        assert done.returncode == 0, done.stderr
        return mount

    def is_right(self, mount: Mount, key: str) -> bool:
        """Read a whole file past what the kernel has of it, and compare every byte."""
        drop(mount.path / key)
        done = subprocess.run(["cmp", mount.path / key, self.sources[key]], check=False, timeout=_READ_S)
        return done.returncode == 0

    def compare(self, mount: Mount, *keys: str) -> None:
        """See that every byte of these files, or of all, is right."""
        for key in keys or self.sources:
            assert self.is_right(mount, key), f"{mount.path}: {key} is not what the store has"

    def sent_bytes(self) -> int:
        """Return how many bytes of objects the store has sent since its log was cleared."""
        assert self.store.wait_until_idle()
        return sum(request.bytes_sent for request in self.store.requests(kind="get"))

    def chunks(self) -> list[Path]:
        """Return the files of the cache."""
        return sorted((self.cache / "modelfs-blocks").glob("??/*-*"))

    def drop_chunks(self) -> None:
        """Have the kernel forget what it holds of the cache's own files."""
        for chunk in self.chunks():
            with suppress(FileNotFoundError):
                drop(chunk)

    def fill(self, *keys: str, **more: str) -> None:
        """Read these files until all of them are on the disk: what it is too slow for is not kept."""
        for _ in range(20):
            mount = self.begin(**more)
            self.store.clear_log()
            self.compare(mount, *keys)
            wait_until(partial(is_written, mount))
            end(mount)
            if not self.sent_bytes():
                return
        raise AssertionError("the cache never holds all")


def disk(mount: Mount) -> dict[str, Any]:
    """Return what the mount tells of its cache on disk."""
    found: dict[str, Any] = mount.figures()["disk"]
    return found


def is_written(mount: Mount) -> bool:
    """Tell whether nothing waits to be written to the disk."""
    return not disk(mount)["waiting_bytes"]


def drop(path: Path) -> None:
    """Have the kernel forget what it holds of a file."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def end(mount: Mount) -> None:
    """Unmount as a user does. Whoever looks at all mounts of a machine keeps one busy for a moment."""
    wait_until(lambda: not mount.command("unmount", str(mount.path)).returncode)
    wait_until(lambda: not mount.processes())


def kill(mount: Mount, *, whole_tree: bool) -> None:
    """SIGKILL the worker, or worker and supervisor, neither of which sees the other die."""
    pids = mount.processes()
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            if whole_tree or b"modelfs.worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, number)


def clear_away(mount: Mount) -> None:
    """Take away what is left of a mount, whatever state it is in.

    Forced: a push of a worker that was killed may wait for a page that a READ without an answer holds.
    """
    while is_mounted(mount.path):
        ctypes.CDLL(None).umount2(str(mount.path).encode(), _FORCE_AND_DETACH)
    wait_until(lambda: not mount.processes())


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """Make a disk of ``size`` bytes in a file, with ext4 on it, and yield where it is mounted."""
    image, path = folder / "disk.img", folder / "disk"
    with image.open("wb") as file:
        file.truncate(size)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", image], check=True)
    path.mkdir()
    mount_disk(image, path)
    try:
        yield path
    finally:
        while is_mounted(path):
            unmount_disk(path)


def mount_disk(image: Path, path: Path) -> None:
    """Mount the disk in ``image``; one that was taken away by force is mended first, as a start of a machine does."""
    subprocess.run(["e2fsck", "-p", image], check=False, stdout=subprocess.DEVNULL)
    subprocess.run(["mount", "-o", "loop,errors=remount-ro", image, path], check=True)


def unmount_disk(path: Path) -> None:
    """Take the disk away from under whoever uses it; what they have open lives on for as long as they hold it."""
    subprocess.run(["umount", "--lazy", path], check=True)


class Rounds:
    """Threads that read all files of a mount again and again, and compare, for as long as the context lasts."""

    def __init__(self, machine: Machine, mount: Mount, count: int = 2) -> None:
        self._machine = machine
        self._mount = mount
        self._done = [0] * count
        self._wrong: list[str] = []
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._go_round, args=(number,)) for number in range(count)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(_READ_S)

    def _go_round(self, number: int) -> None:
        keys = list(self._machine.sources)
        random.Random(number).shuffle(keys)
        try:
            while not self._is_over.is_set():
                for key in keys:
                    if not self._machine.is_right(self._mount, key):
                        self._wrong.append(key)
                self._done[number] += 1
        except (OSError, subprocess.SubprocessError) as error:
            self._wrong.append(repr(error))

    def come_round(self, times: int = 2) -> int:
        """Wait until each has come round so often, and return how many rounds there were in all so far."""
        goals = [done + times for done in self._done]
        wait_until(
            lambda: self._wrong or all(done >= goal for done, goal in zip(self._done, goals, strict=True)),
            within_s=_READ_S,
        )
        assert not self._wrong, self._wrong
        return sum(self._done)


class Watcher:
    """Looks every few milliseconds at how much of a disk is taken, and remembers the most, and what it was made of."""

    def __init__(self, path: Path) -> None:
        self.most_bytes = 0
        self.made_of: dict[str, int] = {}
        self._path = path
        self._empty_bytes = self._taken()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _taken(self) -> int:
        found = os.statvfs(self._path)
        return (found.f_blocks - found.f_bfree) * found.f_frsize

    def _watch(self) -> None:
        while not self._is_over.wait(0.005):
            taken_bytes = self._taken() - self._empty_bytes
            if taken_bytes > self.most_bytes:
                self.most_bytes, self.made_of = taken_bytes, self._made_of()

    def _made_of(self) -> dict[str, int]:
        """Return what chunks, folders and each other file take; what was unlinked and is open is not among it."""
        found: Counter[str] = Counter()
        for path in self._path.rglob("*"):
            with suppress(FileNotFoundError):
                kind = "folders" if path.is_dir() else "chunks" if "-" in path.stem else path.name
                found[kind] += path.lstat().st_blocks * 512
        return dict(found)


def cats(paths: Sequence[Path]) -> list["subprocess.Popen[bytes]"]:
    """Begin to read files, each in a process of its own that may fail."""
    return [subprocess.Popen(["cat", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for path in paths]


def timed_s(began_s: float) -> float:
    """Return how long ago that was, on the monotonic clock."""
    return time.monotonic() - began_s
