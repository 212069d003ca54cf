"""A reader of its own process: comparing.py PATH SOURCE.

It reads PATH from begin to end and compares it with SOURCE. It prints when it had each MiB, as JSON, and ends with
status 1 at the first byte that differs.
"""

import json
import sys
import time

STEP_BYTES = 1 << 20


def main() -> None:
    """Read and compare."""
    path, source = sys.argv[1:]
    steps = [time.time()]
    with open(path, "rb", buffering=0) as read, open(source, "rb", buffering=0) as right:
        while data := read.read(STEP_BYTES):
            if data != right.read(len(data)):
                sys.exit(f"{path} differs in the MiB before {read.tell()}")
            steps.append(time.time())
        if right.read(1):
            sys.exit(f"{path} ends too early")
    print(json.dumps(steps))


if __name__ == "__main__":
    main()
