"""What the supervisor waits for: signals, children, messages of the worker; and the worker as the supervisor sees it.

Law: standard library only, one selector, no threads. Nothing here blocks but ``Watch.until``, and that within a bound
that its caller names.
"""

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from modelfs.logs import RotatingLog
from modelfs.runtime import NOT_FOR_CHILDREN

T = TypeVar("T")

_MESSAGE_BYTES = 64 * 1024
_KILLED_S = 5.0
_REAPED_S = 1.0
_LOOK_S = 0.05
_DEAD = ("Z", "X")  # states of a thread that is no more: proc_pid_stat(5)
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


class Watch:
    """Waits for signals, for children to end, and for descriptors to become readable."""

    def __init__(self) -> None:
        self.stop_signal: int | None = None
        self._selector = selectors.DefaultSelector()
        self._polls: dict[int, Callable[[], object]] = {}
        self._wakeup, written = socket.socketpair()
        self._wakeup.setblocking(False)  # noqa: FBT003  the standard library's signature
        written.setblocking(False)  # noqa: FBT003  the standard library's signature
        self._written = written
        self.add(self._wakeup.fileno(), self._on_signal)
        signal.set_wakeup_fd(written.fileno(), warn_on_full_buffer=False)
        for number in (*_STOP_SIGNALS, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)  # the number arrives through the descriptor

    def add(self, descriptor: int, on_readable: Callable[[], None]) -> None:
        """Call ``on_readable`` during ``until`` whenever ``descriptor`` is readable or at its end."""
        self._selector.register(descriptor, selectors.EVENT_READ, on_readable)

    def remove(self, descriptor: int) -> None:
        """Forget ``descriptor``, if it is known."""
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(descriptor)

    def add_child(self, pid: int, poll: Callable[[], object]) -> None:
        """Leave the reaping of ``pid`` to ``poll``. Other children (of PID 1) are reaped and forgotten."""
        self._polls[pid] = poll

    def until(
        self, condition: Callable[[], T | None], within_s: float | None, *, look_s: float | None = None
    ) -> T | None:
        """Serve events until ``condition`` returns something, and return that; None when the time is over.

        The condition is asked after each event, and every ``look_s`` for what comes without one.
        """
        deadline = None if within_s is None else time.monotonic() + within_s
        self._reap()  # a child may have ended before its SIGCHLD had a descriptor to go to
        while (found := condition()) is None:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return None
            times = [each for each in (left, look_s) if each is not None]
            for key, _ in self._selector.select(min(times, default=None)):
                key.data()
        return found

    def _on_signal(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in self._wakeup.recv(4096):
                if number in _STOP_SIGNALS and self.stop_signal is None:
                    self.stop_signal = number
        self._reap()

    def _reap(self) -> None:
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            poll = self._polls.pop(ended.si_pid, None)
            if poll is not None:
                poll()
            else:
                os.waitpid(ended.si_pid, 0)


class Worker:
    """The serving process: its messages, its end of the INIT exchange, its log, and how it ended."""

    def __init__(
        self,
        watch: Watch,
        command: Sequence[str],
        *,
        plan: dict[str, Any],
        log: RotatingLog | None,
        descriptors: Sequence[int] = (),
    ) -> None:
        """Start it by exec. Its standard error goes to ``log``, or where ours goes when there is none.

        It inherits ``descriptors``, under their numbers.
        """
        self._watch = watch
        self._log = log
        self._messages: deque[dict[str, Any]] = deque()
        self._init_answers: deque[bytes] = deque()
        self._report, report = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._init, init = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._stderr = -1
        self._is_released = False
        plan_fd = os.memfd_create("plan")
        inherited = [plan_fd, report.fileno(), init.fileno(), *descriptors]
        options = ["--plan-fd", str(plan_fd), "--report-fd", str(report.fileno()), "--init-fd", str(init.fileno())]
        os.write(plan_fd, json.dumps(plan).encode())
        os.lseek(plan_fd, 0, os.SEEK_SET)
        environment = {name: value for name, value in os.environ.items() if name not in NOT_FOR_CHILDREN}
        self.process = subprocess.Popen(
            [*command, *options],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE if log else None,
            pass_fds=inherited,
            env=environment,
            start_new_session=True,  # a terminal's Ctrl-C is for us: we unmount first
        )
        os.close(plan_fd)
        report.close()
        init.close()
        watch.add_child(self.process.pid, self.process.poll)
        self._receive_from(self._report, self._on_message)
        self._receive_from(self._init, self._init_answers.append)
        if self.process.stderr is not None:
            self._stderr = self.process.stderr.fileno()
            os.set_blocking(self._stderr, False)
            watch.add(self._stderr, self._on_stderr)

    @property
    def ended(self) -> bool:
        """Whether the process has ended. All that it said before is then here."""
        return self.process.returncode is not None

    @property
    def is_dead(self) -> bool:
        """Whether it will never run again: it has ended, or its first thread has and others wait in the kernel.

        A thread that waits for a page, as one does that pushes, is left behind by a SIGKILL until that page is read,
        and the process with it. Nothing tells of that: it has to be looked at.
        """
        return self.ended or _state(f"/proc/{self.process.pid}/stat") in _DEAD

    @property
    def has_let_go(self) -> bool:
        """Whether nothing of it reads from the descriptor that it served, now or later.

        What may be left of a dead one are threads that wait in the kernel, and the first one, which reads, is none.
        """
        if self.ended:
            return True
        left = [_state(f"{path}/stat") for path in _threads(self.process.pid)]
        return self.is_dead and all(state in {"", "D", *_DEAD} for state in left)

    def how_it_ended(self) -> str:
        """Return "status N" or the name of the signal that ended it."""
        code = self.process.returncode
        if code is None:  # exit_code of proc_pid_stat(5), of the first thread
            code = os.waitstatus_to_exitcode(int((_stat(f"/proc/{self.process.pid}/stat") or ["0"])[-1]))
        if code < 0:
            with contextlib.suppress(ValueError):
                return f"signal {signal.Signals(-code).name}"
        return f"status {code}"

    def send(self, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Send ``message``. A worker that is gone does not hear it, and its end is noticed elsewhere."""
        with contextlib.suppress(OSError):
            socket.send_fds(self._report, [json.dumps(message).encode()], list(descriptors))

    def send_init(self, request: bytes) -> None:
        """Send the kernel's INIT request, which libfuse will read as if it came from the kernel."""
        with contextlib.suppress(OSError):
            self._init.send(request)

    def take_init_answer(self) -> bytes | None:
        """Return libfuse's answer to INIT once it is here."""
        self._drain()
        return self._init_answers.popleft() if self._init_answers else None

    def take(self, *events: str) -> dict[str, Any] | None:
        """Return the next message that is one of ``events``, and drop those before it."""
        self._drain()
        while self._messages:
            message = self._messages.popleft()
            if message.get("event") in events:
                return message
        return None

    def end(self, *, grace_s: float) -> bool:
        """Wait for the process to end, kill it when it does not, and return whether it is gone."""
        if self._watch.until(lambda: self.is_dead or None, grace_s, look_s=_LOOK_S) is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            self._watch.until(lambda: self.is_dead or None, _KILLED_S, look_s=_LOOK_S)
        # a thread that waits for the kernel may keep the dead process for as long as its request lasts
        self._watch.until(lambda: self.ended or None, _REAPED_S)
        self.release()
        return self.ended

    def release(self) -> None:
        """Take its last words, and let go of what leads to it. It is still reaped when it ends."""
        if self._is_released:
            return
        self._is_released = True
        self._take_all()
        for descriptor in (self._report.fileno(), self._init.fileno(), self._stderr):
            self._watch.remove(descriptor)
        self._report.close()
        self._init.close()
        if self.process.stderr is not None:
            self.process.stderr.close()

    def _drain(self) -> None:
        """Take what a process that has just ended left behind: its last words may be read after its SIGCHLD."""
        if self.ended:
            self._take_all()

    def _take_all(self) -> None:
        for sock, sink in ((self._report, self._on_message), (self._init, self._init_answers.append)):
            while self._receive(sock, sink):
                pass
        if self._stderr >= 0:
            self._on_stderr()

    def _receive_from(self, sock: socket.socket, sink: Callable[[bytes], None]) -> None:
        sock.setblocking(False)  # noqa: FBT003  the standard library's signature

        def on_readable() -> None:
            if not self._receive(sock, sink):
                self._watch.remove(sock.fileno())

        self._watch.add(sock.fileno(), on_readable)

    @staticmethod
    def _receive(sock: socket.socket, sink: Callable[[bytes], None]) -> bool:
        try:
            data = sock.recv(_MESSAGE_BYTES)
        except OSError:
            return False
        if data:
            sink(data)
        return bool(data)

    def _on_message(self, data: bytes) -> None:
        with contextlib.suppress(ValueError):
            message = json.loads(data)
            if isinstance(message, dict):
                self._messages.append(message)

    def _on_stderr(self) -> None:
        for _ in range(64):  # at most 4 MiB at once: other events wait
            try:
                data = os.read(self._stderr, 64 * 1024)
            except OSError:
                return
            if not data:
                self._watch.remove(self._stderr)
                return
            if self._log is not None:
                self._log.write_bytes(data)


def _threads(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []


def _state(path: str) -> str:
    """Return the state of a process or a thread, "" when there is none."""
    return (_stat(path) or [""])[0]


def _stat(path: str) -> list[str]:
    """Return what proc_pid_stat(5) tells from the state on; nothing when there is none."""
    try:
        return Path(path).read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
