"""The folder of one living mount: who serves it, its control socket, its log.

Law: standard library only. A folder is alive exactly while its supervisor holds the lock in it; a pid in a file would
lie after a crash, in another container, and once numbers come round again.
"""

# Paths stay strings here, as system calls and JSON take them.
# ruff: noqa: PTH100, PTH102, PTH103, PTH105, PTH106, PTH108, PTH111, PTH112, PTH113, PTH116, PTH117, PTH118, PTH120, PTH123, PTH208

import contextlib
import fcntl
import json
import os
import shutil
import stat
import zlib
from collections.abc import Iterator
from typing import Any

_LONGEST_SOCKET_PATH = 107  # sun_path has 108 bytes with its NUL


NOT_FOR_CHILDREN = frozenset({"NOTIFY_SOCKET", "MODELFS_URL"})
"""Variables that end with the process that reads them: whom to notify, and a URL, in which a token may stand."""


class RuntimeFolderError(Exception):
    """The folder cannot be had; the message says why and what to do."""


def runtime_root(configured: str | None) -> str:
    """Return where this user's mounts are recorded: ``configured``, or the place that the system gives."""
    if configured:
        return os.path.abspath(configured)
    if os.geteuid() == 0:
        return "/run/modelfs"
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    if given and os.path.isdir(given):
        return os.path.join(given, "modelfs")
    return f"/tmp/modelfs-{os.geteuid()}"  # noqa: S108  its owner and mode are checked before use


def state_root(configured: str | None) -> str:
    """Return where this user's mounts remember what they showed: ``configured``, or the place that the system gives."""
    if configured:
        return os.path.abspath(configured)
    if os.geteuid() == 0:
        return "/var/lib/modelfs"
    given = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(given):  # the standard says to ignore a relative one
        given = os.path.expanduser("~/.local/state")
    return os.path.join(given, "modelfs")


def folder_of(root: str, mountpoint: str) -> str:
    """Return the folder of the mount at the resolved path ``mountpoint``."""
    # hashlib would bring OpenSSL into the supervisor; nobody gains by a collision of his own mount points
    octets = os.fsencode(mountpoint)
    return os.path.join(root, f"{zlib.crc32(octets):08x}{zlib.adler32(octets):08x}")


def control_socket(folder: str) -> str:
    """Return the path of the worker's control socket."""
    return os.path.join(folder, "control.sock")


def log_path(folder: str) -> str:
    """Return the path of a background mount's log."""
    return os.path.join(folder, "log")


def folders(root: str) -> Iterator[str]:
    """Yield the folders below ``root``, living or left by a crash."""
    with contextlib.suppress(OSError):
        for name in sorted(os.listdir(root)):
            if os.path.isfile(os.path.join(root, name, "mount.json")):
                yield os.path.join(root, name)


def is_alive(folder: str) -> bool:
    """Return whether a supervisor holds ``folder``."""
    try:
        descriptor = os.open(_lock_path(folder), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def description(folder: str) -> dict[str, Any]:
    """Return what the supervisor wrote about its mount; empty when there is nothing readable."""
    try:
        with open(os.path.join(folder, "mount.json"), encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


class RuntimeFolder:
    """A folder that this process holds until it ends."""

    def __init__(self, path: str, lock: int) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def claim(cls, root: str, mountpoint: str) -> "RuntimeFolder":
        """Make the folder of ``mountpoint``, or take over what a crash left, and hold it."""
        path = folder_of(root, mountpoint)
        if len(os.fsencode(control_socket(path))) > _LONGEST_SOCKET_PATH:
            raise RuntimeFolderError(f"{root} is too long a path for a socket. Choose a shorter --runtime-dir.")
        _make_root(root)
        for _ in range(16):  # the holder before us may be removing the folder at this moment
            try:
                _own_directory(root)
                _own_directory(path)
                lock = os.open(_lock_path(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise RuntimeFolderError(
                    f"{path} cannot be written ({error.strerror}). Choose another place with --runtime-dir."
                ) from error
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(lock), os.stat(_lock_path(path))):
                    _remove_files(path, "control.sock", "mount.json")
                    return cls(path, lock)
            except BlockingIOError as error:
                os.close(lock)
                raise RuntimeFolderError(
                    f"{mountpoint} is busy: another modelfs holds it. Unmount it with 'modelfs unmount {mountpoint}'."
                ) from error
            except FileNotFoundError:
                pass
            os.close(lock)
        raise RuntimeFolderError(f"{path} keeps vanishing. Look for what cleans up {root}.")

    def describe(self, facts: dict[str, Any]) -> None:
        """Write what others may know about the mount. Atomic."""
        target = os.path.join(self.path, "mount.json")
        descriptor = os.open(target + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(facts, file)
        os.replace(target + ".new", target)

    def release(self, *, keep_log: bool) -> None:
        """Let go of the folder and remove it, unless its log tells of a crash."""
        if not keep_log:
            shutil.rmtree(self.path, ignore_errors=True)
            with contextlib.suppress(OSError):
                os.rmdir(os.path.dirname(self.path))  # the root too, once the last mount has gone
        else:
            _remove_files(self.path, "control.sock")
        os.close(self._lock)


def forget(folder: str) -> None:
    """Remove a folder that a crash left. A living one stays, also one that comes to life at this moment."""
    try:
        lock = os.open(_lock_path(folder), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock), os.stat(_lock_path(folder))):
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        return  # somebody holds it, or has just removed it
    finally:
        os.close(lock)


def _make_root(root: str) -> None:
    try:
        os.makedirs(os.path.dirname(root), 0o755, exist_ok=True)
        _own_directory(root)
    except OSError as error:
        raise RuntimeFolderError(
            f"{root} cannot be made ({error.strerror}). Choose another place with --runtime-dir."
        ) from error


def _own_directory(path: str) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise RuntimeFolderError(
            f"{path} must be a directory that only this user can write. Remove it, or choose another --runtime-dir."
        )


def _lock_path(folder: str) -> str:
    return os.path.join(folder, "lock")


def _remove_files(folder: str, *names: str) -> None:
    for name in names:
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(folder, name))
