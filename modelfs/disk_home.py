"""The folder of the disk cache: made, and looked at, before anything in it is trusted.

Law: what is ours lies in a folder of its own, ``modelfs-blocks`` below the one that was named, which only we can enter:
0700 and our own, or nothing of it is used. It is opened once and then held by its descriptor, so that no other folder
takes its place. What lies around it may belong to anybody: a volume of a container's is often writable by all.

A file ``format`` says what the rest is. A folder of another format, or one that is not empty and has none, is left
alone.
"""

import os
import stat
from contextlib import suppress

from modelfs.disk_chunks import Chunks
from modelfs.disk_index import LOG_BYTES, ForeignIndexError, Index
from modelfs.disk_locks import Locks

FOLDER = "modelfs-blocks"
_FORMAT = b"modelfs disk cache, format 1\n"
_INDEX = "index.db"


class RefusedError(Exception):
    """The folder is not to be used; the message says why and what to do."""


class Home:
    """An open folder of chunks, with its locks, for one process. Thread-safe, but for ``index``: see there."""

    def __init__(self, path: str) -> None:
        """Open ``path``, or make it. Raises RefusedError, OSError, or sqlite3.Error for a broken index."""
        self._fd = _open(path)
        self.path = os.path.join(path, FOLDER)  # noqa: PTH118  strings, as for all that is opened here
        self.chunks = Chunks(self._fd)
        self.claims, self.reads, self.evictions = (Locks(self._fd, "locks") for _ in range(3))

    def open_index(self) -> Index:
        """Return a new connection to the index. Raises sqlite3.Error, or RefusedError for another release's."""
        try:
            return Index(self._index_path)
        except ForeignIndexError as error:
            raise RefusedError(f"{self.path}: {error}. Remove it, or choose another --cache-dir") from error

    def is_current(self) -> bool:
        """Tell whether the folder that we hold still is the one that its path leads to."""
        with suppress(OSError):
            return os.path.samestat(os.fstat(self._fd), os.stat(self.path))  # noqa: PTH116  strings
        return False

    def index_bytes(self) -> int:
        """Return what the index takes on the disk, or will have taken when its log is as large as it becomes."""
        return sum(
            max(least, self._size(_INDEX + suffix)) for suffix, least in (("", 0), ("-wal", LOG_BYTES), ("-shm", 0))
        )

    def _size(self, name: str) -> int:
        try:
            return os.stat(name, dir_fd=self._fd).st_size
        except OSError:
            return 0

    def remove_index(self) -> None:
        """Throw the index away: it is made anew from the chunks."""
        for suffix in ("-wal", "-shm", ""):
            with suppress(FileNotFoundError):
                os.unlink(_INDEX + suffix, dir_fd=self._fd)

    def space(self) -> tuple[int, int]:
        """Return how many bytes are free, and how many there are in all."""
        found = os.fstatvfs(self._fd)
        return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize

    def __del__(self) -> None:
        """Let go of the folder, once no thread reads from it."""
        with suppress(AttributeError):  # it was refused
            os.close(self._fd)

    @property
    def _index_path(self) -> str:
        return os.path.join(self.path, _INDEX)  # noqa: PTH118  as above


def disk_root(path: str) -> str:
    """Return where the disk is mounted that holds ``path``, or would hold it."""
    path = os.path.realpath(path)
    while not os.path.exists(path):  # noqa: PTH110  strings
        path = os.path.dirname(path)  # noqa: PTH120  strings
    device = os.stat(path).st_dev  # noqa: PTH116  strings
    while (parent := os.path.dirname(path)) != path and os.stat(parent).st_dev == device:  # noqa: PTH116, PTH120
        path = parent
    return path


def _open(path: str) -> int:
    """Return a descriptor of the folder of ours below ``path``."""
    with suppress(FileExistsError):
        os.makedirs(path, 0o700)  # noqa: PTH103  strings
    outer = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(FileExistsError):
            os.mkdir(FOLDER, 0o700, dir_fd=outer)
        folder = os.open(FOLDER, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=outer)
    finally:
        os.close(outer)
    try:
        _check(folder, os.path.join(path, FOLDER))  # noqa: PTH118  strings
    except BaseException:
        os.close(folder)
        raise
    return folder


def _check(folder: int, shown: str) -> None:
    found = os.fstat(folder)
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) != 0o700:  # noqa: PLR2004  the one mode
        raise RefusedError(
            f"{shown} must belong to user {os.geteuid()} and have mode 0700, so that nobody else puts bytes there;"
            " remove it, or choose another --cache-dir"
        )
    for _ in range(2):
        try:
            descriptor = os.open("format", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        except FileNotFoundError:
            _make_format(folder, shown)
            continue
        try:
            if os.read(descriptor, len(_FORMAT) + 1) == _FORMAT:
                return
        finally:
            os.close(descriptor)
        break
    raise RefusedError(f"{shown} is of another release's format; remove it, or choose another --cache-dir")


def _make_format(folder: int, shown: str) -> None:
    if any(not name.startswith("format") for name in os.listdir(folder)):
        raise RefusedError(f"{shown} holds files that are not the cache's; remove it, or choose another --cache-dir")
    beside = f"format.{os.getpid()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(beside, flags, 0o600, dir_fd=folder)
    try:
        os.write(descriptor, _FORMAT)
        os.fsync(descriptor)  # alone of all that is written here: an empty one, after a power cut, would be refused
    finally:
        os.close(descriptor)
    os.rename(beside, "format", src_dir_fd=folder, dst_dir_fd=folder)
