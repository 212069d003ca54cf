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
from typing import Any, TypeVar

from modelfs.logs import RotatingLog
from modelfs.runtime import NOT_FOR_CHILDREN

T = TypeVar("T")

_MESSAGE_BYTES = 64 * 1024
_KILLED_S = 5.0
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

    def until(self, condition: Callable[[], T | None], within_s: float | None) -> T | None:
        """Serve events until ``condition`` returns something, and return that; None when the time is over."""
        deadline = None if within_s is None else time.monotonic() + within_s
        self._reap()  # a child may have ended before its SIGCHLD had a descriptor to go to
        while (found := condition()) is None:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return None
            for key, _ in self._selector.select(left):
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

    def __init__(self, watch: Watch, command: Sequence[str], *, plan: dict[str, Any], log: RotatingLog | None) -> None:
        """Start it by exec. Its standard error goes to ``log``, or where ours goes when there is none."""
        self._watch = watch
        self._log = log
        self._messages: deque[dict[str, Any]] = deque()
        self._init_answers: deque[bytes] = deque()
        self._report, report = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._init, init = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._stderr = -1
        plan_fd = os.memfd_create("plan")
        inherited = [plan_fd, report.fileno(), init.fileno()]
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

    def how_it_ended(self) -> str:
        """Return "status N" or the name of the signal that ended it."""
        code = self.process.returncode
        if code is not None and code < 0:
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
        if self._watch.until(lambda: self.ended or None, grace_s) is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            # a thread that waits for the kernel may keep the dead process for as long as its request lasts
            self._watch.until(lambda: self.ended or None, _KILLED_S)
        self._drain()
        for descriptor in (self._report.fileno(), self._init.fileno(), self._stderr):
            self._watch.remove(descriptor)
        self._report.close()
        self._init.close()
        if self.process.stderr is not None:
            self.process.stderr.close()
        return self.ended

    def _drain(self) -> None:
        """Take what a process that has just ended left behind: its last words may be read after its SIGCHLD."""
        if self.ended:
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
