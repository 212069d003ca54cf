"""What a dead worker had taken, on a real descriptor of the kernel: sent again, or ended, and nobody waits for ever."""

import contextlib
import fcntl
import os
import random
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from supervised import needs_fuse

from modelfs import fuse_protocol, lost, mounting
from modelfs.fuse_protocol import Request
from modelfs.lost import TAKEN_MOST, LostRequests

pytestmark = [pytest.mark.fuse, needs_fuse]

_STATFS = struct.Struct("=QQQQQIIII24x")


class Connection:
    """A mount that nobody serves but the test, request by request; and processes that ask it for its statfs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor, self.init = mounting.mount(str(path), source="test", allow_other=False)
        unique = fuse_protocol.request_of(self.init).unique
        # struct fuse_init_out: protocol 7.31, read-ahead, the flag ASYNC_READ, background limits, max_write, the rest
        self.answer = struct.pack("=IiQIIIIHHI40x", 80, 0, unique, 7, 31, 131072, 1, 64, 48, 131072)
        os.write(self.descriptor, self.answer)
        self.asking: list[subprocess.Popen[bytes]] = []

    def ask(self, count: int = 1) -> None:
        """Have so many processes wait for an answer."""
        code = f"import os\ntry: os.statvfs({str(self.path)!r})\nexcept OSError as e: os._exit(e.errno)"
        self.asking += [subprocess.Popen([sys.executable, "-ISc", code]) for _ in range(count)]

    def take(self) -> Request:
        """Take one request, as a worker does."""
        return fuse_protocol.request_of(os.read(self.descriptor, 1 << 20))

    def serve(self, request: Request) -> None:
        """Answer a request as it should be."""
        body = _STATFS.pack(*(0,) * 9)
        os.write(self.descriptor, struct.pack("=IiQ", 16 + len(body), 0, request.unique) + body)

    def codes(self) -> list[int]:
        """Wait for all who ask, and return the errno that each was told.

        Whoever else looks at all mounts of the machine, a container that starts, may have been taken in place of one of
        them. So what still waits to be taken is answered.
        """
        readable = select.poll()
        readable.register(self.descriptor, select.POLLIN)
        until_s = time.monotonic() + 60
        while any(process.poll() is None for process in self.asking) and time.monotonic() < until_s:
            if readable.poll(10):
                self.serve(self.take())
        return [process.wait(0.1) for process in self.asking]

    def close(self) -> None:
        os.close(self.descriptor)
        if mounting.mounted_at(str(self.path)) is not None:
            mounting.unmount(str(self.path), lazy=True)
        for process in self.asking:
            process.wait(60)

    @contextlib.contextmanager
    def provoked(self) -> Iterator[None]:
        self.ask()
        yield


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    connection = Connection(tmp_path)
    yield connection
    connection.close()


def requests_of(connection: Connection) -> LostRequests:
    return LostRequests(connection.descriptor, connection.init, connection.answer)


needs_resend = pytest.mark.skipif(
    tuple(int(number) for number in os.uname().release.split(".")[:2]) < (6, 9), reason="needs Linux 6.9"
)


@needs_resend
@pytest.mark.parametrize("was_short", [False, True])
def test_all_that_was_taken_can_be_taken_again(connection: Connection, was_short: bool) -> None:  # noqa: FBT001  a parameter of the test
    requests = requests_of(connection)
    assert requests.can_resend
    connection.ask(5)
    taken = {connection.take().number for _ in range(5)}
    outcome = requests.send_again(was_short=was_short)
    assert outcome == ((5, 0) if was_short else (None, 0))
    again = [connection.take() for _ in range(5)]
    assert {request.number for request in again} == taken
    for request in again:
        connection.serve(request)
    assert connection.codes() == [0] * 5


@needs_resend
def test_only_what_several_workers_of_a_short_life_had_taken_is_given_up(
    connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    requests = requests_of(connection)
    connection.ask()
    connection.take()
    for death in range(1, TAKEN_MOST + 1):
        connection.ask()
        other = connection.take().number
        is_last = death == TAKEN_MOST
        assert requests.send_again(was_short=True) == ((1, 1) if is_last else (2, 0))
        again = [connection.take(), connection.take()]  # at last also what the kernel asks once more by itself
        for request in again:
            if is_last or request.number == other:
                connection.serve(request)
    assert connection.codes() == [0] * (1 + TAKEN_MOST)
    assert "request=STATFS inode=1" in caplog.text


@needs_resend
@pytest.mark.parametrize("seed", range(5))
def test_what_waited_while_workers_died_is_not_suspected(connection: Connection, seed: int) -> None:
    requests, chance, asking = requests_of(connection), random.Random(seed), 4
    connection.ask(asking)
    taken: dict[int, int] = {}  # how often in a row
    for _ in range(100):
        now = {connection.take().number for _ in range(chance.randint(0, asking))}
        taken = {number: taken.get(number, 0) + 1 for number in now}
        suspects = [number for number, times in taken.items() if times == TAKEN_MOST]
        outcome = requests.send_again(was_short=True)
        assert outcome == (len(taken) - len(suspects), len(suspects))
        if suspects:
            break
    for _ in range(asking):  # who was given up asks once more
        connection.serve(connection.take())
    assert connection.codes() == [0] * asking


@needs_resend
def test_a_long_life_in_between_clears_the_suspicion(connection: Connection) -> None:
    requests = requests_of(connection)
    connection.ask()
    connection.take()
    for death in range(5 * TAKEN_MOST):
        was_short = death % TAKEN_MOST != 0
        assert requests.send_again(was_short=was_short).ended == 0
        request = connection.take()
    connection.serve(request)
    assert connection.codes() == [0]


def test_what_was_taken_is_ended_by_its_number_and_the_kernel_asks_again_by_itself(connection: Connection) -> None:
    requests = requests_of(connection)
    for _ in range(2):  # the second time only what came since
        connection.ask(5)
        taken = {connection.take().unique for _ in range(5)}
        assert requests.end(connection.provoked) == (0, 6)
        again = [connection.take() for _ in range(6)]
        assert not {request.unique for request in again} & taken
        for request in again:
            connection.serve(request)
    assert connection.codes() == [0] * 12


def test_the_first_request_that_waits_tells_the_last_number_and_the_others_stay(connection: Connection) -> None:
    requests = requests_of(connection)
    connection.ask()
    connection.take()
    connection.ask(3)
    select.select([connection.descriptor], [], [], 60)

    def nobody_need_be_provoked() -> NoReturn:
        raise AssertionError

    assert requests.end(nobody_need_be_provoked) == (0, 2)
    for _ in range(4):
        connection.serve(connection.take())
    assert connection.codes() == [0] * 4


def test_where_no_request_comes_nothing_can_be_ended_and_the_log_says_so(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lost, "_PROVOKED_S", 0.01)
    assert requests_of(connection).end(contextlib.nullcontext) == (0, 0)
    assert "cannot be ended" in caplog.text


@pytest.mark.parametrize("can_resend", [pytest.param(True, marks=needs_resend), False])
def test_who_was_killed_while_waiting_is_let_go(connection: Connection, can_resend: bool) -> None:  # noqa: FBT001  a parameter of the test
    requests = requests_of(connection)
    connection.ask()
    connection.take()
    connection.asking[0].kill()  # it waits on: the kernel has sent what it asked, and sends an INTERRUPT
    select.select([connection.descriptor], [], [], 60)
    if can_resend:
        requests.send_again(was_short=True)
        connection.serve(connection.take())
    else:
        requests.end(connection.provoked)
        connection.serve(connection.take())
    assert connection.asking[0].wait(60) == -signal.SIGKILL


def test_the_descriptor_blocks_as_before_for_those_who_share_it(connection: Connection) -> None:
    before = fcntl.fcntl(connection.descriptor, fcntl.F_GETFL)
    requests_of(connection).end(connection.provoked)
    assert fcntl.fcntl(connection.descriptor, fcntl.F_GETFL) == before
    connection.serve(connection.take())


def test_a_connection_that_is_gone_is_told(connection: Connection) -> None:
    requests = requests_of(connection)
    mounting.unmount(str(connection.path), lazy=False)
    with pytest.raises(OSError, match=r"No such device|not permitted"):
        requests.send_again(was_short=True)
    with pytest.raises(OSError, match=r"No such device|not permitted"):
        requests.end(contextlib.nullcontext)
