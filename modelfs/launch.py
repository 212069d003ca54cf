"""Starting mounts: the plan of each, and the supervisor that carries it out.

Law: the plan holds the URL as it was written, which may be a secret (a SAS token), and the environment, where keys
stand: it goes through an anonymous file, never as an argument or on disk. What is started has in its own environment
nothing but what it needs to start, since /proc shows that for as long as a process lives. In the background the caller
learns how it went before it returns; what it interrupts leaves nothing.
"""

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from modelfs import disk_places, location, mounting, runtime
from modelfs.config import Config
from modelfs.errors import ModelfsError, UsageError

SUPERVISOR = ("-P", "-m", "modelfs.supervisor")
PARENT = ("-P", "-m", "modelfs.parent")
_STOPPING_S = 15.0
_FOR_A_START = re.compile(
    "PATH|HOME|USER|LOGNAME|LANG|LANGUAGE|LC_[A-Z]+|TZ|TMPDIR|LD_[A-Z_]+|MALLOC_[A-Z_]+|GLIBC_TUNABLES|PYTHON[A-Z0-9_]*"
    "|VIRTUAL_ENV|NOTIFY_SOCKET|MODELFS_(?!URL$)[A-Z_]+"
)
"""What the system's libraries and the interpreter read before a plan can be. A list of what may be a secret was
rejected: whoever writes a manifest finds new names for keys, and credential_process knows them, not we."""


class LaunchFailedError(ModelfsError):
    """The supervisor says why there is no mount, and with what exit status."""

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status


Tell = Callable[[dict[str, Any], LaunchFailedError | None], None]
"""Hears of a plan that its mount answers, or why there is none."""


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
        "state_dir": runtime.state_root(config.state_dir),
        "cache_dir": _cache_dir(parsed, config),
        "log_file": config.log_file,
        "config": config.model_dump(mode="json"),
    }


def _cache_dir(location: location.Location, config: Config) -> str | None:
    """Return where blocks are kept on a disk, or None where they are not.

    A local folder is on one already; and what cannot be pinned to a version must not live longer than its mount.
    """
    if config.cache_size_bytes == 0 or location.scheme in {"file", "other"}:
        return None
    return disk_places.cache_root(config.cache_dir)


