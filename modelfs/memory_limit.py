"""What the control group of this process lets it use.

Law: reads a few small files once; what cannot be read is no limit. The page cache that a push fills is charged to this
process's group, so more than the block budget depends on it.
"""

from pathlib import Path

_PROC = Path("/proc/self/cgroup")
_ROOT = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")
_UNLIMITED_BYTES = 1 << 60  # version 1 says "none" with some page count below 2**63


def memory_limit_bytes(*, groups: Path = _PROC, root: Path = _ROOT) -> int | None:
    """Return the least limit of the groups that this process is in, of either version; None without one."""
    try:
        lines = groups.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    found: list[int] = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            found += _limits(root, path, ("memory.max", "memory.high"))
            found += _limits(root / "unified", path, ("memory.max", "memory.high"))
        elif "memory" in controllers.split(","):
            found += _limits(root / "memory", path, ("memory.limit_in_bytes", "memory.soft_limit_in_bytes"))
    return min((limit for limit in found if limit < _UNLIMITED_BYTES), default=None)


def available_bytes(*, told: Path = _MEMINFO) -> int | None:
    """Return how much of the machine's memory could be used without swapping; None where the kernel does not tell."""
    try:
        lines = told.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    found = [line.split() for line in lines if line.startswith("MemAvailable:")]
    return int(found[0][1]) * 1024 if found and len(found[0]) == 3 and found[0][1].isdecimal() else None  # noqa: PLR2004  name, number, kB


def part_of_memory(most_bytes: int) -> int:
    """Return ``most_bytes``, or a quarter of what the machine and the control group have, if that is less."""
    known = (available_bytes(), memory_limit_bytes())
    return min([most_bytes, *(each // 4 for each in known if each is not None)])


def _limits(root: Path, path: str, names: tuple[str, ...]) -> list[int]:
    """Return the limits of a group and of those above it."""
    folder = root / path.strip("/")
    if ".." in folder.parts or not folder.is_dir():
        folder = root  # another namespace's path: inside a container ours is the root
    found = []
    while True:
        for name in names:
            try:
                found.append(int((folder / name).read_text(encoding="ascii")))
            except (OSError, ValueError):  # "max", or no such file
                continue
        if folder in (root, folder.parent):
            return found
        folder = folder.parent
