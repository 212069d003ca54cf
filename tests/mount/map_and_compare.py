"""Map a stamped file and compare what its pages hold: ``python map_and_compare.py PATH KEY SIZE``.

A process of its own, because a page fault holds the GIL: a test that maps what its own process serves waits for itself.
"""

import mmap
import os
import random
import sys

from faultserver import Stamped


def main() -> None:
    """Compare 300 places in random order; exit status 1 at the first that differs."""
    path, key, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
    content, chance = Stamped(key, "v1", size), random.Random(size)
    descriptor = os.open(path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    with mmap.mmap(descriptor, size, prot=mmap.PROT_READ) as mapping:
        for _ in range(300):
            offset = chance.randrange(size)
            if mapping[offset : offset + 5000] != content.read(offset, 5000):
                sys.exit(f"wrong bytes at {offset}")


if __name__ == "__main__":
    main()
