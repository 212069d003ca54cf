"""``disk.sh million``: whether start, look-up and eviction grow with what there is.

For each number of objects a cache is made that holds so many, of ten blocks each, by real chunk files whose blocks are
holes; 100,000 objects have 1,000,000 blocks. Its index is made of them by a census, as at a start without one. "mount"
is the whole command beside such a cache, "look-up" and "read" are of random objects, and an entry throws another chunk
away. "all seen" and "all gone" are what the first listing costs behind the mount, when the repository has these objects
and when it has none of them; "stalled" is the longest that an entry waited meanwhile.
"""

import argparse
import os
import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from disk_for_tests import take

from modelfs import disk_census
from modelfs.blocks import BLOCK_BYTES, ObjectInfo
from modelfs.disk import DiskTier, Readership
from modelfs.disk_chunks import cost
from modelfs.disk_format import HEADER_BYTES, checksums, empty_header, encode, file_name, scope_of
from modelfs.disk_home import FOLDER, Home
from modelfs.disk_ledger import FOLDERS_BYTES, Ledger
from modelfs.disk_tally import Tally
from soak.disk.machine import MIB, Machine, end
from soak.table import table

BLOCKS_EACH = 10
SIZE = BLOCKS_EACH * BLOCK_BYTES
TERABYTE = 1 << 40
READERSHIP = Readership(scope_of("a store", "me"), "s3://bucket/models", "models/")
TIMES = 300
STARTS = 7
ZEROS = memoryview(bytes(SIZE))
COST_BYTES = cost((1 << BLOCKS_EACH) - 1, 0, SIZE)


def run(folder: Path, told: argparse.Namespace) -> None:
    """Measure beside each number of objects."""
    rows = []
    with Machine(folder, folder / "unused") as machine:
        machine.put("m/1/x", MIB)
        for objects in told.objects:
            machine.cache = folder / str(objects)
            census_s = _make(str(machine.cache), objects)
            rows.append(
                (f"{objects:,}", f"{objects * BLOCKS_EACH:,}", *_measure(machine, objects), f"{census_s:.2f} s")
            )
            print(rows[-1], flush=True)
    head = [
        "objects",
        "blocks",
        "start",
        "mount",
        "look-up",
        "read",
        "entry",
        "all seen",
        "all gone",
        "stalled",
        "census",
    ]
    print(table(head, rows))


def _object(number: int) -> ObjectInfo:
    return ObjectInfo(f"m{number}/1/x", SIZE, '"v1"', 0)


def _tier(path: str) -> DiskTier:
    return DiskTier(path, READERSHIP, take=take, quota_bytes=TERABYTE, queue_bytes=MIB)


def _make(path: str, objects: int) -> float:
    """Make the chunks, and the index from them; return how long that took."""
    home = Home(path)
    tier = _tier(path)
    blocks = os.path.join(path, FOLDER)
    for number in range(256):
        os.mkdir(os.path.join(blocks, f"{number:02x}"), 0o700)
    for number in range(objects):
        identity = tier.identify(_object(number))
        header = empty_header(identity, 0).with_blocks(0, checksums(identity.id, 0, 0, ZEROS))
        page = encode(header)
        assert page is not None
        descriptor = os.open(os.path.join(blocks, file_name(identity.id, 0)), os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(descriptor, page)
        os.ftruncate(descriptor, HEADER_BYTES + SIZE)
        os.close(descriptor)
    began_s = time.monotonic()
    disk_census.take(home, pause=lambda: None)
    return time.monotonic() - began_s


def _measure(machine: Machine, objects: int) -> Iterator[str]:
    dice = random.Random(objects)
    path = str(machine.cache)
    tiers = [_tier(path) for _ in range(STARTS)]
    yield _shown(_median(tier.open for tier in tiers))
    for tier in tiers[1:]:
        tier.end(1.0)
    yield _shown(_mount_s(machine))
    index = Home(path).open_index()
    some = [_object(dice.randrange(objects)) for _ in range(TIMES)]
    yield _shown(_median(partial(index.chunks_of, tiers[0].identify(each).id) for each in some))
    yield _shown(_median(partial(_read, tiers[0], each) for each in some))
    yield _shown(_entry_s(path, index.used_bytes()))
    index.close()
    with _entering(path) as stalled_s:
        yield _shown(_took_s(lambda: tiers[0].mark_gone(lambda *_: True)))
        yield _shown(_took_s(lambda: tiers[0].mark_gone(lambda *_: False)))
    yield _shown(max(stalled_s))
    tiers[0].end(1.0)


def _read(tier: DiskTier, info: ObjectInfo) -> None:
    assert tier.read(info, 0, BLOCK_BYTES) == ZEROS[:BLOCK_BYTES]


def _mount_s(machine: Machine) -> float:
    took_s = []
    for _ in range(STARTS):
        began_s = time.monotonic()
        mount = machine.begin(MODELFS_CACHE_SIZE=str(TERABYTE))
        took_s.append(time.monotonic() - began_s)
        end(mount)
    return statistics.median(took_s)


def _entry_s(path: str, used_bytes: int) -> float:
    """Enter chunks into a cache that is full, each of which another must make room for."""
    quota_bytes = used_bytes + Home(path).index_bytes() + FOLDERS_BYTES
    tally = Tally()
    ledger = Ledger(path, quota_bytes=quota_bytes, tally=tally)
    new = [_tier(path).identify(_object(-1 - number)) for number in range(TIMES)]
    found_s = _median(partial(ledger.enter, each, 0, COST_BYTES) for each in new)
    assert tally.counts().evicted_chunks >= TIMES
    ledger.close()
    return found_s


@contextmanager
def _entering(path: str) -> Iterator[list[float]]:
    """Have another process's ledger enter chunks meanwhile, and yield how long each took."""
    took_s: list[float] = []
    is_over = threading.Event()

    def enter() -> None:
        ledger = Ledger(path, quota_bytes=TERABYTE, tally=Tally())
        number = -1 - TIMES
        while not is_over.wait(0.005):
            number -= 1
            took_s.append(_took_s(partial(ledger.enter, _tier(path).identify(_object(number)), 0, COST_BYTES)))
        ledger.close()

    thread = threading.Thread(target=enter)
    thread.start()
    try:
        yield took_s
    finally:
        is_over.set()
        thread.join()


def _took_s(what: Callable[[], object]) -> float:
    began_s = time.monotonic()
    what()
    return time.monotonic() - began_s


def _median(whats: Iterator[Callable[[], object]]) -> float:
    return statistics.median(_took_s(what) for what in whats)


def _shown(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} us" if seconds < 0.001 else f"{seconds * 1e3:.1f} ms"


def options(parser: argparse.ArgumentParser) -> None:
    """Add this run's options."""
    parser.add_argument("--objects", type=int, nargs="+", default=[1_000, 10_000, 100_000], help="default %(default)s")
