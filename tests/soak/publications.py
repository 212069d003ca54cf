"""``tests/soak/publications.sh``: random publications of several models against a tritonserver that polls a mount.

Exit status: 0 when each was served as it should be, 1 when one was not; then the logs are kept, and named.
"""

import argparse
import random
import shutil
import statistics
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from faultserver import FaultServer, Keys
from mount.mounting_for_tests import ACCESS_KEY, SECRET_KEY, mounted
from tritonserver import TritonServer, install

from soak.play_scenarios import CACHE
from soak.publication import Model
from soak.publishing import Pace, Publisher, Verdict, Watch
from soak.stores import NAME, s3_url
from soak.table import table
from soak.triton_log import VERBOSE, TritonLog

START_S = 240.0
Told = Callable[[int, Verdict], None]


@dataclass(frozen=True, slots=True)
class Found:
    """What came of a soak. ``problem`` is what went wrong beside the publications, or ""."""

    verdicts: list[Verdict]
    polls: int
    problem: str


def soak(home: Path, scratch: Path, *, seed: int, publications: int, models: int, pace: Pace, told: Told) -> Found:
    """Publish so many times in all, ``models`` side by side, and return how each went."""
    with FaultServer(keys=Keys(ACCESS_KEY, SECRET_KEY)) as store:
        store.create_bucket(NAME)
        options = ["--refresh", str(pace.refresh_s), "--settle", str(pace.settle_s)]
        options += ["--log-level", "debug", "--log-file", str(scratch / "mount.log")]
        log = scratch / "triton.log"
        with (
            mounted(s3_url(store), scratch, *options) as mount,
            TritonServer(home, mount.path, log=log, mode="poll", extra_arguments=VERBOSE) as server,
        ):
            server.wait_ready(START_S)
            watch = Watch(server, TritonLog(log))
            with watch.running():
                verdicts = _publish(Publisher(store, watch, pace), seed, publications, models, told)
                return Found(verdicts, watch.polls(), watch.problem)


def _publish(publisher: Publisher, seed: int, publications: int, models: int, told: Told) -> list[Verdict]:
    lock = threading.Lock()
    verdicts: list[Verdict] = []
    begun = 0

    def publish_one_after_the_other(number: int) -> None:
        nonlocal begun
        model = Model(f"model{number}", random.Random(f"{seed} {number}"), publisher.pace.settle_s)
        while True:
            with lock:
                if begun == publications:
                    return
                begun += 1
            verdict = publisher.publish(model.publish())
            with lock:
                verdicts.append(verdict)
                told(len(verdicts), verdict)

    with ThreadPoolExecutor(models) as pool:
        list(pool.map(publish_one_after_the_other, range(models)))
    return verdicts


def report(verdicts: Sequence[Verdict]) -> str:
    """Return a table of what was seen, by kind of publication."""
    kinds: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        kinds[verdict.publication.kind].append(verdict)
    rows = [_row(kind, kinds[kind]) for kind in sorted(kinds)]
    return table(
        ["kind", "published", "wrong", "loose", "served after, median s", "at most s", "bound s"],
        [*rows, _row("all", verdicts)],
    )


def _row(kind: str, verdicts: Sequence[Verdict]) -> list[object]:
    took_s = [verdict.took_s for verdict in verdicts if verdict.took_s is not None]
    return [
        kind,
        len(verdicts),
        sum(bool(verdict.wrong) for verdict in verdicts),
        sum(verdict.is_loose for verdict in verdicts),
        f"{statistics.median(took_s):.1f}" if took_s else "-",
        f"{max(took_s):.1f}" if took_s else "-",
        f"{max(verdict.bound_s for verdict in verdicts):.1f}",
    ]


def main() -> int:
    """Publish, tell each, and print the table."""
    told = _arguments()
    pace = Pace(told.refresh, told.settle, 1.0, told.slack)
    home = install(CACHE)
    scratch = Path(tempfile.mkdtemp(prefix="modelfs-soak-"))
    wrong = True
    try:
        found = soak(
            home, scratch, seed=told.seed, publications=told.publications, models=told.models, pace=pace, told=_tell
        )
        print(report(found.verdicts))
        wrong = bool(found.problem) or any(verdict.wrong for verdict in found.verdicts)
        print(f"polls: {found.polls}; seed: {told.seed}; {found.problem or 'the index always answered'}")
    finally:
        if wrong:
            print(f"the logs are in {scratch}", file=sys.stderr)
        else:
            shutil.rmtree(scratch)
    return int(wrong)


def _tell(number: int, verdict: Verdict) -> None:
    publication = verdict.publication
    took = "-" if verdict.took_s is None else f"{verdict.took_s:.1f} s"
    said = "; ".join(verdict.wrong) or ("right at its end, written too slowly" if verdict.is_loose else "right")
    print(f"{number:4} {publication.model} {publication.kind}: {took}, {said}", flush=True)
    if verdict.wrong:
        for write in publication.writes:
            print(f"       {write.path} {'put' if write.data else 'not put'} after {write.pause_s:.1f} s", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/soak/publications.sh", description=__doc__)
    parser.add_argument("--publications", type=int, default=500, help="in all; default %(default)s")
    parser.add_argument("--models", type=int, default=8, help="that change side by side; default %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="of what is published; default %(default)s")
    parser.add_argument("--refresh", type=float, default=1.0, help="the mount's, in seconds; default %(default)s")
    parser.add_argument("--settle", type=float, default=2.0, help="the mount's, in seconds; default %(default)s")
    parser.add_argument(
        "--slack", type=float, default=5.0, help="what a bound allows the machine; default %(default)s s"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
