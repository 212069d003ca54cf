"""Read one file in several ways, for as long as asked, and compare.

    python keep_reading.py PATH SOURCE ROOT SEED HOW

HOW is "walk", or "look-up" where folders are not listed again: before Linux 6.9 who is listing one is told an error.

Each line of standard input is answered by how often the slowest of the threads has come round; its end ends them. The
exit status is 1 when a byte, a name, a time or an errno was wrong. A process of its own, because a page fault holds the
GIL: a test that maps what its own process serves waits for itself.
"""

import mmap
import os
import random
import sys
import threading
from collections.abc import Callable

MIB = 1 << 20
wrong: list[str] = []
over = threading.Event()


class Reader(threading.Thread):
    """Does ``step`` again and again, and counts."""

    def __init__(self, step: Callable[[], str | None]) -> None:
        super().__init__()
        self.rounds = 0
        self._step = step

    def run(self) -> None:
        """Go on until all is over, or something is wrong."""
        while not over.is_set() and not wrong:
            try:
                complaint = self._step()
            except OSError as error:
                complaint = repr(error)
            if complaint:
                wrong.append(f"{self._step}: {complaint}")
            self.rounds += 1


class Comparing:
    """The steps. What the page cache holds of the file is dropped by each, so that somebody has to read it."""

    def __init__(self, path: str, source: str, root: str, seed: int, how: str) -> None:
        self._chance = random.Random(seed)
        self._original = os.open(source, os.O_RDONLY)
        self._size = os.fstat(self._original).st_size
        self._path, self._root = path, root
        self._descriptor = os.open(path, os.O_RDONLY)
        self._mapping = mmap.mmap(self._descriptor, self._size, prot=mmap.PROT_READ)
        self._walks = how == "walk"
        self._paths = self._walk()
        self._seen = self._look_up()

    def in_order(self) -> str | None:
        """Open it anew and read some MiB of it, from somewhere on."""
        start = self._chance.randrange(self._size)
        with open(self._path, "rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), start, 16 * MIB, os.POSIX_FADV_DONTNEED)
            for offset in range(start, min(start + 8 * MIB, self._size), MIB):
                if os.pread(file.fileno(), MIB, offset) != os.pread(self._original, MIB, offset):
                    return f"wrong bytes at {offset}"
        return None

    def anywhere(self) -> str | None:
        """Read a little."""
        offset = self._chance.randrange(self._size)
        os.posix_fadvise(self._descriptor, offset, MIB, os.POSIX_FADV_DONTNEED)
        if os.pread(self._descriptor, 5000, offset) != os.pread(self._original, 5000, offset):
            return f"wrong bytes at {offset}"
        return None

    def mapped(self) -> str | None:
        """Look at a page of a mapping that has been there from the beginning."""
        offset = self._chance.randrange(self._size)
        start = offset - offset % mmap.PAGESIZE
        self._mapping.madvise(mmap.MADV_DONTNEED, start, min(MIB, self._size - start))
        os.posix_fadvise(self._descriptor, offset, MIB, os.POSIX_FADV_DONTNEED)
        if self._mapping[offset : offset + 5000] != os.pread(self._original, 5000, offset):
            return f"wrong bytes at {offset}"
        return None

    def names(self) -> str | None:
        """See that all names, sizes and times are what they were."""
        os.statvfs(self._root)  # no cache answers that
        if self._walks and self._walk() != self._paths:
            return "other names"
        return None if self._look_up() == self._seen else "other sizes or times"

    def _walk(self) -> list[str]:
        found = []
        for folder, folders, files in os.walk(self._root, onerror=_raise):
            found += [os.path.join(folder, name) for name in (*folders, *files)]
        return sorted(found)

    def _look_up(self) -> list[tuple[int, int]]:
        return [(found.st_size, found.st_mtime_ns) for found in map(os.lstat, self._paths)]


def _raise(error: OSError) -> None:
    raise error


def main() -> None:
    """Run the threads until standard input ends."""
    path, source, root, seed, how = sys.argv[1:]
    comparing = Comparing(path, source, root, int(seed), how)
    readers = [Reader(step) for step in (comparing.in_order, comparing.anywhere, comparing.mapped, comparing.names)]
    for reader in readers:
        reader.start()
    for _ in sys.stdin:
        print(min(reader.rounds for reader in readers), flush=True)
        if wrong:
            break
    over.set()
    for reader in readers:
        reader.join()
    if wrong:
        sys.exit(wrong[0])


if __name__ == "__main__":
    main()