def divide(environment: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the variables that a process is started with, and those that only its worker gets, through the plan.

    >>> divide({"HOME": "/root", "AWS_SECRET_ACCESS_KEY": "secret", "MODELFS_REFRESH": "5"})
    ({'HOME': '/root', 'MODELFS_REFRESH': '5'}, {'AWS_SECRET_ACCESS_KEY': 'secret'})
    """
    for_a_start = {name: value for name, value in environment.items() if _FOR_A_START.fullmatch(name)}
    only_by_plan = environment.keys() - for_a_start.keys() - {"MODELFS_URL"}  # the plan has the URL anyway
    return for_a_start, {name: environment[name] for name in sorted(only_by_plan)}


def must_stay_in_foreground() -> bool:
    """Return whether somebody supervises this very process: it is PID 1, or under a service manager."""
    return os.getpid() == 1 or bool(os.environ.get("NOTIFY_SOCKET"))


def become_supervisor(plan: dict[str, Any]) -> NoReturn:
    """Turn this process into the supervisor, so that signals and service managers meet it directly."""
    environment, kept_back = divide(os.environ)
    _become([*SUPERVISOR, "--plan-fd"], {**plan, "environment": kept_back}, environment)


def become_parent(plans: Sequence[dict[str, Any]], config: Config) -> NoReturn:
    """Turn this process into the one that starts a supervisor for each of ``plans`` (foreground), and stays."""
    log = {"log_level": config.log_level, "log_format": config.log_format}
    environment, kept_back = divide(os.environ)
    shared = [{**plan, "environment": kept_back, "shares_log": plan["log_file"] is None} for plan in plans]
    _become([*PARENT, "--plans-fd"], {"plans": shared, "at_once": at_once(), **log}, environment)


def _become(module: Sequence[str], what: object, environment: Mapping[str, str]) -> NoReturn:
    descriptor = _anonymous_file(what)
    os.set_inheritable(descriptor, True)  # noqa: FBT003  the standard library's signature
    os.chdir("/")
    sys.stdout.flush()
    command = [sys.executable, *module, str(descriptor)]
    os.execve(sys.executable, command, environment)  # noqa: S606  no shell is wanted


def mount_in_background(plan: dict[str, Any]) -> None:
    """Start the supervisor and return once the mount answers. Raises LaunchFailedError with the reason why not."""
    failures: list[LaunchFailedError] = []
    mount_side_by_side([plan], lambda _plan, failure: failures.extend([failure] if failure else []))
    if failures:
        raise failures[0]


def mount_side_by_side(plans: Sequence[dict[str, Any]], tell: Tell) -> None:
    """Start a supervisor for each of ``plans``, some at a time, and return when each mount answers or has failed.

    ``tell`` hears of each at once. What is interrupted leaves those that it has told of, and nothing of the others.
    """
    waiting = deque(plans)
    started: dict[int, _Launch] = {}  # by the descriptor on which the supervisor reports
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        while waiting or started:
            while waiting and len(started) < at_once():
                launch = _Launch(waiting.popleft())
                started[launch.status] = launch
            for descriptor in select.select(list(started), [], [])[0]:
                if started[descriptor].hear():
                    launch = started.pop(descriptor)
                    tell(launch.plan, launch.outcome())
    finally:
        _stop(list(started.values()))
        signal.signal(signal.SIGTERM, previous)


def at_once() -> int:
    """Return how many mounts may start at one time. A worker imports for a second of CPU, and its start is bounded."""
    return max(2, min(8, len(os.sched_getaffinity(0))))


class _Launch:
    """A supervisor that has been started, until its first word, which comes within its own bounds."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self._heard = b""
        environment, kept_back = divide(os.environ)
        plan_fd = _anonymous_file({**plan, "environment": kept_back})
        self.status, status_written = os.pipe()
        try:
            self.supervisor = subprocess.Popen(
                [sys.executable, *SUPERVISOR, "--plan-fd", str(plan_fd), "--status-fd", str(status_written)],
                pass_fds=[plan_fd, status_written],
                env={name: value for name, value in environment.items() if name not in runtime.NOT_FOR_CHILDREN},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
                umask=0o077,
            )
        finally:
            os.close(status_written)
            os.close(plan_fd)

    def hear(self) -> bool:
        """Take what the supervisor says, and return whether that was all."""
        received = os.read(self.status, 65536)
        self._heard += received
        return not received or self._heard.endswith(b"\n")

    def outcome(self) -> LaunchFailedError | None:
        """Return None for a mount that answers, else why there is none."""
        os.close(self.status)
        report = {}
        with contextlib.suppress(ValueError):  # it may have ended without a word
            report = json.loads(self._heard)
        if report.get("event") == "ready":
            self.supervisor.returncode = 0  # it lives on without us; this keeps Popen from warning
            return None
        code = self.supervisor.wait(_STOPPING_S)
        fallback = f"the supervisor ended with status {code} and gave no reason. Try again with --foreground."
        return LaunchFailedError(str(report.get("message", fallback)), int(report.get("exit_status", 1)))


def _anonymous_file(what: object) -> int:
    descriptor = os.memfd_create("plan")
    os.write(descriptor, json.dumps(what).encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _stop(launches: Sequence[_Launch]) -> None:
    """End supervisors whose mounts nobody waits for any more; a second Ctrl-C does not cut this short."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for launch in launches:
            launch.supervisor.terminate()
        deadline = time.monotonic() + _STOPPING_S
        while any(launch.supervisor.poll() is None for launch in launches) and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:
        for launch in launches:
            os.close(launch.status)
        signal.signal(signal.SIGINT, previous)


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
