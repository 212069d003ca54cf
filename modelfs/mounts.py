"""The mounts of this machine as the command line sees them: which, how they are, who holds them, how to end one.

Law: nothing here touches a file system that may be stuck: what is mounted comes from the mount table, who serves it
from the runtime folder, health from the control socket and from a stat that a child makes.
"""

import contextlib
import errno
import json
import os
import select
import shlex
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from modelfs import mounting, runtime, unmounting
from modelfs.errors import ModelfsError, UsageError

State = Literal["healthy", "unhealthy", "starting", "restarting", "dead", "crashed", "detached"]

_ANSWER_BYTES_MAX = 1024 * 1024
_ASK_S = 3.0
_UNMOUNTING_S = 5.0
_IN_PASSING_S = 3.0
_LOOK_S = 0.05
_END_S = 10.0
_END_BY_FORCE_S = 30.0  # a supervisor gives an unmount, a worker, and what then still waits, some seconds each
_DETACHED_S = 1.0  # what nobody uses ends at once; what somebody uses may take for ever
_HOLDERS_SHOWN = 5


class ControlError(ModelfsError):
    """A worker does not answer on its control socket, or refuses."""


class MountBusyError(ModelfsError):
    """Processes use the mount."""

    exit_status = 1


@dataclass(frozen=True)
class Mount:
    """One mount, or what is left of one. ``since_s`` is Unix time; ``details`` are the worker's own words.

    ``restarts`` counts the workers that died and were replaced; ``restarted_at_s`` (Unix time) and ``restart_reason``
    tell of the last one.
    """

    mountpoint: str
    source: str
    state: State
    reason: str = ""
    since_s: int | None = None
    pid: int | None = None
    log: str | None = None
    restarts: int = 0
    restarted_at_s: int = 0
    restart_reason: str = ""
    details: dict[str, Any] = field(default_factory=dict)


def survey(root: str) -> list[Mount]:
    """Return all the mounts of modelfs that this user can see, sorted by mount point."""
    found = {mount.mountpoint: mount for folder in runtime.folders(root) if (mount := _recorded(folder))}
    for entry in mounting.mount_table():
        if entry.fstype == mounting.FSTYPE and entry.mountpoint not in found:
            found[entry.mountpoint] = _unrecorded(entry)
    return sorted(found.values(), key=lambda mount: mount.mountpoint)


def recorded(root: str) -> list[str]:
    """Return the mount points that are recorded below ``root``: living, still starting, or left by a crash; sorted."""
    found = (runtime.description(folder).get("mountpoint") for folder in runtime.folders(root))
    return sorted(path for path in found if isinstance(path, str))


def living(root: str, mountpoint: str) -> str:
    """Return the runtime folder of the mount at ``mountpoint`` (resolved), which lives.

    Raises UsageError where nothing of ours is mounted, and ControlError where what is cannot be asked.
    """
    folder = runtime.folder_of(root, mountpoint)
    if runtime.is_alive(folder):
        return folder
    entry = mounting.mounted_at(mountpoint)
    if entry is None or entry.fstype != mounting.FSTYPE:
        raise _nothing(mountpoint)
    if mounting.probe(mountpoint) == "answers":
        raise ControlError(f"the mount at {mountpoint} was recorded by another user or --runtime-dir. Ask as that one.")
    command = f"modelfs unmount {shlex.quote(mountpoint)}"
    raise ControlError(f"the processes of the mount at {mountpoint} are gone. Run '{command}', and mount it again.")


