"""Mounting and unmounting a FUSE file system by hand: mount(2) as root, fusermount3 otherwise.

Law: standard library only, nothing of ours. libfuse would mount too, but then the descriptor would live and die with
the process that serves it; here the caller keeps it, so a mount can outlive its worker.
Sources: mount(2), Documentation/filesystems/fuse.rst, and fusermount.c of libfuse 3 for the option grammar.
"""

# Paths stay strings here, as system calls and JSON take them.
# ruff: noqa: PTH100, PTH110, PTH115, PTH116, PTH118, PTH119, PTH120, PTH123, PTH208

import ctypes
import errno
import os
import re
import select
import shlex
import shutil
import socket
import stat
import subprocess
import sys
from typing import Literal, NamedTuple

FSTYPE = "fuse.modelfs"
DEVICE = "/dev/fuse"
FUSERMOUNT = "fusermount3"

_MS_RDONLY, _MS_NOSUID, _MS_NODEV = 1, 2, 4
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
_PROBE_S = 3.0
"""How long a mount may take to answer a stat before it counts as alive but stuck."""
_HELPER_S = 10.0
_INIT_S = 10.0
_INIT_BUFFER_BYTES = 128 * 1024  # the kernel refuses reads with less than 8 KiB; INIT itself has about 100 bytes


class MountRefusedError(Exception):
    """The machine or the mount point is not as it must be; the message says what to do."""


class MountEntry(NamedTuple):
    """One line of /proc/self/mountinfo, unescaped. ``device`` is "major:minor"."""

    device: str
    mountpoint: str
    fstype: str
    source: str
    super_options: str


def parse_mountinfo(text: str) -> list[MountEntry]:
    r"""Return the mounts that ``text`` lists, in its order: a later one at the same place lies on top.

    >>> line = r"36 35 0:52 / /mnt/a\040b ro,nosuid shared:1 - fuse.modelfs s3://b/p ro,user_id=0"
    >>> parse_mountinfo(line + "\n")[0][:4]
    ('0:52', '/mnt/a b', 'fuse.modelfs', 's3://b/p')
    """
    entries = []
    for line in text.split("\n"):
        head, separator, tail = line.partition(" - ")
        if separator:
            fields, (fstype, source, options) = head.split(" "), tail.split(" ", 2)
            entries.append(MountEntry(fields[2], _unescape(fields[4]), fstype, _unescape(source), options))
    return entries


def mount_table() -> list[MountEntry]:
    """Return the mounts of this process's namespace."""
    # only "\n" ends a line: the kernel leaves "\r" in a mount point's name as it is, and any user can mount there
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        return parse_mountinfo(file.read())


def mounted_at(path: str) -> MountEntry | None:
    """Return the topmost mount at the absolute ``path``, without touching it: a stat of a stuck mount hangs."""
    return next((entry for entry in reversed(mount_table()) if entry.mountpoint == path), None)


def mounted_from(device: str, *, near: str) -> MountEntry | None:
    """Return where the file system ``device`` is mounted: at ``near`` if it is there, else wherever it was moved to."""
    entries = [entry for entry in mount_table() if entry.device == device and entry.fstype == FSTYPE]
    return next((entry for entry in entries if entry.mountpoint == near), entries[0] if entries else None)


def resolve_mount_point(path: str) -> str:
    """Return ``path`` absolute and free of links, without a stat of the mount that may be there."""
    absolute = os.path.abspath(path)
    resolved = os.path.join(os.path.realpath(os.path.dirname(absolute)), os.path.basename(absolute))
    try:
        os.readlink(resolved)  # asks no file system that is mounted there, unlike lstat
    except OSError:
        return os.path.normpath(resolved)
    return os.path.realpath(resolved)


