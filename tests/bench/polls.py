"""How long Triton's polls take, seen from outside: by inotify on the repository's root.

Law: nothing is slowed down by being watched: the kernel tells which folders of the root are opened, on any file system.
A poll opens the root and then each model, and then rests for its period: so it lasts from the one to the last other.
"""

import ctypes
import math
import os
import select
import struct
import time
from pathlib import Path

from bench.children import MeasureError

_IN_OPEN = 0x20
_EVENT = struct.Struct("iIII")
_BUFFER_BYTES = 1 << 20
_ROOT = b""  # the name that inotify has for what is watched itself


def durations_s(root: Path, *, polls: int, rest_s: float, limit_s: float) -> list[float]:
    """Return how long each of ``polls`` whole polls took. One begins with the root, after a rest of ``rest_s``."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if descriptor < 0 or libc.inotify_add_watch(descriptor, os.fsencode(root), _IN_OPEN) < 0:
            raise MeasureError(f"inotify does not watch {root}: {os.strerror(ctypes.get_errno())}")
        return _durations(descriptor, polls=polls, rest_s=rest_s, limit_s=limit_s)
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _durations(descriptor: int, *, polls: int, rest_s: float, limit_s: float) -> list[float]:
    found: list[float] = []
    began_s: float | None = None  # of the poll that goes on; the one in which we came is not whole
    last_s = math.inf
    deadline = time.monotonic() + limit_s
    while len(found) < polls:
        if not select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise MeasureError(f"{len(found)} of {polls} polls were seen within {limit_s:g} s")
        names = _names(os.read(descriptor, _BUFFER_BYTES))
        now_s = time.monotonic()
        if _ROOT in names and now_s - last_s > rest_s:
            if began_s is not None:
                found.append(last_s - began_s)
            began_s = now_s
        last_s = now_s
    return found


def _names(events: bytes) -> list[bytes]:
    """Return the names of what was opened."""
    names, offset = [], 0
    while offset < len(events):
        _, _, _, length = _EVENT.unpack_from(events, offset)
        offset += _EVENT.size
        names.append(events[offset : offset + length].rstrip(b"\0"))
        offset += length
    return names
