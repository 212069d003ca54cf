"""``tests/soak/idle.sh``: what Triton's eight example models cost the store while nothing happens.

Exit status: 0 when it was the refresh listings and nothing else, and nothing was loaded twice; else 1.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import models
from faultserver import FaultServer, Keys
from mount.mounting_for_tests import ACCESS_KEY, SECRET_KEY, mounted
from tritonserver import TritonServer, install

from soak.play_scenarios import CACHE
from soak.playing import START_S
from soak.stores import LONG_AGO_NS, NAME, PREFIX, s3_url
from soak.table import table

JITTER = 0.1
NATIVE = 272
"""Requests that Triton's own file system for S3 makes in each poll of these models (measured)."""


def main() -> int:
    """Serve the models, forget what that took, wait, and count."""
    told = _arguments()
    home = install(CACHE)
    with (
        tempfile.TemporaryDirectory(prefix="modelfs-soak-") as scratch,
        FaultServer(keys=Keys(ACCESS_KEY, SECRET_KEY)) as store,
    ):
        folder = Path(scratch) / "examples"
        folder.mkdir()
        models.make(folder)
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            store.put(NAME, f"{PREFIX}/{path.relative_to(folder)}", path, mtime_ns=LONG_AGO_NS)
        with (
            mounted(s3_url(store), Path(scratch), "--refresh", str(told.refresh)) as mount,
            TritonServer(home, mount.path, log=Path(scratch) / "triton.log", mode="poll") as server,
        ):
            server.wait_ready(START_S)
            time.sleep(2 * told.refresh)  # what was read ahead, and is not yet over
            store.clear_log()
            time.sleep(60 * told.minutes)
            asked = Counter((record.method, record.kind, record.page) for record in store.requests())
            ready = sum(row.get("state") == "READY" for row in server.index())
            loads = server.log_count("successfully loaded")
    polls = int(60 * told.minutes)
    print(
        table(
            ["request", "page", "how often"],
            [[f"{method} {kind}", page, n] for (method, kind, page), n in asked.items()],
        )
    )
    print(f"{told.minutes:g} minutes, {ready} models ready, {loads} loads; natively {polls * NATIVE:,} requests")
    expected = 60 * told.minutes / told.refresh
    listings = asked["GET", "list", 1]
    is_right = set(asked) == {("GET", "list", 1)} and listings <= expected / (1 - JITTER) + 1
    return int(not is_right or (ready, loads) != (len(models.NAMES), len(models.NAMES)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/soak/idle.sh", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="default %(default)s")
    parser.add_argument("--refresh", type=float, default=15.0, help="the mount's, in seconds; default %(default)s")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
