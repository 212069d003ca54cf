"""The process that stays when several mounts run in the foreground: it starts their supervisors, and ends them.

Law: standard library only, one Watch, no threads; nothing of a mount is here but the plan, so it holds little that can
fail. A mount that fails takes no other with it, and is started again, with growing pauses, for as long as another one
stands: who watches this process (systemd, a container's engine) cannot start half of it again. When none stands it
ends, with the status of the worst; one that somebody unmounted has ended well, and stays so.

    python -P -m modelfs.parent --plans-fd N [--stopping-s S] [-- SUPERVISOR COMMAND]
"""

import argparse
import contextlib
import json
import logging
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any, Literal

from modelfs import logs
from modelfs.runtime import NOT_FOR_CHILDREN
from modelfs.service_manager import notify
from modelfs.watch import Watch

log = logging.getLogger("modelfs.parent")  # __name__ is "__main__" here

SUPERVISOR_COMMAND = (sys.executable, "-P", "-m", "modelfs.supervisor")

_TICK_S = 1.0
_START_EXTENSION_US = 20_000_000
"""Sent every tick until all have been tried: a supervisor bounds its own start, and a long listing is no failure."""
_FIRST_PAUSE_S = 2.0
_LONGEST_PAUSE_S = 60.0
_STEADY_S = 60.0  # a mount that stood as long as this begins again with the first pause
_STOPPING_S = 25.0
"""A supervisor ends within 20 s: the unmount, five seconds of grace, a kill. systemd and Kubernetes wait for 30."""

State = Literal["new", "starting", "mounted", "failed", "unmounted"]


