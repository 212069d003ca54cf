"""``disk.sh damage``: flipped bits, cut files and swapped pairs, hundreds of each.

The chunks of a full cache are damaged, a batch at a time, each in one place; then the file is read through a mount.
Every byte must be right, and every damage counted: a bit and a cut once, a pair as two.
"""

import argparse
import os
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from soak.disk.machine import MIB, Machine, disk, end
from soak.table import table

KEY = "m/1/x"
SIZE = 512 * MIB + 12345
QUOTA = {"MODELFS_CACHE_SIZE": "1G"}
BATCH = 30  # less than half of the chunks

Harm = Callable[[list[Path], random.Random], int]


def run(folder: Path, told: argparse.Namespace) -> None:
    """Do all damages; raises at the first byte that is wrong or damage that is not counted."""
    dice = random.Random(told.seed)
    print(f"seed {told.seed}", flush=True)
    rows = []
    with Machine(folder, folder / "cache") as machine:
        machine.put(KEY, SIZE)
        machine.fill(**QUOTA)
        wanted: Sequence[tuple[str, Harm, int]] = (
            ("flipped bits", _flip, told.bits),
            ("cut files", _cut, told.cuts),
            ("swapped pairs", _swap, told.swaps),
        )
        for name, harm, times in wanted:
            counted = 0
            began_s = time.monotonic()
            for done in range(0, times, BATCH):
                counted += _harm(machine, harm, min(BATCH, times - done), dice)
            rows.append((name, times, counted, f"{time.monotonic() - began_s:.0f} s"))
            print(rows[-1], flush=True)
    print(table(["damage", "done", "chunks counted", "took"], rows))


def _harm(machine: Machine, harm: Harm, times: int, dice: random.Random) -> int:
    """Harm so many whole chunks, or pairs of them, and read; return how many were counted."""
    chunks = [chunk for chunk in machine.chunks() if chunk.stat().st_size > MIB]
    dice.shuffle(chunks)
    harmed = 0
    for _ in range(times):
        harmed += harm(chunks, dice)
    mount = machine.begin(**QUOTA)
    machine.store.clear_log()
    machine.compare(mount)
    counted = int(disk(mount)["damaged_chunks"])
    end(mount)
    sent_bytes = machine.sent_bytes()
    assert counted == harmed, f"{harmed} chunks were harmed, and {counted} counted"
    machine.fill(**QUOTA)
    print(
        f"   {harm.__name__[1:]}: {harmed} chunks harmed and counted, {sent_bytes >> 20} MiB fetched again", flush=True
    )
    return counted


def _flip(chunks: list[Path], dice: random.Random) -> int:
    with chunks.pop().open("r+b") as file:
        position = dice.randrange(os.fstat(file.fileno()).st_size)
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 1 << dice.randrange(8)]))
    return 1


def _cut(chunks: list[Path], dice: random.Random) -> int:
    chunk = chunks.pop()
    os.truncate(chunk, dice.randrange(1, chunk.stat().st_size))  # an empty one holds nothing, and so nothing wrong
    return 1


def _swap(chunks: list[Path], _: random.Random) -> int:
    one, two = chunks.pop(), chunks.pop()
    beside = one.with_name("beside")
    one.rename(beside)
    two.rename(one)
    beside.rename(two)
    return 2


def options(parser: argparse.ArgumentParser) -> None:
    """Add this run's options."""
    parser.add_argument("--bits", type=int, default=1000, help="default %(default)s")
    parser.add_argument("--cuts", type=int, default=100, help="default %(default)s")
    parser.add_argument("--swaps", type=int, default=100, help="pairs; default %(default)s")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="default: from the clock")
