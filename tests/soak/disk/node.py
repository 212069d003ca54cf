"""``disk.sh node``: four mounts of a node with eight readers of one cold file, and the end of the one that downloads.

The mounts share one cache folder, and differ by their keys, so that the store's log tells who asked for what. First
each byte must be fetched once; then, at a bounded rate, the whole tree of the mount that has most requests on their way
is killed, and how long the others stand still is told.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from faultserver import Fault, Record, TotalRate
from mount.mounting_for_tests import Mount, wait_until

from soak.disk import comparing
from soak.disk.machine import MIB, PREFIX, Machine, clear_away, disk, end, kill
from soak.table import table

KEY = "m/1/x"
NAMES = ("one", "two", "three", "four")
READERS = 8
MOST_SENT = 1.02


@dataclass(frozen=True, slots=True)
class Reader:
    """A process that reads through the mount ``name`` and compares."""

    name: str
    process: "subprocess.Popen[str]"

    def steps(self) -> list[float]:
        """Wait for its end, and return when (time.time) it had each MiB."""
        said, complaint = self.process.communicate(timeout=600)
        assert self.process.returncode == 0, complaint
        found: list[float] = json.loads(said)
        return found


def run(folder: Path, told: argparse.Namespace) -> None:
    """Read cold, and then with kills."""
    size = told.mib * MIB + 12345
    rows = []
    with Machine(folder, folder / "cache", keys=None) as machine:
        machine.put(KEY, size)
        for _ in range(told.reads):
            shutil.rmtree(machine.cache, ignore_errors=True)
            rows.append(_read_cold(machine, size))
            print(rows[-1], flush=True)
        kills = [_kill_who_downloads(machine, size, told.rate_mib * MIB) for _ in range(told.kills)]
    if rows:
        print(
            table(["sent, of the file", "readers", "took, s", "from the store by each mount, MiB", "shed, MiB"], rows)
        )
    if kills:
        head = [
            "killed",
            "its requests on their way",
            "next request, s",
            "next byte, s: first, last",
            "longest pause after, s",
        ]
        print(table([*head, "before, s", "sent, of the file"], kills))
    assert all(float(str(row[0])) <= MOST_SENT for row in rows), "bytes were fetched twice"


def _begin(machine: Machine) -> dict[str, Mount]:
    kept = {"MODELFS_CACHE_SIZE": str(machine.sources[KEY].stat().st_size * 2), "MODELFS_CACHE_GROUP": "node"}
    return {name: machine.begin(name, AWS_ACCESS_KEY_ID=name, **kept) for name in NAMES}


def _read(machine: Machine, mounts: dict[str, Mount]) -> list[Reader]:
    """Start two readers for each mount."""
    return [
        Reader(
            name,
            subprocess.Popen(
                [sys.executable, comparing.__file__, mounts[name].path / KEY, machine.sources[KEY]],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            ),
        )
        for name in (*NAMES, *NAMES)[:READERS]
    ]


def _who(record: Record) -> str:
    """Return whose mount asked."""
    return record.headers.get("authorization", "").partition("Credential=")[2].partition("/")[0]


def _data(machine: Machine) -> list[Record]:
    return machine.store.requests(kind="get", key=f"{PREFIX}/{KEY}")


def _read_cold(machine: Machine, size: int) -> tuple[object, ...]:
    mounts = _begin(machine)
    machine.store.clear_log()
    began_s = time.monotonic()
    for reader in _read(machine, mounts):
        reader.steps()
    took_s = time.monotonic() - began_s
    shed_bytes = sum(disk(mount)["shed_bytes"] for mount in mounts.values())
    for mount in mounts.values():
        end(mount)
    sent = machine.sent_bytes() / size
    by_whom: Counter[str] = Counter()
    for record in _data(machine):
        by_whom[_who(record)] += record.bytes_sent >> 20
    return f"{sent:.3f}", READERS, f"{took_s:.1f}", dict(by_whom), shed_bytes >> 20


def _kill_who_downloads(machine: Machine, size: int, bytes_per_s: int) -> tuple[object, ...]:
    shutil.rmtree(machine.cache, ignore_errors=True)
    mounts = _begin(machine)
    machine.store.clear_log()
    machine.store.fail(Fault(TotalRate(bytes_per_s), kind="get"))
    readers = _read(machine, mounts)
    wait_until(lambda: sum(record.bytes_sent for record in _data(machine)) > size // 4)
    on_their_way = Counter(_who(record) for record in _data(machine) if record.status and not record.bytes_sent)
    (victim, requests), *_ = on_their_way.most_common(1)
    killed_s = time.time()
    kill(mounts[victim], whole_tree=True)
    others = [reader.steps() for reader in readers if reader.name != victim]
    machine.store.heal()
    clear_away(mounts[victim])
    for reader in readers:
        reader.process.communicate()
    for name, mount in mounts.items():
        if name != victim:
            end(mount)
    asked = [
        record.time_s - killed_s for record in _data(machine) if record.time_s > killed_s and _who(record) != victim
    ]
    nexts = [min(step for step in steps if step > killed_s) - killed_s for steps in others]
    return (
        victim,
        requests,
        f"{min(asked):.2f}",
        f"{min(nexts):.2f}, {max(nexts):.2f}",
        f"{max(_pauses(others, killed_s, killed_s + 1e9)):.2f}",
        f"{max(_pauses(others, 0.0, killed_s)):.2f}",
        f"{machine.sent_bytes() / size:.3f}",
    )


def _pauses(readers: list[list[float]], start_s: float, stop_s: float) -> list[float]:
    """Return the longest time that each reader waited for a MiB that came between these moments."""
    return [
        max(
            (after - before for before, after in pairwise(steps) if start_s < after <= stop_s),
            default=0.0,
        )
        for steps in readers
    ]


def options(parser: argparse.ArgumentParser) -> None:
    """Add this run's options."""
    parser.add_argument("--mib", type=int, default=2048, help="size of the file; default %(default)s")
    parser.add_argument("--reads", type=int, default=3, help="without a kill; default %(default)s")
    parser.add_argument("--kills", type=int, default=3, help="default %(default)s")
    parser.add_argument("--rate-mib", type=int, default=150, help="MiB/s of the store in a kill; default %(default)s")