def probe(path: str) -> Literal["answers", "dead", "stuck"]:
    """Return how the mount at ``path`` reacts to statfs: "dead" means that it has lost its daemon (ENOTCONN).

    The kernel answers a stat from its cache for about a second after the daemon's death (seen), a statfs never. It is
    made by a child, as nothing but SIGKILL ends the wait for a daemon that took the request.
    """
    code = f"import os\ntry: os.statvfs({path!r})\nexcept OSError as e: os._exit(e.errno == {errno.ENOTCONN})"
    try:
        child = subprocess.run([sys.executable, "-ISc", code], timeout=_PROBE_S, check=False)
    except subprocess.TimeoutExpired:
        return "stuck"
    return "dead" if child.returncode == 1 else "answers"


def prepare_mount_point(path: str) -> None:
    """Remove the remains of a dead modelfs at ``path``, then see that it is an empty directory, or refuse."""
    for _ in range(16):  # each crash may have left one on top of the other
        entry = mounted_at(path)
        if entry is None or entry.fstype != FSTYPE:
            break
        if probe(path) != "dead":
            raise MountRefusedError(
                f"{path} is busy: {entry.source} is mounted there. Unmount it with"
                f" 'modelfs unmount {shlex.quote(path)}', or choose another directory."
            )
        unmount(path, lazy=True)
    if entry is not None and entry.fstype != FSTYPE:
        raise MountRefusedError(
            f"{path} is busy: a file system of type {entry.fstype} is mounted there. Choose a directory below it."
        )
    try:
        mode = os.stat(path).st_mode
        names = os.listdir(path) if stat.S_ISDIR(mode) else []
    except OSError as error:
        raise MountRefusedError(_why_unusable(path, error)) from error
    if not stat.S_ISDIR(mode):
        raise MountRefusedError(f"mount point {path} is not a directory. Choose an empty directory.")
    if names:
        raise MountRefusedError(f"mount point {path} is not empty. Choose an empty directory.")


def check_machine() -> None:
    """See that this process can mount FUSE at all, or refuse with what is missing."""
    if not os.path.exists(DEVICE):
        raise MountRefusedError(
            f"{DEVICE} is missing. Load it with 'modprobe fuse', or start the container with '--device {DEVICE}'."
        )
    if os.geteuid() != 0 and shutil.which(FUSERMOUNT) is None:
        raise MountRefusedError(
            f"mounting without root needs {FUSERMOUNT}, which is not in PATH. Install fuse3, or become root."
        )
    try:
        os.close(os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        raise MountRefusedError(
            f"{DEVICE} cannot be opened ({error.strerror}). Make it readable and writable for this user, or start the"
            f" container with '--device {DEVICE}'."
        ) from error


def mount(path: str, *, source: str, allow_other: bool) -> tuple[int, bytes]:
    """Mount at ``path`` and return the FUSE descriptor (ours to close) and the kernel's INIT request.

    ``source`` is what mount tables show, so it must be free of secrets. ``max_read`` is not passed: the kernel then
    refuses the mount, as the size of requests is agreed upon in INIT.
    """
    mounting = _mount_as_root if os.geteuid() == 0 else _mount_by_helper
    descriptor = mounting(path, source, allow_other)
    try:
        return descriptor, _read_init(descriptor)
    except BaseException:
        os.close(descriptor)
        unmount(path, lazy=True)
        raise


def unmount(path: str, *, lazy: bool) -> None:
    """Unmount the topmost file system at ``path``. ``lazy`` detaches it although it is in use.

    Raises OSError: EBUSY while a process uses it, EINVAL where nothing is mounted, EPERM for another user's mount.
    """
    if os.geteuid() == 0:
        flags = _UMOUNT_NOFOLLOW | (_MNT_DETACH if lazy else 0)
        if _libc().umount2(os.fsencode(path), flags) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), path)
        return
    if mounted_at(path) is None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
    helper = subprocess.run(
        [FUSERMOUNT, "-u", *(["-z"] if lazy else []), "--", path],
        capture_output=True,
        text=True,
        timeout=_HELPER_S,
        check=False,
        env=_helper_environment(),
    )
    if helper.returncode != 0:
        code = errno.EBUSY if "busy" in helper.stderr else errno.EPERM
        raise OSError(code, _last_line(helper.stderr), path)