def ask(folder: str, command: str, *, timeout_s: float = _ASK_S, **more: Any) -> dict[str, Any]:
    """Return the worker's answer to ``command``, which goes with ``more``.

    Raises ControlError when there is none within ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s
    answer = bytearray()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(timeout_s)
            sock.connect(runtime.control_socket(folder))
            sock.sendall(json.dumps({"command": command, **more}).encode() + b"\n")
            while not answer.endswith(b"\n") and len(answer) <= _ANSWER_BYTES_MAX:
                sock.settimeout(max(0.01, deadline - time.monotonic()))
                received = sock.recv(65536)
                if not received:
                    break
                answer += received
        found = json.loads(answer)
    except TimeoutError as error:
        raise ControlError(f"the worker does not answer within {timeout_s:g} s") from error
    except (OSError, ValueError) as error:
        raise ControlError(f"the worker does not answer ({error})") from error
    if not isinstance(found, dict) or not found.pop("ok", False):
        raise ControlError(f"the worker refuses: {found.get('error') if isinstance(found, dict) else found}")
    return found


def unmount(root: str, mountpoint: str, *, lazy: bool) -> None:
    """Unmount ``mountpoint`` (resolved) and wait until its processes and its folder are gone.

    With ``lazy`` a mount in use is detached, and its processes end when the last file is closed. What is being read
    ahead, of a store that is away, is given up, and so is all that waits for a mount whose processes are gone. Raises
    MountBusyError, or UsageError when there is nothing to unmount.
    """
    folder = runtime.folder_of(root, mountpoint)
    entry = mounting.mounted_at(mountpoint)
    if entry is None or entry.fstype != mounting.FSTYPE:
        _end_unmounted(folder, mountpoint)
        return
    is_left_alone = not runtime.is_alive(folder) and mounting.probe(mountpoint) != "answers"
    if is_left_alone:
        # of a worker that was killed in mid-push a thread can be left, for which the kernel keeps all readers waiting
        unmounting.abort(entry.device, within_s=_END_S)
    supervisor = _watch_supervisor(folder)
    try:
        is_over = _unmount(mountpoint, lazy=lazy or is_left_alone)
        if is_over and (_wait_until_gone(folder, supervisor, within_s=_DETACHED_S if lazy else _END_S) or lazy):
            return
        if runtime.is_alive(folder):
            _terminate(folder)
        else:
            unmounting.abort(entry.device, within_s=_END_S)
        if not _wait_until_gone(folder, supervisor, within_s=_END_BY_FORCE_S):
            raise ModelfsError(f"{mountpoint} is unmounted, but its supervisor does not end. Look at 'modelfs status'.")
    finally:
        if supervisor is not None:
            os.close(supervisor)


def _unmount(mountpoint: str, *, lazy: bool) -> bool:
    """Unmount, and return whether that is over; else it waits for what is being read, and nobody uses it."""
    deadline = time.monotonic() + _IN_PASSING_S
    while True:
        try:
            unmounting.unmount(mountpoint, lazy=lazy, within_s=_UNMOUNTING_S)
        except TimeoutError:
            return False
        except OSError as error:
            if error.errno != errno.EBUSY:
                what = f"{mountpoint} cannot be unmounted ({error.strerror})"
                raise UsageError(f"{what}. Do it as the user who mounted it, or as root.") from error
            # who looks a path up holds the mount for that moment, and so does what has just closed its last file
            if next(holders(mountpoint), None) is not None or time.monotonic() > deadline:
                raise _busy(mountpoint) from error
            time.sleep(_LOOK_S)
        else:
            return True


def holders(mountpoint: str) -> Iterator[str]:
    """Yield a word for each thing that keeps ``mountpoint`` busy, as far as this user may see."""
    prefix = mountpoint.rstrip("/") + "/"
    for entry in mounting.mount_table():
        if entry.mountpoint.startswith(prefix):
            yield f"another mount at {entry.mountpoint}"
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and _uses(process, mountpoint, prefix):
            with contextlib.suppress(OSError):
                yield f"{(process / 'comm').read_text().strip()} (pid {process.name})"


def _recorded(folder: str) -> Mount | None:
    facts = runtime.description(folder)
    mountpoint = facts.get("mountpoint")
    if not isinstance(mountpoint, str):
        return None
    state, reason, details = _judge(folder, facts, mountpoint)
    return Mount(
        mountpoint=mountpoint,
        source=str(facts.get("source", "")),
        state=state,
        reason=reason,
        since_s=facts.get("since_s"),
        pid=facts.get("pid") if state not in {"crashed", "dead"} else None,
        log=facts.get("log"),
        restarts=facts.get("restarts", 0),
        restarted_at_s=facts.get("restarted_at_s", 0),
        restart_reason=facts.get("restart_reason", ""),
        details=details,
    )


def _judge(folder: str, facts: dict[str, Any], mountpoint: str) -> tuple[State, str, dict[str, Any]]:
    entry = mounting.mounted_at(mountpoint)
    is_mounted = entry is not None and entry.fstype == mounting.FSTYPE
    if not runtime.is_alive(folder):
        if is_mounted:
            return "dead", f"its processes are gone; run 'modelfs unmount {shlex.quote(mountpoint)}'", {}
        return "crashed", str(facts.get("reason", "its supervisor was killed")), {}
    if facts.get("state") == "starting":
        return "starting", "the repository is being listed", {}
    if facts.get("state") == "restarting" and is_mounted:
        return "restarting", f"its worker ended with {facts.get('reason')}, the next one starts; readers wait", {}
    return _examine(folder, mountpoint) if is_mounted else ("detached", "it is unmounted, but still in use", {})


def _examine(folder: str, mountpoint: str) -> tuple[State, str, dict[str, Any]]:
    try:
        details = ask(folder, "status")
    except ControlError as error:
        return "unhealthy", str(error), {}
    reason = str(details.get("reason", ""))
    if mounting.probe(mountpoint) != "answers":
        reason = "it does not answer file operations"
    elif details.get("healthy", True):
        return "healthy", "", details
    return "unhealthy", reason, details


def _unrecorded(entry: mounting.MountEntry) -> Mount:
    reaction = mounting.probe(entry.mountpoint)
    if reaction == "answers":
        return Mount(entry.mountpoint, entry.source, "healthy", "recorded by another user or --runtime-dir")
    if reaction == "dead":
        reason = f"its processes are gone; run 'modelfs unmount {shlex.quote(entry.mountpoint)}'"
        return Mount(entry.mountpoint, entry.source, "dead", reason)
    return Mount(entry.mountpoint, entry.source, "unhealthy", "it does not answer file operations")


def _end_unmounted(folder: str, mountpoint: str) -> None:
    """End a mount that is not in the mount table: still starting, detached, or crashed."""
    if not runtime.is_alive(folder):
        if not runtime.description(folder):
            raise _nothing(mountpoint)
        runtime.forget(folder)
        return
    _terminate(folder)
    if not _wait_until_gone(folder, None, within_s=_END_S):
        raise ModelfsError(f"the supervisor of {mountpoint} does not end. Look at 'modelfs status'.")


def _nothing(mountpoint: str) -> UsageError:
    return UsageError(f"modelfs has mounted nothing at {mountpoint}. 'modelfs status' lists what there is.")


def _busy(mountpoint: str) -> MountBusyError:
    found = list(holders(mountpoint))
    more = f" and {len(found) - _HOLDERS_SHOWN} more" if len(found) > _HOLDERS_SHOWN else ""
    names = ", ".join(found[:_HOLDERS_SHOWN]) or "a process that this user may not see"
    return MountBusyError(
        f"{mountpoint} is in use by {names}{more}. End that first, or detach it with"
        f" 'modelfs unmount --lazy {shlex.quote(mountpoint)}'."
    )


def _uses(process: Path, mountpoint: str, prefix: str) -> bool:
    """Return whether a process has something below ``prefix`` open. Reads links only, never what they lead to."""
    links = [process / "cwd", process / "root", process / "exe"]
    with contextlib.suppress(OSError):
        links += (process / "fd").iterdir()
    for link in links:
        with contextlib.suppress(OSError):
            target = str(link.readlink())
            if target == mountpoint or target.startswith(prefix):
                return True
    with contextlib.suppress(OSError):
        return f" {prefix}" in (process / "maps").read_text(errors="replace")
    return False


def _terminate(folder: str) -> None:
    pid = runtime.description(folder).get("pid")
    if isinstance(pid, int) and pid > 1 and runtime.is_alive(folder):
        with contextlib.suppress(OSError):
            # a supervisor in another container may have written a number that means somebody else here
            if b"modelfs" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGTERM)


def _watch_supervisor(folder: str) -> int | None:
    """Return a descriptor that becomes readable when the supervisor ends; None when there is none."""
    pid = runtime.description(folder).get("pid")
    if isinstance(pid, int) and runtime.is_alive(folder):
        with contextlib.suppress(OSError):
            return os.pidfd_open(pid)
    return None


def _wait_until_gone(folder: str, supervisor: int | None, *, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while runtime.is_alive(folder):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    runtime.forget(folder)
    if supervisor is not None:  # it has let go of everything, and has only to exit
        select.select([supervisor], [], [], within_s)
    return True
