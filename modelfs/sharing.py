"""One listing for all the mounts of a machine that would get the same: who lists it leaves it for the others.

Law: a listing is shared only between mounts that would send the very same requests: same store, same prefix, same
credentials, same options; and only one that ended without an error. What the credentials are goes into a digest that
is slow to guess, and nowhere else. ``listings`` sees to it that only who was let in by the store itself asks here.

Below the runtime folder, which is this user's alone, each such group of mounts has a folder. Who leads holds a lock in
it, lists, and leaves the listing there: first the objects, then a notice that names them, each put in place whole. All
hold another lock in common, so that who leads knows whether there are others: a mount that is alone writes nothing.
Locks die with their holders. Times are those of CLOCK_MONOTONIC, which the processes of a machine share.

Everything here blocks, but ``has_news``. What goes wrong costs one warning and the sharing, never a listing.
"""

import fcntl
import hashlib
import json
import logging
import os
import shutil
import stat
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from modelfs.blocks import ObjectInfo
from modelfs.errors import ModelfsError

log = logging.getLogger(__name__)

FORMAT = 1
FOLDER = "listings"  # below the runtime folder
LINE_OBJECTS = 1000
"""In one line of the file: parsed in a millisecond or two, for which the interpreter's lock is held."""

_GUESS_COST = 2**14  # of scrypt: 16 MiB and some 50 ms, once for each change of the credentials
_TRIES = 16
_NOTICE_BYTES_MAX = 4096
_OBJECTS = "objects-"  # how the name of the file with the objects begins

_LEADS, _LISTENS = 0, 1  # the bytes of the lock file that stand for the two locks
_FLOCK = struct.Struct("@hhqqi")  # l_type, l_whence, l_start, l_len, l_pid, which must be 0


class Taken(NamedTuple):
    """A listing that another mount made, with its begin and end on CLOCK_MONOTONIC."""

    objects: list[ObjectInfo]
    began_s: float
    ended_s: float