def _mount_as_root(path: str, source: str, allow_other: bool) -> int:  # noqa: FBT001  same shape as its sibling
    descriptor = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    data = f"fd={descriptor},rootmode=40000,user_id={os.geteuid()},group_id={os.getegid()},default_permissions"
    data += ",allow_other" if allow_other else ""
    flags = ctypes.c_ulong(_MS_RDONLY | _MS_NOSUID | _MS_NODEV)
    if _libc().mount(os.fsencode(source), os.fsencode(path), FSTYPE.encode(), flags, data.encode()) != 0:
        code = ctypes.get_errno()
        os.close(descriptor)
        raise MountRefusedError(_why_not_mounted(path, code))
    return descriptor


def _mount_by_helper(path: str, source: str, allow_other: bool) -> int:  # noqa: FBT001  same shape as its sibling
    # its parser splits at commas, and knows a backslash only inside fsname and subtype
    escaped = source.replace("\\", "\\\\").replace(",", "\\,")
    options = f"ro,nosuid,nodev,default_permissions,subtype=modelfs,fsname={escaped}"
    options += ",allow_other" if allow_other else ""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours:
        with theirs:
            helper = subprocess.run(
                [FUSERMOUNT, "-o", options, "--", path],
                pass_fds=[theirs.fileno()],
                env={**_helper_environment(), "_FUSE_COMMFD": str(theirs.fileno())},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                timeout=_HELPER_S,
                check=False,
            )
        ours.setblocking(False)  # noqa: FBT003  the helper has ended: what it sent is here
        descriptors = socket.recv_fds(ours, 1, 1)[1] if helper.returncode == 0 else []
    if not descriptors:
        raise MountRefusedError(_why_helper_failed(path, helper.stderr))
    os.set_inheritable(descriptors[0], False)  # noqa: FBT003  the standard library's signature
    return descriptors[0]


def _read_init(descriptor: int) -> bytes:
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    if not waiting.poll(_INIT_S * 1000):
        raise MountRefusedError("the kernel mounted but did not begin the FUSE protocol. Look at 'dmesg'.")
    return os.read(descriptor, _INIT_BUFFER_BYTES)


def _why_unusable(path: str, error: OSError) -> str:
    quoted = shlex.quote(path)
    if error.errno == errno.ENOENT:
        return f"mount point {path} does not exist. Create it with 'mkdir -p {quoted}'."
    if error.errno == errno.ENOTCONN:
        return f"mount point {path} holds the remains of a dead file system. Remove it with 'umount -l {quoted}'."
    if error.errno == errno.ENOTDIR:
        return f"mount point {path} is not a directory. Choose an empty directory."
    return f"mount point {path} cannot be used ({error.strerror}). Choose an empty directory of this user."


def _why_not_mounted(path: str, code: int) -> str:
    if code in (errno.EPERM, errno.EACCES):
        return (
            f"the kernel refused to mount at {path} ({os.strerror(code)}). Run with the capability SYS_ADMIN (in a"
            " container '--cap-add SYS_ADMIN --device /dev/fuse')."
        )
    if code == errno.ENODEV:
        return "the kernel has no FUSE. Load it with 'modprobe fuse'."
    return f"the kernel refused to mount at {path} ({os.strerror(code)}). Look at 'dmesg'."


def _why_helper_failed(path: str, output: str) -> str:
    if "user_allow_other" in output:
        return (
            "allow_other is not permitted to this user. Add the line 'user_allow_other' to /etc/fuse.conf, or mount"
            " without --allow-other."
        )
    if "write access" in output:
        return f"mount point {path} is not writable for this user. Choose an empty directory of this user."
    reason = _last_line(output) or "it gave no reason"
    return f"{FUSERMOUNT} could not mount at {path}: {reason}. Mount at a directory of this user, or run as root."


def _last_line(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    return lines[-1].removeprefix(f"{FUSERMOUNT}: ").strip().rstrip(".") if lines else ""


def _helper_environment() -> dict[str, str]:
    """Return what a helper needs of our environment, which may hold credentials: its output must be C's, no more."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _unescape(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
