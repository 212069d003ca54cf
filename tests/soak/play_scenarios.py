"""``tests/soak/scenarios.sh``: every scenario on every store, in both modes and orders, and a table of how it went.

Exit status: 0 when the server on the mount did what the one on the folder did, 1 when somewhere it did not.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from tritonserver import install

from soak.scenario import BOTH, Mode, Scenario
from soak.scenarios import together
from soak.side_by_side import Played, play
from soak.stores import STORES
from soak.table import table

CACHE = Path(__file__).resolve().parents[2] / ".cache"


def main() -> int:
    """Play what is asked for."""
    told = _arguments()
    home = install(CACHE)
    rows: list[list[object]] = []
    failed = 0
    for store in told.stores.split(","):
        for mode in told.modes.split(","):
            for backwards in (False, True) if told.orders == "both" else (told.orders == "backwards",):
                for group in _groups(mode, told.only, apart=told.apart):
                    began_s = time.monotonic()
                    played = _play(home, store, group, mode, settle_s=told.settle, backwards=backwards)
                    took_s = time.monotonic() - began_s
                    rows += [_row(store, mode, each, took_s, backwards=backwards) for each in played]
                    failed += sum(bool(each.differences) for each in played)
    print(table(["store", "mode", "files put", "scenario", "steps", "loads", "as the folder", "s"], rows))
    return 1 if failed else 0


def _play(
    home: Path, store: str, group: Sequence[Scenario], mode: Mode, *, settle_s: float, backwards: bool
) -> list[Played]:
    with tempfile.TemporaryDirectory(prefix="modelfs-soak-") as scratch, STORES[store]() as bucket:
        played = play(home, bucket, group, Path(scratch), mode=mode, settle_s=settle_s, backwards=backwards)
    for each in played:
        for difference in each.differences:
            print(f"{store}, {mode}, {each.scenario.name}: {difference}", file=sys.stderr, flush=True)
    return played


def _row(store: str, mode: Mode, played: Played, took_s: float, *, backwards: bool) -> list[object]:
    loads = sum(len(seen.loading) for seen in played.seen)
    order = "last first" if backwards else "in order"
    said = "no" if played.differences else "yes"
    return [store, mode, order, played.scenario.name, len(played.scenario.steps), loads, said, f"{took_s:.0f}"]


def _groups(mode: Mode, only: str, *, apart: bool) -> list[tuple[Scenario, ...]]:
    groups = together(mode)
    if apart or only:
        groups = [(each,) for group in groups for each in group if only in each.name]
    return groups


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/soak/scenarios.sh", description=__doc__)
    parser.add_argument("--stores", default=",".join(STORES), help="comma-separated; all: %(default)s")
    parser.add_argument("--modes", default=",".join(BOTH), help="comma-separated, of poll and explicit")
    parser.add_argument(
        "--orders", default="both", choices=["both", "forwards", "backwards"], help="of each step's files"
    )
    parser.add_argument("--settle", type=float, default=3.0, help="the mount's settling time in seconds")
    parser.add_argument("--only", default="", metavar="WORDS", help="only scenarios with these words in their names")
    parser.add_argument(
        "--apart", action="store_true", help="a pair of servers for each scenario, not for most at once"
    )
    told = parser.parse_args()
    for what, known, asked in (("store", STORES, told.stores), ("mode", get_args(Mode), told.modes)):
        unknown = [each for each in asked.split(",") if each not in known]
        if unknown:
            parser.error(f"there is no {what} {unknown[0]!r}; there are {', '.join(known)}")
    return told


if __name__ == "__main__":
    sys.exit(main())
