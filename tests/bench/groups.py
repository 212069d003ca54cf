"""Memory cgroups for the rows that bound daemon and reader: version 1 or 2, whichever this machine lets us make.

Law: a group is gone when its context ends; what still runs in it then goes back to where we are.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.children import MeasureError

_V1 = Path("/sys/fs/cgroup/memory")
_V2 = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Group:
    """One group. ``join`` is run by a child before it becomes what it shall be."""

    folder: Path

    @property
    def join(self) -> Callable[[], None]:
        """What puts the calling process into the group."""
        target = str(self.folder / "cgroup.procs")

        def into() -> None:
            with open(target, "w", encoding="ascii") as file:
                file.write(str(os.getpid()))

        return into

    def kills(self) -> int:
        """Return how often the kernel killed a process of this group for its memory."""
        for name in ("memory.oom_control", "memory.events"):
            path = self.folder / name
            if path.exists():
                told = dict(line.split() for line in path.read_text().splitlines())
                return int(told.get("oom_kill", 0))
        raise MeasureError(f"{self.folder} does not tell of kills")


@contextmanager
def memory_group(name: str, limit_bytes: int) -> Iterator[Group]:
    """Make a group that may hold so much. Raises MeasureError where no group can be made."""
    is_v1 = (_V1 / "memory.limit_in_bytes").exists()
    folder = (_V1 if is_v1 else _V2) / f"modelfs-bench-{os.getpid()}-{name}"
    limit = folder / ("memory.limit_in_bytes" if is_v1 else "memory.max")
    try:
        folder.mkdir()
        limit.write_text(str(limit_bytes))
    except OSError as error:
        raise MeasureError(f"this row needs a memory cgroup, which cannot be made here: {error}") from error
    group = Group(folder)
    try:
        yield group
    except MeasureError as error:
        if group.kills():
            told = f"the kernel killed a process of the group {name!r}, which may hold {limit_bytes >> 20} MiB"
            raise MeasureError(f"{told}; then {error}") from error
        raise
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    for pid in (folder / "cgroup.procs").read_text().split():
        (folder.parent / "cgroup.procs").write_text(pid)
    for _ in range(100):
        try:
            folder.rmdir()
        except OSError:
            time.sleep(0.02)  # a process that has just ended is still counted for a moment
        else:
            return
