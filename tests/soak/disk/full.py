"""``disk.sh full``: the cache's disk is filled by others, turns read-only, fails and vanishes, while reads go on.

A small disk with ext4 on it. Each time every byte that is read must be right, one warning must say what to do and the
status must show it, until the disk is well again; then what is read is kept again.
"""

import argparse
import errno
import fcntl
import os
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Self

from mount.mounting_for_tests import wait_until

from soak.disk.machine import MIB, WARNS, Machine, Rounds, disk, end, is_written, mount_disk, small_disk, unmount_disk
from soak.table import table

Trouble = Callable[[Path], AbstractContextManager[None]]

DISK_BYTES = 256 * MIB
SIZE = 40 * MIB + 12345
KEYS = ("m/1/x", "m/2/x", "m/3/x")
RECOVERS_S = 180.0  # the longest pause between two tries is a minute
_SHUT_DOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN, of linux/fs/ext4/ext4.h
_NO_FLUSH = struct.pack("I", 2)


class Filler:
    """Somebody else, who writes into a file for as long as there is room, and whenever there is some again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        self._path.unlink()

    def _write(self) -> None:
        with self._path.open("wb", buffering=0) as file:
            while not self._is_over.is_set():
                try:
                    file.write(bytes(MIB))
                    os.fsync(file.fileno())
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    self._is_over.wait(0.05)


@contextmanager
def filled(path: Path) -> Iterator[None]:
    """Have others fill the disk."""
    with Filler(path / "of-others"):
        wait_until(lambda: _free_bytes(path) < MIB)
        yield


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    """Have the disk turn read-only, as ext4 does when it meets an error, and mend it."""
    subprocess.run(["mount", "-o", "remount,abort", path], check=True)
    yield
    _anew(path)


@contextmanager
def failing(path: Path) -> Iterator[None]:
    """Have all that asks the disk get EIO, and mend it."""
    descriptor = os.open(path, os.O_RDONLY)
    fcntl.ioctl(descriptor, _SHUT_DOWN, _NO_FLUSH)
    os.close(descriptor)
    yield
    _anew(path)


@contextmanager
def vanished(path: Path) -> Iterator[None]:
    """Have the disk away, and nothing but the folder on which it was."""
    unmount_disk(path)
    yield
    assert not os.listdir(path), "the cache was made anew on the disk below"
    _attach(path)


def _anew(path: Path) -> None:
    unmount_disk(path)
    _attach(path)


def _attach(path: Path) -> None:
    image = path.with_name("disk.img")
    # the old one lives on for as long as somebody holds it, and a disk must not be mounted twice
    wait_until(
        lambda: str(image) not in subprocess.run(["losetup", "-a"], capture_output=True, text=True, check=True).stdout
    )
    mount_disk(image, path)


def _free_bytes(path: Path) -> int:
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


TROUBLES: dict[str, Trouble] = {each.__name__: each for each in (filled, read_only, failing, vanished)}


def run(folder: Path, told: argparse.Namespace) -> None:
    """Have each trouble come and go; raises at the first byte that is wrong."""
    rows = []
    for name in told.only or TROUBLES:
        (folder / name).mkdir()
        rows.append(_see_through(folder / name, TROUBLES[name], told.seconds))
        print(rows[-1], flush=True)
    print(table(["the disk", "rounds meanwhile", "not kept, MiB", "warnings", "the status said", "afterwards"], rows))


def _see_through(folder: Path, trouble: Trouble, seconds: float) -> tuple[object, ...]:
    with small_disk(folder, DISK_BYTES) as path, Machine(folder, path) as machine:
        for key in KEYS:
            machine.put(key, SIZE)
        log = folder / "log"
        mount = machine.begin("one", "--log-file", str(log), MODELFS_CACHE_SIZE=str(DISK_BYTES))
        with _told(log), Rounds(machine, mount) as rounds:
            before = rounds.come_round()
            assert disk(mount)["hit_bytes"]
            shed_bytes = disk(mount)["shed_bytes"]
            with trouble(path):
                wait_until(lambda: disk(mount)["trouble"], within_s=RECOVERS_S)
                said = disk(mount)["trouble"]
                time.sleep(seconds)  # it is tried again after 5, 15 and 35 s
                during = rounds.come_round() - before
                assert disk(mount)["trouble"], "the trouble was over before it was"
                shed_bytes = disk(mount)["shed_bytes"] - shed_bytes
                warnings = len(_warnings(log))
            assert warnings <= 2, "one for reading and one for writing"
            wait_until(lambda: not disk(mount)["trouble"], within_s=RECOVERS_S)
            rounds.come_round()
        assert all(machine.is_right(mount, key) for key in KEYS)
        wait_until(partial(is_written, mount))
        end(mount)
        machine.fill(MODELFS_CACHE_SIZE=str(DISK_BYTES))
        return trouble.__name__, during, shed_bytes >> 20, warnings, said, "kept again"


@contextmanager
def _told(log: Path) -> Iterator[None]:
    """Print in any case what was told."""
    try:
        yield
    finally:
        print("\n".join(_warnings(log)), flush=True)


def _warnings(log: Path) -> list[str]:
    return [line for line in log.read_text().splitlines() if WARNS in line]


def options(parser: argparse.ArgumentParser) -> None:
    """Add this run's options."""
    parser.add_argument("--seconds", type=float, default=40.0, help="how long each lasts; default %(default)s")
    parser.add_argument("--only", nargs="+", choices=list(TROUBLES), help="default: all of them")
