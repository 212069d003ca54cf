"""Unmounting within a bound, whatever the kernel waits for.

Law: standard library only. umount(2) knows no bound: it waits until the kernel is done with the file system, and its
process with it, also after a SIGKILL. So it is made by a process of its own, and the one that asks goes on: a
supervisor that waited would not read the log that its worker writes, and so stop that one, too (seen). What has to end
by force is ended by aborting the connection: what waits for an answer then gets ECONNABORTED. On Linux 6.18 an unmount
does that itself before it waits for pages that are being read (seen: 10 ms), but for a mount in use, which is only
detached.

    python -P -m modelfs.unmounting unmount|detach PATH
    python -P -m modelfs.unmounting abort DEVICE
"""

# Paths stay strings here, as system calls take them.
# ruff: noqa: PTH123

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable, Sequence

from modelfs import mounting

CONNECTIONS = "/sys/fs/fuse/connections"
_CLONE_NEWNS = 0x20000
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000

Wait = Callable[["subprocess.Popen[bytes]", float], int | None]
"""Waits for a process for so many seconds, and returns its exit status; None when it has not ended."""


def wait_here(process: "subprocess.Popen[bytes]", within_s: float) -> int | None:
    """Wait for a process, and do nothing else meanwhile."""
    try:
        return process.wait(within_s)
    except subprocess.TimeoutExpired:
        return None


def unmount(path: str, *, lazy: bool, within_s: float, wait: Wait = wait_here) -> None:
    """Unmount as ``mounting.unmount`` does, and raise its OSError.

    Raises TimeoutError when it takes longer than ``within_s``; it goes on by itself then.
    """
    code = wait(_start("detach" if lazy else "unmount", path), within_s)
    if code is None:
        raise TimeoutError(f"{path} is not unmounted within {within_s:g} s: what is being read there waits")
    if code:
        raise OSError(code, os.strerror(code), path)


def abort(device: str, *, within_s: float, wait: Wait = wait_here) -> bool:
    """End the connection of the file system ``device`` ("major:minor"), and return whether that could be done."""
    return wait(_start("abort", device), within_s) == 0


def _start(what: str, on: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-P", "-m", "modelfs.unmounting", what, on]
    # it may hang for long, and /proc shows its environment; of ours, where keys may stand, it gets what it starts with
    needed = {name: value for name, value in os.environ.items() if name == "PATH" or name.startswith(("LD_", "PYTHON"))}
    # a session of its own: a Ctrl-C is for who waits
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd="/", env=needed, start_new_session=True)


def _abort(device: str) -> None:
    """Write to the file that fusectl has for the connection. It is mounted for ourselves where it is not."""
    path = f"{CONNECTIONS}/{device.partition(':')[2]}/abort"
    if not os.path.exists(path):  # noqa: PTH110  as above
        libc = ctypes.CDLL(None, use_errno=True)
        _check(libc.unshare(_CLONE_NEWNS))
        _check(libc.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None))
        _check(libc.mount(b"fusectl", CONNECTIONS.encode(), b"fusectl", ctypes.c_ulong(0), None))
    with open(path, "w", encoding="ascii") as file:
        file.write("1")


def _check(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def main(arguments: Sequence[str]) -> int:
    """Do what is asked, and return the errno as the exit status."""
    what, on = arguments
    try:
        if what == "abort":
            _abort(on)
        else:
            mounting.unmount(on, lazy=what == "detach")
    except OSError as error:
        return error.errno or 1
    except subprocess.SubprocessError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
