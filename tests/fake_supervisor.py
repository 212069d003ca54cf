"""A supervisor that mounts nothing: what it does stands in its plan's URL. For tests of the parent of several.

    ready          serves until SIGTERM, then ends with 0
    deaf           serves, and ignores SIGTERM
    refused        ends with 2 at once
    crash          serves, and ends with 1 when the file "crash" appears in the plan's folder
    refused once   is refused the first time, serves the second

Each start appends a line of JSON to "starts" in the plan's folder.
"""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--plan-fd", type=int)
    parser.add_argument("--status-fd", type=int)
    options = parser.parse_args()
    with os.fdopen(options.plan_fd) as file:
        plan = json.load(file)
    what, folder = plan["url"], Path(plan["folder"])
    signal.signal(signal.SIGTERM, signal.SIG_IGN if what == "deaf" else _end)
    earlier = (folder / "starts").read_text().count("\n") if (folder / "starts").exists() else 0
    facts = {"pid": os.getpid(), "notify": "NOTIFY_SOCKET" in os.environ}
    with (folder / "starts").open("a") as file:
        file.write(json.dumps(facts) + "\n")
    if what == "refused" or (what == "refused once" and earlier == 0):
        os.write(options.status_fd, b'{"event": "failed", "message": "no", "exit_status": 2}\n')
        return 2
    os.write(options.status_fd, b'{"event": "ready"}\n')
    (folder / "ready").touch()
    while not (what == "crash" and (folder / "crash").exists()):
        time.sleep(0.02)
    (folder / "crash").unlink()
    return 1


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main())
