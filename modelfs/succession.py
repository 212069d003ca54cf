"""The workers of one mount, one after the other: the first, and those that take over when one dies.

Law: standard library only. Never do two workers read one descriptor: the next one is given it when nothing of the last
one can read from it any more. While nobody serves, requests wait in the kernel, and what the last worker had taken
is sent again or ended (``lost``) before the next one reads.

What a worker showed is in two anonymous files that are ours, so that the next one shows it at once.
"""

import contextlib
import logging
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from modelfs import fuse_protocol, lives
from modelfs.lives import Lives
from modelfs.logs import RotatingLog
from modelfs.lost import LostRequests, Outcome
from modelfs.service_manager import notify
from modelfs.watch import Watch, Worker

log = logging.getLogger(__name__)

T = TypeVar("T")

STARTING_S = 4.0
"""What a worker may need beside its listing: imports and credentials took 1.2 to 3.2 s. With the default bound of 10 s
for a page, every failing mount ends within 15 s."""
_TAKING_OVER_S = 60.0  # what was shown last is loaded meanwhile: 2 s for a million objects, and others may be busy
_HAND_OVER_S = 10.0
_LETTING_GO_S = 30.0  # how long a killed process may take to give its memory back
_REAPED_S = 0.05
_LOOK_S = 0.5
"""How often is looked for what nothing tells of: a worker half dead, and the end of a connection whose worker was
stopped. A look takes 30 us."""


class FailedError(Exception):
    """The mount did not come about, or did not stay; ``exit_status`` is what the process ends with."""

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status


class StopAskedError(Exception):
    """A signal asks us to end, or whoever started us is gone."""


class UnmountedError(Exception):
    """Somebody has unmounted, or ended the connection."""


