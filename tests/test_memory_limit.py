"""The control group's limit, of either version, nested, in a container, and with nothing to be read."""

import os
from pathlib import Path

import pytest

from modelfs.memory_limit import available_bytes, memory_limit_bytes, part_of_memory

GIB = 2**30
NONE_OF_V1 = "9223372036854771712"


def groups(folder: Path, told: str, files: dict[str, str]) -> int | None:
    """Return the limit of a machine whose /proc/self/cgroup says ``told``, with these files below /sys/fs/cgroup."""
    root = folder / "cgroup"
    root.mkdir()
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    (folder / "told").write_text(told)
    return memory_limit_bytes(groups=folder / "told", root=root)


CASES: dict[str, tuple[str, dict[str, str], int | None]] = {
    "no group": ("", {}, None),
    "version 2": ("0::/a/b\n", {"a/b/memory.max": str(GIB), "a/memory.max": "max"}, GIB),
    "version 2, without a limit": ("0::/a\n", {"a/memory.max": "max", "a/memory.high": "max"}, None),
    "version 2, the group above is narrower": ("0::/a/b\n", {"a/b/memory.max": "max", "a/memory.max": str(GIB)}, GIB),
    "version 2, memory.high is narrower": ("0::/a\n", {"a/memory.max": str(2 * GIB), "a/memory.high": str(GIB)}, GIB),
    "version 2, in a container": ("0::/\n", {"memory.max": str(GIB)}, GIB),
    "version 2, another namespace's path": ("0::/kubepods/pod1/x\n", {"memory.max": str(GIB)}, GIB),
    "version 2, above the namespace's root": ("0::/../../other\n", {"memory.max": str(GIB)}, GIB),
    "version 2, a colon in the name": ("0::/a:b\n", {"a:b/memory.max": str(GIB)}, GIB),
    "version 1": (
        "5:cpu,cpuacct:/a\n9:memory:/a/b\n",
        {"memory/a/b/memory.limit_in_bytes": str(GIB), "memory/memory.limit_in_bytes": NONE_OF_V1},
        GIB,
    ),
    "version 1, without a limit": ("9:memory:/a\n", {"memory/a/memory.limit_in_bytes": NONE_OF_V1}, None),
    "version 1, with another controller": ("9:hugetlb,memory:/\n", {"memory/memory.limit_in_bytes": str(GIB)}, GIB),
    "both": (
        "0::/a\n9:memory:/b\n",
        {"unified/a/memory.max": str(2 * GIB), "memory/b/memory.limit_in_bytes": str(GIB)},
        GIB,
    ),
    "neither is told rightly": ("nonsense\n::\n9:memory\n0::\n", {"memory.max": "many"}, None),
    "not text": ("0::/\xff\x00\n", {"memory.max": str(GIB)}, GIB),
}


@pytest.mark.parametrize(("told", "files", "limit"), [pytest.param(*case, id=name) for name, case in CASES.items()])
def test_the_least_limit_of_all_groups_is_found(
    tmp_path: Path, told: str, files: dict[str, str], limit: int | None
) -> None:
    assert groups(tmp_path, told, files) == limit


def test_a_machine_without_groups_has_no_limit(tmp_path: Path) -> None:
    assert memory_limit_bytes(groups=tmp_path / "absent", root=tmp_path / "absent too") is None


def test_this_machine_is_understood() -> None:
    limit = memory_limit_bytes()
    assert limit is None or limit > 0


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("MemTotal:  9 kB\nMemAvailable:    2048 kB\n", 2 * 2**20),
        ("MemTotal:  9 kB\n", None),
        ("MemAvailable: much\n", None),
    ],
)
def test_what_the_machine_has_is_what_the_kernel_says(tmp_path: Path, told: str, expected: int | None) -> None:
    (tmp_path / "meminfo").write_text(told)
    assert available_bytes(told=tmp_path / "meminfo") == expected
    assert available_bytes(told=tmp_path / "nothing") is None


def test_a_part_of_memory_is_at_most_what_was_asked_for_and_a_quarter_of_what_there_is() -> None:
    assert part_of_memory(0) == 0
    assert part_of_memory(4096) == 4096
    assert 0 < part_of_memory(2**60) < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4
