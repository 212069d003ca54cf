"""The process that owns a mount: it mounts, starts the worker that serves, watches it, and unmounts.

Law: standard library only, no threads, never fork without exec, and no wait without a bound but the one for events
while all is well. It is small because it must outlive everything else: whatever happens to a worker, the FUSE
descriptor, the kernel's INIT request and the mount are here, so that another worker can take over.

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
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from modelfs import logs, mounting, runtime
from modelfs.fuse_protocol import raise_background_limit
from modelfs.watch import Watch, Worker

log = logging.getLogger("modelfs.supervisor")  # __name__ is "__main__" here

T = TypeVar("T")

WORKER_COMMAND = (sys.executable, "-P", "-m", "modelfs.worker")

_STARTING_S = 4.0
"""What a worker may need beside its listing: imports and credentials took 1.2 to 3.2 s. With the default bound of 10 s
for a page, every failing mount ends within 15 s."""
_HAND_OVER_S = 10.0
_STOPPING_S = 5.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class FailedError(Exception):
    """The mount did not come about, or did not stay; ``exit_status`` is what the process ends with."""

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status


class StopAskedError(Exception):
    """A signal asks us to end, or whoever started us is gone."""


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
        self._worker: Worker | None = None
        self._serving = False
        self._fuse_fd = -1
        self._init = b""
        self._device: str | None = None

    def run(self) -> int:
        """Mount, serve until the end, and return the exit status. Nothing is left behind but the log of a crash."""
        failure: FailedError | None = None
        try:
            self._prepare()
            self._worker = self._start_worker()
            self._await_listing(self._worker)
            self._mount()
            self._hand_over(self._worker)
            self._report_ready()
            self._serve(self._worker)
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

    def _start_worker(self) -> Worker:
        assert self._folder is not None  # noqa: S101  for the type checker: _prepare ran
        plan = {**self._plan, "runtime_folder": self._folder.path}
        return Worker(self._watch, self._worker_command, plan=plan, log=self._log)

    def _mount(self) -> None:
        wanted = self._plan["config"]["allow_other"]
        allow_other = os.geteuid() == 0 if wanted is None else wanted
        mounting.prepare_mount_point(self._mountpoint)  # again: the listing took its time, and others mount too
        try:
            self._fuse_fd, self._init = mounting.mount(self._mountpoint, source=self._source, allow_other=allow_other)
        except (OSError, subprocess.SubprocessError) as error:
            raise FailedError(f"mounting at {self._mountpoint} failed ({error}). Look at 'dmesg'.", 2) from error
        entry = mounting.mounted_at(self._mountpoint)
        self._device = entry.device if entry else None

    def _hand_over(self, worker: Worker) -> None:
        """Make ``worker`` the one that serves the mount, and pass its answer to INIT on to the kernel.

        libfuse reads INIT from a socket and answers into it; then the worker puts the real descriptor in its place.
        """
        worker.send_init(self._init)
        worker.send({"event": "mounted"}, [self._fuse_fd])
        answer = self._await(worker, worker.take_init_answer, what="agree on the protocol", within_s=_HAND_OVER_S)
        try:
            os.write(self._fuse_fd, raise_background_limit(answer))
        except OSError as error:
            raise FailedError(f"{self._mountpoint} was unmounted before it served. Mount it again.", 1) from error
        worker.send({"event": "go"})
        self._await_event(worker, "serving", what="begin to serve", within_s=_HAND_OVER_S)
        self._serving = True

    def _serve(self, worker: Worker) -> None:
        """Return when the mount was unmounted by somebody; raise when asked to stop or when the worker crashed."""
        self._watch.until(lambda: worker.ended or self._watch.stop_signal, None)
        if self._watch.stop_signal is not None:
            raise StopAskedError
        if self._mounted_at() is not None:
            log.error("worker ended unasked how=%r mountpoint=%s", worker.how_it_ended(), self._mountpoint)
            raise FailedError(f"the worker ended with {worker.how_it_ended()}{self._see_log()}.", 1)
        log.info("unmounted mountpoint=%s worker=%r", self._mountpoint, worker.how_it_ended())

    def _await(self, worker: Worker, take: Callable[[], T | None], *, what: str, within_s: float) -> T:
        def arrived() -> T | None:
            if self._watch.stop_signal is not None:
                raise StopAskedError
            found = take()
            if found is None and worker.ended:
                raise FailedError(f"the worker ended with {worker.how_it_ended()}{self._see_log()}.", 1)
            return found

        found = self._watch.until(arrived, within_s)
        if found is None:
            raise FailedError(f"the worker did not {what} within {within_s:g} s{self._see_log()}.", 1)
        return found

    def _await_listing(self, worker: Worker) -> None:
        """Wait until the worker has seen the repository.

        It has a bound of its own for each page of the listing, and reports "listing" after each; ours is for one that
        is stuck.
        """
        bound_s = self._plan["config"]["mount_timeout_s"] + _STARTING_S
        while self._await_event(worker, "listing", "listed", what="list the repository", within_s=bound_s) != "listed":
            notify(f"EXTEND_TIMEOUT_USEC={int(bound_s * 1e6)}")  # a large repository may outlast TimeoutStartSec

    def _await_event(self, worker: Worker, *events: str, what: str, within_s: float) -> str:
        message = self._await(worker, lambda: worker.take(*events, "failed"), what=what, within_s=within_s)
        if message["event"] == "failed":
            raise FailedError(str(message.get("message")), int(message.get("exit_status", 1)))
        return str(message["event"])

    def _mounted_at(self) -> str | None:
        """Return where our mount is: a folder above its mount point may have been renamed."""
        entry = mounting.mounted_from(self._device, near=self._mountpoint) if self._device else None
        return entry.mountpoint if entry else None

    def _take_down(self, failure: FailedError | None) -> None:
        """Unmount, end the worker, remove the folder: each within a bound, and none stopped by another's failure."""
        notify("STOPPING=1")
        if (mountpoint := self._mounted_at()) is not None:
            self._unmount(mountpoint)
        if self._worker is not None:
            self._worker.send({"event": "stop"})
            # before it serves, a worker holds nothing that is worth a wait
            if not self._worker.end(grace_s=_STOPPING_S if self._serving else 0.0):
                log.warning("worker cannot be ended yet pid=%d", self._worker.process.pid)
        if self._fuse_fd >= 0:
            os.close(self._fuse_fd)  # the last one: what still waits for an answer gets ENOTCONN
        if self._folder is not None:
            crashed = failure is not None and failure.exit_status == 1
            if crashed:
                self._describe("crashed", reason=str(failure))
            self._folder.release(keep_log=crashed)

    def _unmount(self, mountpoint: str) -> None:
        try:
            mounting.unmount(mountpoint, lazy=False)
        except (OSError, subprocess.SubprocessError) as error:
            busy = isinstance(error, OSError) and error.errno == errno.EBUSY
            log.warning("detaching mountpoint=%s reason=%r", mountpoint, "in use" if busy else str(error))
            try:
                mounting.unmount(mountpoint, lazy=True)
            except (OSError, subprocess.SubprocessError) as lazy_error:
                log.error("cannot unmount mountpoint=%s reason=%r", mountpoint, str(lazy_error))  # noqa: TRY400  the reason is the whole story

    def _describe(self, state: str, **more: str) -> None:
        facts = {
            "state": state,
            "pid": os.getpid(),
            "mountpoint": self._mountpoint,
            "source": self._source,
            "since_s": int(time.time()),
            "log": self._log_path,
            **more,
        }
        if self._folder is not None:
            with contextlib.suppress(OSError):
                self._folder.describe(facts)

    def _report_ready(self) -> None:
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


def notify(state: str) -> None:
    """Tell the service manager, if there is one: sdnotify(3)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.connect("\0" + address[1:] if address.startswith("@") else address)
            sock.send(state.encode())


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