class Succession:
    """Starts workers by ``command`` for ``plan``. ``on_change`` is told when one has died and when the next serves.

    ``see_log`` ends a sentence about a crash.
    """

    def __init__(
        self,
        watch: Watch,
        command: Sequence[str],
        plan: dict[str, Any],
        *,
        log_file: RotatingLog | None,
        see_log: str,
        on_change: Callable[[bool], None],
    ) -> None:
        self.lives = Lives()
        self._watch = watch
        self._command = command
        self._plan = plan
        self._log_file = log_file
        self._see_log = see_log
        self._on_change = on_change
        self._journal = [os.memfd_create(f"shown-{number}") for number in range(2)]
        self._worker: Worker | None = None
        self._former: list[Worker] = []  # dead ones; of some a thread is left, which holds the descriptor
        self._is_serving = False
        self._fuse_fd = -1
        self._init = self._init_answer = b""
        self._lost: LostRequests | None = None

    def list_first(self) -> None:
        """Start the first worker, and return when it has seen the repository."""
        self._worker = self._start(takes_over=False)
        self._await_listing(self._worker, self._plan["config"]["mount_timeout_s"] + STARTING_S)

    def serve(self, fuse_fd: int, init: bytes) -> None:
        """Have the first worker serve the mount whose descriptor this is, and which the kernel began with ``init``."""
        assert self._worker is not None  # noqa: S101  for the type checker: it has listed
        self._fuse_fd, self._init = fuse_fd, init
        try:
            answer = self._offer(self._worker, init)
            self._init_answer = fuse_protocol.raise_background_limit(answer)
            self._lost = LostRequests(fuse_fd, init, self._init_answer)
            os.write(fuse_fd, self._init_answer)
            self._go(self._worker)
        except (OSError, UnmountedError) as error:
            raise FailedError(f"{self._mountpoint} was unmounted before it served. Mount it again.", 1) from error

    def keep_serving(self) -> None:
        """Replace workers that die, and return when the mount was unmounted by somebody; raise when asked to stop.

        Raises FailedError when nobody can serve it.
        """
        with contextlib.suppress(UnmountedError):
            while True:
                self._watch.until(self._news, None, look_s=_LOOK_S)
                self._replace()

    def end(self, *, grace_s: float) -> bool:
        """Ask the worker to end, see that it does, and return whether nothing is left of it and of those before it."""
        if self._worker is None:
            return True
        self._worker.send({"event": "stop"})
        # before it serves, a worker holds nothing that is worth a wait
        is_ended = self._worker.end(grace_s=grace_s if self._is_serving else 0.0)
        return is_ended and all(former.ended for former in self._former)

    @property
    def _mountpoint(self) -> str:
        return str(self._plan["mountpoint"])

    def _news(self) -> bool | None:
        """Return True when the worker is dead; raise when it need not be replaced."""
        self._see_to_the_end()
        return True if self._worker is None or self._worker.is_dead else None

    def _see_to_the_end(self) -> None:
        if self._watch.stop_signal is not None:
            raise StopAskedError
        if self._fuse_fd >= 0 and not is_connected(self._fuse_fd):
            raise UnmountedError

    # replacing

    def _replace(self) -> None:
        """Have another worker serve."""
        while True:
            self._note_death()
            self._watch.until(self._wait_out, self.lives.pause_s, look_s=_LOOK_S)
            try:
                self._take_over()
            except FailedError as error:
                log.error("a worker could not take over mountpoint=%s because=%r", self._mountpoint, str(error))  # noqa: TRY400  the reason is the whole story
                if self.lives.is_hopeless(time.monotonic()):
                    what = f"no worker has served for {lives.UNSERVED_MOST_S:.0f} s"
                    raise FailedError(f"{what}: {error}", 1) from error
            else:
                return

    def _wait_out(self) -> None:
        self._see_to_the_end()

    def _note_death(self) -> None:
        assert self._worker is not None  # noqa: S101  for the type checker: there was one from the beginning
        worker = self._worker
        self._watch.until(lambda: worker.ended or None, _REAPED_S)  # its end may be about to be told
        self._see_to_the_end()
        self._is_serving = False
        how = worker.how_it_ended()
        self.lives.ended(time.monotonic(), how, at_s=time.time())
        log.warning(
            "the worker died and is replaced; readers wait meanwhile how=%r mountpoint=%s restarts=%d pause_s=%g",
            how,
            self._mountpoint,
            self.lives.facts.restarts,
            self.lives.pause_s,
        )
        self._on_change(False)  # noqa: FBT003  what it means stands in the docstring

    def _take_over(self) -> None:
        """Start the next worker, and give it the mount once the last one has let go of it."""
        last = self._worker
        assert last is not None  # noqa: S101  for the type checker: see above
        assert self._lost is not None  # noqa: S101  for the type checker: a first worker has served
        began_s = time.monotonic()
        last.release()
        self._former = [former for former in self._former if not former.ended and former is not last] + [last]
        self._worker = worker = self._start(takes_over=True)
        try:
            self._await_listing(worker, _TAKING_OVER_S)
            self._await_letting_go(worker)
            self._offer(worker, fuse_protocol.init_again(self._init, self._init_answer))
            outcome = self._see_to_lost(self._lost)
            self._go(worker)
        except FailedError:
            worker.end(grace_s=0.0)
            raise
        log.warning(
            "the next worker serves mountpoint=%s after_s=%.1f sent_again=%s given_up=%d",
            self._mountpoint,
            time.monotonic() - began_s,
            "all" if outcome.again is None else outcome.again,
            outcome.ended,
        )
        self._on_change(True)  # noqa: FBT003  what it means stands in the docstring

    def _await_letting_go(self, worker: Worker) -> None:
        """Wait until no worker before this one can read from the descriptor."""
        what = "be given the mount, because the last one does not end,"
        self._await(worker, self._have_let_go, what=what, within_s=_LETTING_GO_S)

    def _have_let_go(self) -> bool | None:
        return all(former.has_let_go for former in self._former) or None

    def _see_to_lost(self, lost: LostRequests) -> Outcome:
        try:
            if lost.can_resend:
                return lost.send_again(was_short=self.lives.was_short)
            return lost.end(self._provoked)
        except OSError as error:
            raise UnmountedError from error

    @contextlib.contextmanager
    def _provoked(self) -> Iterator[None]:
        """Have the kernel send a request, which nobody needs an answer to."""
        code = f"import os\nos.statvfs({self._mountpoint!r})"
        child = subprocess.Popen([sys.executable, "-ISc", code], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._watch.add_child(child.pid, child.poll)
        try:
            yield
        finally:
            child.kill()

    # one worker

    def _start(self, *, takes_over: bool) -> Worker:
        plan = {**self._plan, "journal_fds": self._journal, "takes_over": takes_over}
        try:
            return Worker(self._watch, self._command, plan=plan, log=self._log_file, descriptors=self._journal)
        except OSError as error:  # a limit of the machine
            raise FailedError(f"a worker cannot be started ({error.strerror}).", 1) from error

    def _offer(self, worker: Worker, init: bytes) -> bytes:
        """Give ``worker`` the descriptor and ``init``, and return libfuse's answer.

        libfuse reads INIT from a socket and answers into it; then the worker puts the real descriptor in its place.
        """
        worker.send_init(init)
        worker.send({"event": "mounted"}, [self._fuse_fd])
        return self._await(worker, worker.take_init_answer, what="agree on the protocol", within_s=_HAND_OVER_S)

    def _go(self, worker: Worker) -> None:
        worker.send({"event": "go"})
        self._await_event(worker, "serving", what="begin to serve", within_s=_HAND_OVER_S)
        self._is_serving = True
        self.lives.serves(time.monotonic())

    def _await_listing(self, worker: Worker, bound_s: float) -> None:
        """Wait until the worker has something to show.

        It has a bound of its own for each page of the listing, and reports "listing" after each; ours is for one that
        is stuck.
        """
        while self._await_event(worker, "listing", "listed", what="list the repository", within_s=bound_s) != "listed":
            notify(f"EXTEND_TIMEOUT_USEC={int(bound_s * 1e6)}")  # a large repository may outlast TimeoutStartSec

    def _await(self, worker: Worker, take: Callable[[], T | None], *, what: str, within_s: float) -> T:
        def arrived() -> T | None:
            self._see_to_the_end()
            found = take()
            if found is None and worker.is_dead:
                raise FailedError(f"the worker ended with {worker.how_it_ended()}{self._see_log}.", 1)
            return found

        found = self._watch.until(arrived, within_s, look_s=_LOOK_S)
        if found is None:
            raise FailedError(f"the worker did not {what} within {within_s:g} s{self._see_log}.", 1)
        return found

    def _await_event(self, worker: Worker, *events: str, what: str, within_s: float) -> str:
        message = self._await(worker, lambda: worker.take(*events, "failed"), what=what, within_s=within_s)
        if message["event"] == "failed":
            raise FailedError(str(message.get("message")), int(message.get("exit_status", 1)))
        return str(message["event"])


def is_connected(fuse_fd: int) -> bool:
    """Tell whether the kernel still sends requests to this descriptor: not after an unmount or an abort."""
    errors = select.poll()
    errors.register(fuse_fd, 0)
    return not errors.poll(0)