class Mount:
    """One mount as its parent sees it: its plan, its supervisor of now, and how that is."""

    def __init__(self, watch: Watch, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.state: State = "new"
        self.exit_status = 0
        self.tried = False
        """Whether the first attempt has come to its end, good or bad."""
        self.pause_s = 0.0
        self._watch = watch
        self._process: subprocess.Popen[bytes] | None = None
        self._status = -1
        self._heard = b""
        self._since_s = 0.0

    @property
    def is_alive(self) -> bool:
        """Whether there is a supervisor, or will be one without a pause."""
        return self.state in {"new", "starting", "mounted"}

    @property
    def is_due(self) -> bool:
        """Whether it is time to start a supervisor."""
        return self.state == "new" or (self.state == "failed" and time.monotonic() - self._since_s >= self.pause_s)

    def start(self, command: Sequence[str]) -> None:
        """Start a supervisor. It has a session of its own, so that a Ctrl-C reaches it once, through us."""
        plan_fd = os.memfd_create("plan")
        os.write(plan_fd, json.dumps({**self.plan, "parent_pid": os.getpid()}).encode())
        os.lseek(plan_fd, 0, os.SEEK_SET)
        self._status, status_written = os.pipe()
        try:
            self._process = subprocess.Popen(
                [*command, "--plan-fd", str(plan_fd), "--status-fd", str(status_written)],
                pass_fds=[plan_fd, status_written],
                stdin=subprocess.DEVNULL,
                env={name: value for name, value in os.environ.items() if name not in NOT_FOR_CHILDREN},
                start_new_session=True,
            )
        except OSError as error:  # a limit of the machine, which may be gone after a pause
            log.error("a supervisor cannot be started mountpoint=%s error=%s", self.plan["mountpoint"], error)  # noqa: TRY400  the error is the whole story
            self._take_end(1)
            return
        finally:
            os.close(plan_fd)
            os.close(status_written)
        self._heard = b""
        self._watch.add_child(self._process.pid, self._process.poll)
        self._watch.add(self._status, self._hear)
        self._become("starting")

    def take_news(self) -> bool:
        """Look at the supervisor, and return whether the state has changed."""
        if self._process is None:
            return False
        if self._process.returncode is not None:
            self._take_end(self._process.returncode)
            return True
        if self.state == "starting" and self._heard.endswith(b"\n"):
            with contextlib.suppress(ValueError):
                if json.loads(self._heard).get("event") == "ready":
                    self.tried = True
                    self._become("mounted")
                    return True
        return False

    def end(self) -> None:
        """Ask the supervisor to unmount and end."""
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        """End the supervisor at once; its worker then unmounts."""
        if self._process is not None:
            self._process.kill()

    def _take_end(self, code: int) -> None:
        self._forget_pipe()
        self._process = None
        self.tried = True
        if code == 0:
            self._become("unmounted")
            return
        stood = self.state == "mounted" and time.monotonic() - self._since_s >= _STEADY_S
        self.pause_s = _FIRST_PAUSE_S if stood or not self.pause_s else min(_LONGEST_PAUSE_S, 2 * self.pause_s)
        self.exit_status = code if code > 0 else 1
        self._become("failed")

    def _become(self, state: State) -> None:
        self.state = state
        self._since_s = time.monotonic()

    def _hear(self) -> None:
        received = os.read(self._status, 65536)
        self._heard += received
        if not received:
            self._forget_pipe()

    def _forget_pipe(self) -> None:
        if self._status >= 0:
            descriptor, self._status = self._status, -1
            self._watch.remove(descriptor)
            os.close(descriptor)


class Parent:
    """All the mounts, from the first start to the last end. At most ``at_once`` of them start at one time."""

    def __init__(
        self, plans: Sequence[dict[str, Any]], *, at_once: int, command: Sequence[str], stopping_s: float
    ) -> None:
        self._stopping_s = stopping_s
        self._watch = Watch()
        self._mounts = [Mount(self._watch, plan) for plan in plans]
        self._at_once = at_once
        self._command = command
        self._told = ""  # the last words to the service manager; empty until we are ready

    def run(self) -> int:
        """Serve until a signal or the end of the last mount, and return the exit status."""
        while self._watch.stop_signal is None and any(mount.is_alive for mount in self._mounts):
            self._start_due()
            is_quiet = all(mount.state in {"mounted", "unmounted"} for mount in self._mounts)
            self._watch.until(self._news, None if is_quiet else _TICK_S)
            self._notify()
        notify("STOPPING=1")
        if self._watch.stop_signal is not None:
            return self._stop()
        return max((mount.exit_status for mount in self._mounts if mount.state == "failed"), default=0)

    def _start_due(self) -> None:
        starting = sum(mount.state == "starting" for mount in self._mounts)
        for mount in [mount for mount in self._mounts if mount.is_due][: max(0, self._at_once - starting)]:
            mount.start(self._command)

    def _news(self) -> bool | None:
        """Return True when something has changed, so that whoever waits looks at everything again."""
        changed = [mount for mount in self._mounts if mount.take_news()]
        for mount in changed:
            if mount.state == "failed":
                log.warning(
                    "not mounted, trying again while others are mountpoint=%s exit_status=%d pause_s=%g",
                    mount.plan["mountpoint"],
                    mount.exit_status,
                    mount.pause_s,
                )
        return bool(changed) or self._watch.stop_signal is not None or None

    def _notify(self) -> None:
        """Tell the service manager what is new: ready once each was tried and one answers, then how many do."""
        serving = sum(mount.state == "mounted" for mount in self._mounts)
        words = f"STATUS=Serving {serving} of {len(self._mounts)} mounts"
        if not self._told and not (serving and all(mount.tried for mount in self._mounts)):
            notify(f"EXTEND_TIMEOUT_USEC={_START_EXTENSION_US}")
        elif words != self._told:
            notify(words if self._told else f"READY=1\n{words}")
            self._told = words

    def _stop(self) -> int:
        """End all supervisors, and return 0 when each of them has taken its mount down."""
        log.info("stopping signal=%s", self._watch.stop_signal)
        for mount in self._mounts:
            mount.end()
        left = self._watch.until(self._none_is_left, self._stopping_s) is None
        if left:
            log.error("a supervisor does not end within %g s and is killed", self._stopping_s)
            for mount in self._mounts:
                mount.kill()
        return 1 if left else 0

    def _none_is_left(self) -> bool | None:
        for mount in self._mounts:
            mount.take_news()
        return None if any(mount.state in {"starting", "mounted"} for mount in self._mounts) else True


def main(arguments: Sequence[str]) -> int:
    """Run the mounts and return the exit status."""
    parser = argparse.ArgumentParser(prog="modelfs.parent")
    parser.add_argument("--plans-fd", type=int, required=True)
    parser.add_argument("--stopping-s", type=float, default=_STOPPING_S)
    parser.add_argument("supervisor_command", nargs="*")
    options = parser.parse_args(arguments)
    with os.fdopen(options.plans_fd, "rb") as file:
        family = json.load(file)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold the plans, whose URLs may hold a secret
    logs.configure(level=family["log_level"], form=family["log_format"])
    command = options.supervisor_command or SUPERVISOR_COMMAND
    plans, at_once = family["plans"], family["at_once"]
    return Parent(plans, at_once=at_once, command=command, stopping_s=options.stopping_s).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
