"""``tests/soak/disk.sh``: acceptance runs of the cache on disk. As root.

Exit status: 0 when all was right; else there is a traceback that says what was not.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from soak.disk import damage, full, kills, million, node, strangers

RUNS = {
    "kills": kills,
    "damage": damage,
    "full": full,
    "node": node,
    "strangers": strangers,
    "million": million,
}


def main() -> int:
    """Do one run."""
    parser = argparse.ArgumentParser(prog="tests/soak/disk.sh", description=__doc__)
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="on which disk; default %(default)s")
    runs = parser.add_subparsers(dest="run", required=True)
    for name, module in RUNS.items():
        summary = (module.__doc__ or "").partition("\n")[0]
        module.options(runs.add_parser(name, help=summary, description=module.__doc__))
    told = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="modelfs-soak-", dir=told.folder) as folder:
        RUNS[told.run].run(Path(folder), told)
    print(f"{told.run}: all was right, in {time.monotonic() - began_s:.0f} s; load {os.getloadavg()[0]:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
