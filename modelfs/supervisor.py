"""The process that owns a mount: it mounts, has workers serve it (``succession``), and unmounts.

Law: standard library only, no threads, never fork without exec, and no wait without a bound but the one for events
while all is well. It is small because it must outlive everything else: whatever happens to a worker, the FUSE
descriptor, the kernel's INIT request, the mount and what was shown are here, so that another worker takes over.

    python -P -m modelfs.supervisor --plan-fd N [--status-fd M] [-- WORKER COMMAND]

The plan is JSON, and comes through a descriptor because arguments are visible to every user of the machine.
"""

import argparse
import contextlib
import ctypes
import errno
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from modelfs import lives, logs, mounting, runtime, unmounting
from modelfs.service_manager import notify
from modelfs.succession import FailedError, StopAskedError, Succession, is_connected
from modelfs.watch import Watch

log = logging.getLogger("modelfs.supervisor")  # __name__ is "__main__" here

WORKER_COMMAND = (sys.executable, "-P", "-m", "modelfs.worker")

_UNMOUNTING_S = 3.0  # with all that may follow less than the 25 s that a parent waits, and systemd's 30
_STOPPING_S = 5.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Supervisor:
    """One mount from its first check to its last trace."""

    def __init__(self, plan: dict[str, Any], *, worker_command: Sequence[str], status_fd: int | None) -> None:
        self._plan = plan
        self._mountpoint: str = plan["mountpoint"]
        self._source: str = plan["source"]
        self._worker_command = worker_command
        self._status_fd = status_fd
        self._watch = Watch()
        self._folder: runtime.RuntimeFolder | None = None
        self._log: logs.RotatingLog | None = None
        self._log_path: str | None = None
        self._since_s = int(time.time())
        self._workers: Succession | None = None
        self._fuse_fd = -1
        self._device: str | None = None

    def run(self) -> int:
        """Mount, serve until the end, and return the exit status. Nothing is left behind but the log of a crash."""
        failure: FailedError | None = None
        try:
            self._prepare()
            workers = self._workers = self._assemble()
            workers.list_first()
            init = self._mount()
            workers.serve(self._fuse_fd, init)
            self._report_ready()
            workers.keep_serving()
            self._see_that_it_is_unmounted()
        except StopAskedError:
            log.info("stopping mountpoint=%s signal=%s", self._mountpoint, self._watch.stop_signal)
        except (mounting.MountRefusedError, runtime.RuntimeFolderError) as error:
            failure = FailedError(str(error), 2)
        except FailedError as error:
            failure = error
        except Exception:
            log.exception("unexpected mountpoint=%s", self._mountpoint)
            failure = FailedError(f"the supervisor met an unexpected error{self._see_log()}.", 1)
        self._take_down(failure)
        self._report_end(failure)
        return failure.exit_status if failure else 0

    def _prepare(self) -> None:
        """Check everything that can be checked before a process is started or a store is asked."""
        self._folder = runtime.RuntimeFolder.claim(self._plan["runtime_dir"], self._mountpoint)
        self._log_path = self._plan["log_file"]
        if self._log_path is None and not self._plan["foreground"]:
            self._log_path = runtime.log_path(self._folder.path)
        if self._log_path is not None:
            try:
                self._log = logs.RotatingLog(self._log_path)
            except OSError as error:
                raise FailedError(
                    f"log file {self._log_path} cannot be written ({error.strerror}). Choose another --log-file.", 2
                ) from error
        config = self._plan["config"]
        logs.configure(
            level=config["log_level"],
            form=config["log_format"],
            stream=self._log,
            mountpoint=logs.shared_by(self._plan),
        )
        mounting.check_machine()
        mounting.prepare_mount_point(self._mountpoint)
        self._describe("starting")

    def _assemble(self) -> Succession:
        assert self._folder is not None  # noqa: S101  for the type checker: _prepare ran
        return Succession(
            self._watch,
            self._worker_command,
            {**self._plan, "runtime_folder": self._folder.path},
            log_file=self._log,
            see_log=self._see_log(),
            on_change=self._on_change,
        )

    def _mount(self) -> bytes:
        """Mount, and return the kernel's INIT request."""
        wanted = self._plan["config"]["allow_other"]
        allow_other = os.geteuid() == 0 if wanted is None else wanted
        mounting.prepare_mount_point(self._mountpoint)  # again: the listing took its time, and others mount too
        try:
            self._fuse_fd, init = mounting.mount(self._mountpoint, source=self._source, allow_other=allow_other)
        except (OSError, subprocess.SubprocessError) as error:
            raise FailedError(f"mounting at {self._mountpoint} failed ({error}). Look at 'dmesg'.", 2) from error
        entry = mounting.mounted_at(self._mountpoint)
        self._device = entry.device if entry else None
        return init

    def _see_that_it_is_unmounted(self) -> None:
        """Tell an unmount by somebody from an end of the connection alone, which leaves a dead mount."""
        if self._mounted_at() is not None:
            log.error("the connection was ended from outside mountpoint=%s", self._mountpoint)
            raise FailedError("the kernel's connection to it was aborted from outside.", 1)
        log.info("unmounted mountpoint=%s", self._mountpoint)

    def _on_change(self, serves: bool) -> None:  # noqa: FBT001  the one thing there is to tell
        """Tell what has become of the mount: a worker has died, or the next one serves."""
        assert self._workers is not None  # noqa: S101  for the type checker: it calls us
        facts = self._workers.lives.facts
        if serves:
            self._describe("mounted")
            notify(f"STATUS=Serving {self._source} at {self._mountpoint}, by worker number {facts.restarts + 1}")
        else:
            self._describe("restarting", reason=facts.reason)
            notify(f"STATUS=Starting another worker, the last one ended with {facts.reason}")

    def _mounted_at(self) -> str | None:
        """Return where our mount is: a folder above its mount point may have been renamed."""
        entry = mounting.mounted_from(self._device, near=self._mountpoint) if self._device else None
        if entry is None:
            return None
        is_ours = self._fuse_fd >= 0 and is_connected(self._fuse_fd)
        # once its connection has ended it may be gone, and the next mount of anybody has got its device number (seen)
        return entry.mountpoint if is_ours or mounting.probe(entry.mountpoint) == "dead" else None

    def _take_down(self, failure: FailedError | None) -> None:
        """Unmount, end the worker, remove the folder: each within a bound, and none stopped by another's failure."""
        notify("STOPPING=1")
        is_unmounted = self._unmount()
        is_ended = self._workers is None or self._workers.end(grace_s=_STOPPING_S)
        if self._fuse_fd >= 0:
            os.close(self._fuse_fd)  # the last one, as a rule: what still waits for an answer gets ENOTCONN
            self._fuse_fd = -1
        if self._device is not None and not (is_unmounted and is_ended):
            self._abort(self._device)
        if self._folder is not None:
            crashed = failure is not None and failure.exit_status == 1
            if crashed:
                self._describe("crashed", reason=str(failure))
            self._folder.release(keep_log=crashed)

    def _unmount(self) -> bool:
        """Unmount, and return whether nothing waits for that any more."""
        for lazy in (False, True):
            if (mountpoint := self._mounted_at()) is None:
                return True
            try:
                unmounting.unmount(mountpoint, lazy=lazy, within_s=_UNMOUNTING_S, wait=self._wait)
            except TimeoutError:
                log.warning("unmounting takes long, because what is being read waits mountpoint=%s", mountpoint)
                return False
            except OSError as error:
                if lazy:
                    log.error("cannot unmount mountpoint=%s reason=%r", mountpoint, error.strerror)  # noqa: TRY400  the reason is the whole story
                    return False
                reason = "in use" if error.errno == errno.EBUSY else error.strerror
                log.warning("detaching mountpoint=%s reason=%r", mountpoint, reason)
            else:
                return True
        return False

    def _abort(self, device: str) -> None:
        """End what is left of the connection: a thread of a killed worker, or an unmount, may wait for an answer."""
        aborted = unmounting.abort(device, within_s=_UNMOUNTING_S, wait=self._wait)
        log.warning("aborting the connection mountpoint=%s aborted=%s", self._mountpoint, aborted)
        if (mountpoint := self._mounted_at()) is not None:
            with contextlib.suppress(OSError):  # TimeoutError too: it goes on by itself
                unmounting.unmount(mountpoint, lazy=True, within_s=_UNMOUNTING_S, wait=self._wait)

    def _wait(self, process: "subprocess.Popen[bytes]", within_s: float) -> int | None:
        """Wait for a process, and go on reading what the worker logs."""
        self._watch.add_child(process.pid, process.poll)
        return self._watch.until(lambda: process.returncode, within_s)

    def _describe(self, state: str, **more: str) -> None:
        restarts = self._workers.lives.facts if self._workers is not None else lives.Facts()
        facts = {
            "state": state,
            "pid": os.getpid(),
            "mountpoint": self._mountpoint,
            "source": self._source,
            "since_s": self._since_s,
            "log": self._log_path,
            "restarts": restarts.restarts,
            "restarted_at_s": restarts.at_s,
            "restart_reason": restarts.reason,
            **more,
        }
        if self._folder is not None:
            with contextlib.suppress(OSError):
                self._folder.describe(facts)

    def _report_ready(self) -> None:
        self._since_s = int(time.time())
        self._describe("mounted")
        log.info("mounted mountpoint=%s source=%s", self._mountpoint, self._source)
        self._report({"event": "ready", "pid": os.getpid()})
        notify(f"READY=1\nSTATUS=Serving {self._source} at {self._mountpoint}")

    def _report_end(self, failure: FailedError | None) -> None:
        if failure is None:
            message, status = "stopped before the mount was ready.", 1
        else:
            message, status = str(failure), failure.exit_status
            if self._plan["foreground"]:
                sys.stderr.write(f"modelfs: {message}\n")
        with contextlib.suppress(StopAskedError):
            self._report({"event": "failed", "message": message, "exit_status": status})

    def _report(self, message: dict[str, Any]) -> None:
        """Tell whoever waits for us, once."""
        if self._status_fd is None:
            return
        descriptor, self._status_fd = self._status_fd, None
        try:
            os.write(descriptor, json.dumps(message).encode() + b"\n")
        except BrokenPipeError as error:
            raise StopAskedError from error  # nobody would know of this mount
        finally:
            os.close(descriptor)

    def _see_log(self) -> str:
        return f". Its last words are in {self._log_path}" if self._log_path else ""


def _end_with_parent(pid: int) -> None:
    """Have SIGTERM sent to us when ``pid``, which started us, ends: prctl(2)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != pid:  # it has ended already
        sys.exit(1)


def main(arguments: Sequence[str]) -> int:
    """Run one mount and return the exit status."""
    parser = argparse.ArgumentParser(prog="modelfs.supervisor")
    parser.add_argument("--plan-fd", type=int, required=True)
    parser.add_argument("--status-fd", type=int)
    parser.add_argument("worker_command", nargs="*")
    options = parser.parse_args(arguments)
    with os.fdopen(options.plan_fd, "rb") as file:
        plan = json.load(file)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold the plan, whose URL may hold a secret
    if "parent_pid" in plan:
        _end_with_parent(plan["parent_pid"])
    if options.status_fd is not None:
        os.set_inheritable(options.status_fd, False)  # noqa: FBT003  the standard library's signature
    command = options.worker_command or WORKER_COMMAND
    return Supervisor(plan, worker_command=command, status_fd=options.status_fd).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
