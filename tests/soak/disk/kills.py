"""``disk.sh kills``: SIGKILL at a random moment of a fill, hundreds of times.

The worker and the whole tree in turn. Then every byte is compared: through what took over or was mounted again, and
once more after a remount, with nothing of it in the kernel's page cache. The cache lies on a disk of its own, whose
used blocks are looked at every few milliseconds, so that its quota is seen to hold at every moment; and no chunk may
take more of it than stands in the index.
"""

import argparse
import random
import time
from functools import partial
from pathlib import Path

from mount.mounting_for_tests import Mount, wait_until

from modelfs.disk_format import file_name
from modelfs.disk_home import Home
from soak.disk.machine import (
    MIB,
    Machine,
    Watcher,
    cats,
    clear_away,
    disk,
    drop,
    end,
    is_written,
    kill,
    small_disk,
    timed_s,
)

SIZE = 96 * MIB + 12345
QUOTA_BYTES = 160 * MIB
DISK_BYTES = 400 * MIB
KEYS = ("m/1/x", "m/2/x")
QUOTA = {"MODELFS_CACHE_SIZE": str(QUOTA_BYTES)}


def run(folder: Path, told: argparse.Namespace) -> None:
    """Kill so often; raises at the first byte that is wrong."""
    dice = random.Random(told.seed)
    print(f"seed {told.seed}", flush=True)
    with small_disk(folder, DISK_BYTES) as path, Watcher(path) as watcher, Machine(folder, path) as machine:
        for key in KEYS:
            machine.put(key, SIZE)
        fill_s = _time_a_fill(machine)
        kept_bytes = asked_bytes = 0
        for number in range(told.times):
            _lose_some(machine, dice)
            kept, asked = _kill(machine, dice.uniform(0, fill_s), whole_tree=number % 2 == 1)
            kept_bytes, asked_bytes = kept_bytes + kept, asked_bytes + asked
            assert watcher.most_bytes <= QUOTA_BYTES, f"{watcher.most_bytes} bytes: {watcher.made_of}"
            if number % 10 == 9 or number + 1 == told.times:
                print(
                    f"{number + 1} kills within {fill_s:.2f} s of a fill: every byte right; at most"
                    f" {watcher.most_bytes / QUOTA_BYTES:.3f} of the quota; after the remounts"
                    f" {kept_bytes >> 20} MiB from the disk and {asked_bytes >> 20} from the store",
                    flush=True,
                )


def _time_a_fill(machine: Machine) -> float:
    mount = machine.begin(**QUOTA)
    began_s = time.monotonic()
    _read(mount)
    wait_until(partial(is_written, mount))
    took_s = timed_s(began_s)
    end(mount)
    return took_s


def _read(mount: Mount) -> None:
    for reader in cats([mount.path / key for key in KEYS]):
        reader.wait(120)


def _lose_some(machine: Machine, dice: random.Random) -> None:
    """Take away all or a half of what is kept, so that there is something to fill."""
    chunks = machine.chunks()
    for chunk in chunks if dice.random() < 0.3 else dice.sample(chunks, len(chunks) // 2):
        chunk.unlink()


def _kill(machine: Machine, after_s: float, *, whole_tree: bool) -> tuple[int, int]:
    """Kill in mid-fill and compare; return what the disk and the store gave after the last remount."""
    mount = machine.begin(**QUOTA)
    readers = cats([mount.path / key for key in KEYS])
    time.sleep(after_s)
    kill(mount, whole_tree=whole_tree)
    if whole_tree:
        clear_away(mount)
    for reader in readers:
        reader.wait(120)
    if whole_tree:
        mount = machine.begin(**QUOTA)
    machine.compare(mount)
    wait_until(partial(is_written, mount))
    end(mount)
    for chunk in machine.chunks():
        drop(chunk)
    mount = machine.begin(**QUOTA)
    machine.store.clear_log()
    machine.compare(mount)
    kept_bytes = int(disk(mount)["hit_bytes"])
    end(mount)
    _count(machine)
    return kept_bytes, machine.sent_bytes()


def _count(machine: Machine) -> None:
    """See that no chunk takes more of the disk than stands in the index, whose sum is what the quota bounds."""
    index = Home(str(machine.cache)).open_index()
    rows = index._db.execute("SELECT object, chunk, bytes FROM chunks")
    entered = {file_name(object_id, chunk): size for object_id, chunk, size in rows}
    index.close()
    for chunk in machine.chunks():
        taken_bytes, name = chunk.stat().st_blocks * 512, f"{chunk.parent.name}/{chunk.name}"
        assert taken_bytes <= entered.get(name, 0), (
            f"{name} takes {taken_bytes}, and is {entered.get(name)} in the index"
        )


def options(parser: argparse.ArgumentParser) -> None:
    """Add this run's options."""
    parser.add_argument("--times", type=int, default=200, help="default %(default)s")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="default: from the clock")
