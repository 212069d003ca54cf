"""Read one file in every way at once and compare: ``python read_in_every_way.py PATH SOURCE SECONDS SEED``.

A process of its own, because a page fault holds the GIL: a test that maps what its own process serves waits for itself.
"""

import mmap
import os
import random
import sys
import threading
import time

THREADS = 8
wrong: list[str] = []


def run(path: str, source: str, until_s: float, seed: int) -> None:
    """Read, seek and map, in order and out of it, until the time has come or something is wrong."""
    chance = random.Random(seed)
    original, descriptor = os.open(source, os.O_RDONLY), os.open(path, os.O_RDONLY)
    size = os.fstat(original).st_size
    while time.monotonic() < until_s and not wrong:
        start = chance.randrange(size)
        habit = chance.choice(("forward", "backward", "random", "mapped", "mapped", "again", "dropped"))
        for step in range(chance.randrange(1, 40)):
            length = chance.choice((1, 4096, 70_000, 1 << 20))
            offset = start + step * length if habit == "forward" else start - step * length
            if habit not in {"forward", "backward"}:
                offset = chance.randrange(size)
            offset = min(max(0, offset), size - 1)
            if habit == "mapped":
                length = min(length, size - offset)
                with mmap.mmap(descriptor, size, prot=mmap.PROT_READ) as mapping:
                    got = mapping[offset : offset + length]
            else:
                got = os.pread(descriptor, length, offset)
            if got != os.pread(original, length, offset):
                wrong.append(f"{habit}: wrong bytes at {offset}, {len(got)} of {length}")
            if time.monotonic() > until_s or wrong:
                break
        if habit == "dropped":
            os.posix_fadvise(descriptor, start, 0, os.POSIX_FADV_DONTNEED)
        if habit == "again":
            os.close(descriptor)
            descriptor = os.open(path, os.O_RDONLY)


def main() -> None:
    """Run the threads; exit status 1 with what was wrong."""
    path, source, seconds, seed = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
    until_s = time.monotonic() + seconds
    threads = [
        threading.Thread(target=run, args=(path, source, until_s, seed * 1000 + number)) for number in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if wrong:
        sys.exit(wrong[0])


if __name__ == "__main__":
    main()
