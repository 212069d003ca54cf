"""``tests/soak/availability.sh``: bad days of a store, one after the other, under a tritonserver that polls its mount.

Exit status: 0 when no index, no load and no complaint of Triton's told of any of them, 1 when one did.
"""

import argparse
import random
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from faultserver import Fault, Stall, Stamped
from tritonserver import install

from soak.play_scenarios import CACHE
from soak.stores import NAME
from soak.storms import READ_EFFECTS, STORMS, away, pages_at_random
from soak.table import table
from soak.weather import MODELS, StormError, Weather, weather
from soak.witness import script

Row = tuple[str, str, int]
"""What was done, what came of it, and how often the index was looked at."""
Part = Callable[[Weather, float], Iterator[Row]]
DAY_NS = 86_400 * 10**9
_PIECE_BYTES = 1 << 20


def storms(place: Weather, _minutes: float) -> Iterator[Row]:
    """Have every fault of a listing come and go; after each, a change is served."""
    for number, (name, storm) in enumerate(STORMS.items()):
        looks = place.looks
        met = place.outlast(storm)
        place.change(MODELS[number % len(MODELS)])
        yield name, f"{met} requests met it", place.looks - looks


def gone(place: Weather, minutes: float) -> Iterator[Row]:
    """Have the store be away for so long; then a change is served."""
    with away(place.store):
        place.watch_for(60 * minutes)
    place.change("one")
    yield f"away for {minutes:g} minutes", "nothing was noticed", place.looks


def pages(place: Weather, minutes: float) -> Iterator[Row]:
    """Fail pages of listings at random for so long, while changes are published."""
    began_s = time.monotonic()
    changes = 0
    with pages_at_random(place.store) as met:
        while time.monotonic() < began_s + 60 * minutes:
            place.change(MODELS[changes % len(MODELS)])
            changes += 1
            place.watch_for(5)
        count = met() if met is not None else 0
    told = f"{count} pages failed, {changes} changes were served"
    yield f"half of all pages fail for {minutes:g} minutes", told, place.looks


def clock(place: Weather, minutes: float) -> Iterator[Row]:
    """Have the store's clock jump: dates of what did not change move, and what changes is dated from any time."""
    chance = random.Random(7)
    began_s = time.monotonic()
    jumps = changes = 0
    while time.monotonic() < began_s + 60 * minutes:
        for each in chance.sample(place.store.objects(NAME), 500):
            place.store.touch(NAME, each.key, mtime_ns=time.time_ns() + chance.randint(-DAY_NS, DAY_NS))
        jumps += 1
        place.watch_for(2)
        if jumps % 3 == 0:
            dated_ns = time.time_ns() + chance.randint(-DAY_NS, DAY_NS)
            place.change(MODELS[changes % len(MODELS)], mtime_ns=dated_ns)
            changes += 1
    yield f"the clock jumps for {minutes:g} minutes", f"{jumps} jumps, {changes} changes were served", place.looks


def reads(place: Weather, _minutes: float, *, size: int = 50_000_000) -> Iterator[Row]:
    """Have every fault of a read come in the middle of a load of so many bytes, then cut the network in one."""
    for number, (name, effect) in enumerate(READ_EFFECTS.items()):
        looks = place.looks
        fault = place.store.fail(Fault(effect, kind="get", key="*/weights", every=2, times=6))
        load_weights(place, MODELS[number % len(MODELS)], size)
        yield f"reads: {name}", f"{fault.hits} requests met it, every byte is right", place.looks - looks
        place.store.heal(fault)
    looks = place.looks
    cut_in_a_load(place, "one", size, for_s=10)
    yield (
        "reads: the network is cut in the middle for 10 s",
        "the load waited, every byte is right",
        place.looks - looks,
    )


def cut_in_a_load(place: Weather, model: str, size: int, *, for_s: float) -> None:
    """Cut the network in the middle of a load, and mend it: the load waits, and then succeeds."""
    stall = place.store.fail(Fault(Stall(100_000), kind="get", key="*/weights"))
    publish_weights(place, model, size)
    place.versions[model] -= 1  # for as long as the load takes
    place.watch(lambda: stall.hits > 0, at_least_polls=0)
    place.store.down()
    place.store.heal(stall)
    until_s = time.monotonic() + for_s
    place.watch(lambda: time.monotonic() > until_s, at_least_polls=0)  # Triton does not poll while it loads
    place.store.up()
    place.versions[model] += 1
    place.wait_served(model)


def load_weights(place: Weather, model: str, size: int) -> None:
    """Publish a version with ``size`` bytes that its model compares when it is loaded, and wait until it is served."""
    publish_weights(place, model, size)
    place.wait_served(model)


def publish_weights(place: Weather, model: str, size: int) -> None:
    """Publish a version with ``size`` bytes that its model compares when it is loaded."""
    number = place.versions[model] + 1
    weights = Stamped(f"{model}/{number}", "v", size)
    digest = 0
    for offset in range(0, size, _PIECE_BYTES):
        digest = zlib.crc32(weights.read(offset, _PIECE_BYTES), digest)
    compare = "\n        ".join(
        [
            "import zlib",
            "digest = length = 0",
            'with open(os.path.join(folder, "weights"), "rb") as file:',
            f"    while piece := file.read({_PIECE_BYTES}):",
            "        digest, length = zlib.crc32(piece, digest), length + len(piece)",
            f"if (length, digest) != ({size}, {digest}):",
            '    raise ValueError(f"{length} bytes of digest {digest}")',
        ]
    )
    place.publish(model, {f"{number}/weights": weights, f"{number}/model.py": script(number, extra=compare)})


PARTS: dict[str, Part] = {
    "storms": storms,
    "away": gone,
    "pages": pages,
    "clock": clock,
    "reads": reads,
}


def main() -> int:
    """Go through the parts that are asked for, each on a mount and a server of its own."""
    told = _arguments()
    home = install(CACHE)
    parts: dict[str, Part] = {**PARTS, "reads": partial(reads, size=told.bytes)}
    rows: list[Row] = []
    wrong = False
    for name in told.parts.split(","):
        with tempfile.TemporaryDirectory(prefix="modelfs-soak-") as scratch, weather(home, Path(scratch)) as place:
            try:
                for row in parts[name](place, told.minutes):
                    print(f"{name}: {row[0]}: {row[1]}", flush=True)
                    rows.append(row)
            except StormError as error:
                wrong = True
                rows.append((name, f"WRONG: {error}", place.looks))
    print(table(["what", "what came of it", "looks at the index"], rows))
    return int(wrong)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/soak/availability.sh", description=__doc__)
    parser.add_argument("--parts", default=",".join(PARTS), help="comma-separated; all: %(default)s")
    parser.add_argument(
        "--minutes", type=float, default=6.0, help="of each part that goes by time; default %(default)s"
    )
    parser.add_argument("--bytes", type=int, default=1_000_000_000, help="of each load in reads; default %(default)s")
    told = parser.parse_args()
    unknown = [part for part in told.parts.split(",") if part not in PARTS]
    if unknown:
        parser.error(f"there is no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    return told


if __name__ == "__main__":
    sys.exit(main())
