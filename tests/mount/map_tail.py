"""Compare a mapped file with its source, and see zeros behind its end: ``python map_tail.py PATH SOURCE``."""

import ctypes
import mmap
import os
import sys


def main() -> None:
    """Exit status 1 with the first thing that is wrong."""
    path, source = sys.argv[1:]
    with open(source, "rb") as file:
        expected = file.read()
    descriptor = os.open(path, os.O_RDONLY)
    size = os.fstat(descriptor).st_size
    with mmap.mmap(descriptor, size, access=mmap.ACCESS_COPY) as mapping:
        if mapping[:] != expected:
            sys.exit("the mapping differs from the source")
        begin = ctypes.addressof(ctypes.c_char.from_buffer(mapping))
        # the last page is mapped whole, and what the file does not fill of it is zeros by POSIX
        tail = ctypes.string_at(begin + size, -size % mmap.PAGESIZE)
    if tail.strip(b"\0"):
        sys.exit(f"{len(tail.strip(bytes(1)))} bytes behind the end are not zero")


if __name__ == "__main__":
    main()
