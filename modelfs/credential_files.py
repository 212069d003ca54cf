"""Files with credentials: whether they may be trusted, and whether they have changed.

Law: symbolic links are followed, since Kubernetes swaps the link to a folder when a secret changes. root does not take
credentials from a file that others can write: they would choose who root is, and a profile may name a program to run.
"""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO, NamedTuple

from modelfs.errors import UsageError


class Stamp(NamedTuple):
    """What differs after a file was rewritten or its link swapped."""

    device: int
    inode: int
    size_bytes: int
    mtime_ns: int


def stamp(path: Path) -> Stamp | None:
    """Return the stamp of what ``path`` leads to now, or None where nothing can be seen."""
    try:
        found = path.stat()
    except OSError:
        return None
    return Stamp(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def check_writers(path: Path, what: str = "the credential file") -> None:
    """Raise UsageError when we are root and others can write ``path``. An absent file is no concern of ours."""
    if os.geteuid() != 0:
        return
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if stat.S_ISREG(mode) and mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UsageError(f"others can write {what} {path}: forbid it with 'chmod go-w {path}'")


def open_file(path: Path) -> BinaryIO:
    """Open ``path`` for reading, at once. Raises OSError, also for a pipe.

    The open of a pipe waits for whoever writes into it. A file that is asked for at each request, under a lock, would
    keep every read of a living mount waiting for as long.
    """
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115  Path.open takes no opener; the caller closes it
    if stat.S_ISFIFO(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is a pipe, not a file")
    return file
