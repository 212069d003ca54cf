"""Starting a mount: the plan, and the supervisor that carries it out.

Law: the plan holds the URL as it was written, which may be a secret (a SAS token): it goes through an anonymous file,
never as an argument or on disk. In the background the caller learns how it went before it returns; what it
interrupts leaves nothing.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from modelfs import location, mounting, runtime
from modelfs.config import Config
from modelfs.errors import ModelfsError, UsageError

SUPERVISOR = ("-P", "-m", "modelfs.supervisor")
_STOPPING_S = 15.0


class LaunchFailedError(ModelfsError):
    """The supervisor says why there is no mount, and with what exit status."""

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status


def plan_mount(url: str, mountpoint: str, config: Config, *, foreground: bool) -> dict[str, Any]:
    """Return what the supervisor and the worker need to know. Raises UsageError for what cannot be mounted."""
    if "://" in mountpoint:
        raise UsageError("the mount point looks like a URL. Call 'modelfs mount URL MOUNTPOINT', in this order.")
    parsed = location.parse(url)
    resolved = mounting.resolve_mount_point(mountpoint)
    if parsed.scheme == "file" and Path(resolved).is_relative_to(os.path.realpath(parsed.prefix)):
        raise UsageError(f"mount point {resolved} lies inside the repository. Choose a directory outside of it.")
    return {
        "url": url,
        "source": parsed.display,
        "mountpoint": resolved,
        "foreground": foreground,
        "runtime_dir": runtime.runtime_root(config.runtime_dir),
        "log_file": config.log_file,
        "config": config.model_dump(mode="json"),
    }


def must_stay_in_foreground() -> bool:
    """Return whether somebody supervises this very process: it is PID 1, or under a service manager."""
    return os.getpid() == 1 or bool(os.environ.get("NOTIFY_SOCKET"))


def become_supervisor(plan: dict[str, Any]) -> NoReturn:
    """Turn this process into the supervisor, so that signals and service managers meet it directly."""
    plan_fd = _anonymous_file(plan)
    os.set_inheritable(plan_fd, True)  # noqa: FBT003  the standard library's signature
    os.chdir("/")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *SUPERVISOR, "--plan-fd", str(plan_fd)])  # noqa: S606  no shell is wanted


def mount_in_background(plan: dict[str, Any]) -> None:
    """Start the supervisor and return once the mount answers. Raises LaunchFailedError with the reason why not."""
    plan_fd = _anonymous_file(plan)
    status, status_written = os.pipe()
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        supervisor = subprocess.Popen(
            [sys.executable, *SUPERVISOR, "--plan-fd", str(plan_fd), "--status-fd", str(status_written)],
            pass_fds=[plan_fd, status_written],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
            umask=0o077,
        )
        os.close(status_written)
        os.close(plan_fd)
        try:
            report = _read_report(status)
        except BaseException:
            _stop(supervisor)
            raise
    finally:
        signal.signal(signal.SIGTERM, previous)
        os.close(status)
    if report.get("event") == "ready":
        supervisor.returncode = 0  # it lives on without us; this keeps Popen from warning
        return
    code = supervisor.wait(_STOPPING_S)
    fallback = f"the supervisor ended with status {code} and gave no reason. Try again with --foreground."
    raise LaunchFailedError(str(report.get("message", fallback)), int(report.get("exit_status", 1)))


def _anonymous_file(plan: dict[str, Any]) -> int:
    descriptor = os.memfd_create("plan")
    os.write(descriptor, json.dumps(plan).encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _read_report(status: int) -> dict[str, Any]:
    """Return what the supervisor says; empty when it ends without a word. It bounds the wait itself."""
    text = b""
    while not text.endswith(b"\n"):
        select.select([status], [], [])
        received = os.read(status, 65536)
        if not received:
            break
        text += received
    with contextlib.suppress(ValueError):
        found = json.loads(text)
        if isinstance(found, dict):
            return found
    return {}


def _stop(supervisor: "subprocess.Popen[bytes]") -> None:
    """End a supervisor whose mount nobody waits for any more; a second Ctrl-C does not cut this short."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        supervisor.terminate()
        deadline = time.monotonic() + _STOPPING_S
        while supervisor.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:
        signal.signal(signal.SIGINT, previous)


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