class Sharing:
    """The part of one mount. ``identify`` tells all that the store's answer depends on; it may block and raise."""

    def __init__(self, root: str, identify: Callable[[], Sequence[str]]) -> None:
        self._root = Path(root) / FOLDER
        self._identify = identify
        self._known = b""  # a digest of what ``identify`` said last
        self._group: Path | None = None
        self._lock = -1
        self._seen: os.stat_result | None = None  # of the notice that was looked at last
        self._has_warned = False

    def has_news(self) -> bool:
        """Tell whether there is a notice that was not looked at yet."""
        if self._group is None:
            return False
        try:
            now = (self._group / "notice").lstat()
        except OSError:
            return False
        return self._seen is None or (now.st_ino, now.st_mtime_ns) != (self._seen.st_ino, self._seen.st_mtime_ns)

    def offer(self, objects: Sequence[ObjectInfo], *, began_s: float, ended_s: float) -> bool | None:
        """Leave a complete listing for the others, if this mount leads, and tell whether it does.

        None where nothing can be shared. Whoever leads goes on doing so; else it is the first that offers.
        """
        try:
            group = self._join()
            if not _locked(self._lock, fcntl.F_WRLCK, _LEADS):
                return False
            if _is_held(self._lock, _LISTENS):
                self._write(group, objects, began_s, ended_s)
                self._seen = (group / "notice").lstat()
        except (OSError, ModelfsError, ValueError) as error:
            self._fail(error)
            return None
        return True

    def take(self, *, after_s: float, recall: Callable[[ObjectInfo], ObjectInfo] | None = None) -> Taken | None:
        """Return the newest listing of another mount, if it began after ``after_s``; None where there is none.

        ``recall`` is asked for each object, and may give an equal one.
        """
        try:
            return self._read(self._join(), after_s, recall)
        except FileNotFoundError:
            return None  # nothing was left yet, or it is being replaced
        except (OSError, ModelfsError, ValueError, TypeError, KeyError) as error:
            self._fail(error)
            return None

    def leave(self) -> None:
        """Let go of all, and remove what nobody uses any more."""
        if self._group is not None:
            if self._is_whole(self._group) and not _is_held(self._lock, _LISTENS):
                shutil.rmtree(self._group, ignore_errors=True)
                with suppress(OSError):
                    self._root.rmdir()
            os.close(self._lock)
        self._group, self._known, self._seen = None, b"", None

    # inside

    def _join(self) -> Path:
        """See that this mount is in the group of the credentials of now, and return its folder."""
        identity = json.dumps([FORMAT, *self._identify()]).encode()
        known = hashlib.blake2b(identity).digest()
        if known == self._known and self._group is not None and self._is_whole(self._group):
            return self._group
        self.leave()
        _own(self._root)
        self._sweep()
        # from such a name secrets are not guessed in a lifetime
        name = hashlib.scrypt(identity, salt=b"modelfs listings", n=_GUESS_COST, r=8, p=1, dklen=16).hex()
        group = self._root / name
        for _ in range(_TRIES):  # a mount that ends, or that sweeps, may be removing the folder at this moment
            with suppress(FileNotFoundError):
                _own(self._root)
                _own(group)
                self._lock = os.open(group / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
                if _locked(self._lock, fcntl.F_RDLCK, _LISTENS) and self._is_whole(group):
                    self._group, self._known = group, known
                    return group
                os.close(self._lock)
        raise OSError(f"{group} keeps vanishing")

    def _is_whole(self, group: Path) -> bool:
        """Tell whether the lock that we hold still lies in the group's folder."""
        try:
            return os.path.samestat(os.fstat(self._lock), (group / "lock").stat())
        except OSError:
            return False

    def _sweep(self) -> None:
        """Remove the groups whose mounts were all killed."""
        for group in self._root.iterdir():
            with suppress(OSError):
                descriptor = os.open(group / "lock", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
                try:
                    if not _is_held(descriptor, _LISTENS):
                        shutil.rmtree(group, ignore_errors=True)
                finally:
                    os.close(descriptor)

    def _write(self, group: Path, objects: Sequence[ObjectInfo], began_s: float, ended_s: float) -> None:
        content = _put_objects(group, objects)
        for old in group.glob(f"{_OBJECTS}*"):
            if old.name != content:
                old.unlink(missing_ok=True)
        notice = {"format": FORMAT, "boot": _boot(), "content": content, "began_s": began_s, "ended_s": ended_s}
        _put(group, "notice", json.dumps(notice).encode())

    def _read(self, group: Path, after_s: float, recall: Callable[[ObjectInfo], ObjectInfo] | None) -> Taken | None:
        descriptor = _opened(group / "notice")
        with os.fdopen(descriptor, "rb") as file:
            self._seen = os.fstat(descriptor)
            notice = json.loads(file.read(_NOTICE_BYTES_MAX))
        if (notice["format"], notice["boot"]) != (FORMAT, _boot()):
            return None
        began_s, ended_s = float(notice["began_s"]), float(notice["ended_s"])
        if not after_s < began_s <= ended_s <= time.monotonic():
            return None
        return Taken(_objects(group, str(notice["content"]), recall), began_s, ended_s)

    def _fail(self, error: Exception) -> None:
        self.leave()
        if not self._has_warned:
            self._has_warned = True
            log.warning("listings are not shared with other mounts of this machine because=%r", str(error))


def _put_objects(group: Path, objects: Sequence[ObjectInfo]) -> str:
    """Write the objects into a file whose name tells its content, and return the name."""
    beside = group / "new"
    digest = hashlib.blake2b(digest_size=16)
    with os.fdopen(_created(beside), "wb") as file:
        for start in range(0, len(objects), LINE_OBJECTS):
            line = json.dumps(objects[start : start + LINE_OBJECTS], separators=(",", ":")).encode() + b"\n"
            digest.update(line)
            file.write(line)
    name = _OBJECTS + digest.hexdigest()
    beside.replace(group / name)
    return name


def _objects(group: Path, name: str, recall: Callable[[ObjectInfo], ObjectInfo] | None) -> list[ObjectInfo]:
    """Return the objects of the file ``name``. Raises ValueError where they are not those that its name tells."""
    if not name.startswith(_OBJECTS) or "/" in name:
        raise ValueError("the notice names no listing")
    found: list[ObjectInfo] = []
    digest = hashlib.blake2b(digest_size=16)
    with os.fdopen(_opened(group / name), "rb") as file:
        for line in file:
            digest.update(line)
            told = map(ObjectInfo._make, json.loads(line))
            found += told if recall is None else map(recall, told)
    if digest.hexdigest() != name.removeprefix(_OBJECTS):
        raise ValueError("a listing is not the one that its name tells")
    return found


def _put(group: Path, name: str, text: bytes) -> None:
    with os.fdopen(_created(group / "new"), "wb") as file:
        file.write(text)
    (group / "new").replace(group / name)


def _created(path: Path) -> int:
    path.unlink(missing_ok=True)  # what a mount that was killed left
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)


def _own(path: Path) -> None:
    """Make a folder that is this user's alone, or see that it is. Raises ValueError where it is not."""
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise ValueError(f"{path} is not a folder of this user alone")


def _boot() -> str:
    """Return what tells this start of the machine from others: CLOCK_MONOTONIC begins anew with each."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _locked(descriptor: int, kind: int, byte: int) -> bool:
    """Take a lock on one byte; False where another holds one against it."""
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, byte, 1, 0))
    except BlockingIOError:
        return False
    return True


def _is_held(descriptor: int, byte: int) -> bool:
    """Tell whether somebody else holds a lock on a byte."""
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
    kind, *_ = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, asked))
    return bool(kind != fcntl.F_UNLCK)
