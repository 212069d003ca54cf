"""``tests/soak/homes.sh``: one tritonserver on the mounts of all homes, in every mode; then those that let nobody in.

Exit status: 0 when each was served, or refused in one sentence before mounting; 1 when one was not.
"""

import sys
import tempfile
from pathlib import Path

from tritonserver import Mode, install

from soak.homes import CLOSED, HOMES
from soak.inhabited import Refused, be_refused, serve
from soak.play_scenarios import CACHE
from soak.table import table

_MODES: tuple[Mode, ...] = ("none", "poll", "explicit")
_USAGE = 2


def main() -> int:
    """Serve all, refuse all, print two tables."""
    home = install(CACHE)
    right: dict[str, list[str]] = {name: [] for name in HOMES}
    for mode in _MODES:
        with tempfile.TemporaryDirectory(prefix="modelfs-soak-") as scratch:
            for served in serve(home, list(HOMES), Path(scratch), mode):
                is_right = (served.ready, served.told) == (("1",), [1])
                right[served.home].append("ready" if is_right else f"ready {served.ready}, told {served.told}")
    print(table(["home", *_MODES], [[name, *told] for name, told in right.items()]), end="\n\n")
    with tempfile.TemporaryDirectory(prefix="modelfs-soak-") as scratch:
        refused = be_refused(list(CLOSED), Path(scratch))
    rows = [[each.home, each.status, each.said.strip()] for each in refused]
    print(table(["home that lets nobody in", "status", "what it said"], rows))
    served_all = all(told == "ready" for of_home in right.values() for told in of_home)
    return 0 if served_all and all(map(_is_right, refused)) else 1


def _is_right(refused: Refused) -> bool:
    return refused.status == _USAGE and not refused.is_mounted and refused.said.count("\n") == 1


if __name__ == "__main__":
    sys.exit(main())
