"""One connection, served by one thread: read a request, meet its faults, answer, again.

Law: only this thread closes the socket. Others call ``hang_up``, which shuts it down and so wakes every call that
blocks on it; a descriptor closed under a running sendfile could by then be another connection's.
"""

import logging
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from faultserver.answers import Answer, ApiError, status_error
from faultserver.api import Api, kind_of, page_of
from faultserver.auth import Bearer, Keys
from faultserver.faults import (
    Excess,
    Fault,
    Faults,
    Latency,
    Pacer,
    Rate,
    Reset,
    Stall,
    Status,
    TotalRate,
    Truncate,
)
from faultserver.lies import bent, dressed
from faultserver.log import Log, Record
from faultserver.objects import opened
from faultserver.wire import BadRequestError, Incoming, Request

log = logging.getLogger(__name__)

_MOST_AT_ONCE_BYTES = 1 << 20  # after each, look whether the server has become a black hole; costs nothing measurable
_PACED_S = 0.02  # a paced body is sent in pieces of this duration, so that a slow one flows rather than jumps


class Site:
    """What all connections of a server share. ``keys`` None lets everybody in."""

    def __init__(self, api: Api, keys: Keys | Bearer | None) -> None:
        self.api = api
        self.keys = keys
        self.log = Log()
        self.faults = Faults()
        self.swallowing = False
        self._changed = threading.Condition()

    def wait(self, until: Callable[[], bool], timeout_s: float | None = None) -> None:
        """Wait until the condition holds; it is looked at again after each ``wake``."""
        with self._changed:
            self._changed.wait_for(until, timeout_s)

    def wake(self) -> None:
        """Make all that wait look again."""
        with self._changed:
            self._changed.notify_all()


class _HangUpError(Exception):
    """The connection ends here, on purpose."""


class Connection:
    """Serves one client."""

    def __init__(self, sock: socket.socket, site: Site) -> None:
        self._sock = sock
        self._site = site
        self._incoming = Incoming(sock)
        self._pacers: dict[Fault, Pacer] = {}
        self._sent = 0
        self._hung_up = False

    def hang_up(self) -> None:
        """End the connection from another thread; ``Site.wake`` must follow."""
        self._hung_up = True
        with suppress(OSError):  # the client may have gone first
            self._sock.shutdown(socket.SHUT_RDWR)

    def serve(self) -> None:
        """Answer requests until one side ends the connection."""
        try:
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while self._exchange():
                pass
        except (OSError, _HangUpError):
            pass  # the client has gone, or a fault has ended the connection
        except Exception:
            log.exception("the fault server itself failed")
        finally:
            self._sock.close()

    def _exchange(self) -> bool:
        try:
            request = self._incoming.read_request()
        except BadRequestError as error:
            self._refuse(error)
            return False
        if request is None:
            return False
        self._pass_black_hole()
        request = self._site.api.understood(request)
        kind = kind_of(request)
        record = self._site.log.begin(
            method=request.method,
            kind=kind,
            bucket=request.bucket,
            key=request.key,
            query=dict(request.query),
            headers=dict(request.headers),
            page=page_of(request) if kind == "list" else 0,
        )
        self._sent = 0
        try:
            return self._answer(request, record)
        finally:
            self._site.log.end(record.number, self._sent)

    def _refuse(self, error: BadRequestError) -> None:
        record = self._site.log.begin(method="", kind="bad")
        self._sent = 0
        self._site.log.answered(record.number, error.status)
        try:
            answer = ApiError(error.status, "InvalidRequest", str(error)).answer("")
            self._sock.sendall(answer.head(keep_alive=False, number=record.number))
            self._send_body(answer, [])
            self._sock.shutdown(socket.SHUT_WR)
            self._sock.settimeout(0.2)
            # what is unread when a socket is closed resets it, and the reset could overtake the answer
            for _ in range(64):
                if not self._sock.recv(64 * 1024):
                    break
        finally:
            self._site.log.end(record.number, self._sent)

    def _answer(self, request: Request, record: Record) -> bool:
        faults = self._site.faults.on(record)
        for fault in faults:
            self._delay(fault)
        answer = self._compose(request, faults)
        if request.method == "HEAD" and answer.status >= 300:
            answer = Answer(answer.status, answer.headers)
        self._site.log.answered(record.number, answer.status)
        excess = sum(each.effect.extra_bytes for each in faults if isinstance(each.effect, Excess))
        keep_alive = request.keep_alive and not excess
        with_body = answer.length > 0 and request.method != "HEAD"
        head = answer.head(keep_alive=keep_alive, number=record.number)
        # one segment for head and body; but a fault may hold the body back, and a corked head would wait 200 ms
        self._sock.sendall(head, socket.MSG_MORE if with_body and not faults else 0)
        if with_body:
            self._send_body(answer, faults)
            self._sock.sendall(b"\xee" * excess)
        return keep_alive

    def _delay(self, fault: Fault) -> None:
        match fault.effect:
            case Latency(seconds):
                self._pause(fault, seconds)
            case Stall(None):
                self._pause(fault, None)
            case Reset(None):
                self._reset()

    def _compose(self, request: Request, faults: Sequence[Fault]) -> Answer:
        effects = [each.effect for each in faults]
        try:
            for effect in effects:
                if isinstance(effect, Status):
                    after = effect.retry_after_s
                    headers = () if after is None else (("Retry-After", str(after)),)
                    raise status_error(effect.status, effect.code, *headers)
            if self._site.keys is not None:
                self._site.keys.check(request)
            return dressed(self._site.api.answer(bent(request, effects)), request, effects)
        except ApiError as error:
            return self._site.api.refused(error, request)

    def _send_body(self, answer: Answer, faults: Sequence[Fault]) -> None:
        cuts = sorted(
            (
                (each.effect.after_bytes or 0, number)
                for number, each in enumerate(faults)
                if isinstance(each.effect, Stall | Reset | Truncate) and each.effect.after_bytes is not None
            ),
        )
        with opened(answer.body) as source:

            def send_until(stop: int) -> None:
                while self._sent < min(stop, answer.length):
                    self._pass_black_hole()
                    wanted = min(stop, answer.length) - self._sent
                    wanted = self._paced(min(wanted, _MOST_AT_ONCE_BYTES), faults)
                    sent = source.send(self._sock, answer.offset + self._sent, wanted)
                    if not sent:
                        raise _HangUpError  # the file on disk has been cut
                    self._sent += sent

            for after_bytes, number in cuts:
                send_until(after_bytes)
                self._cut(faults[number])
            send_until(answer.length)

    def _cut(self, fault: Fault) -> None:
        if isinstance(fault.effect, Stall):
            self._pause(fault, None)
        elif isinstance(fault.effect, Reset):
            self._reset()
        else:
            raise _HangUpError

    def _paced(self, wanted: int, faults: Sequence[Fault]) -> int:
        """Wait as the rates in force ask, and return how many bytes may go now: at most ``wanted``, at least one."""
        pacers = []
        for fault in faults:
            if fault.healed:
                continue
            if isinstance(fault.effect, Rate):
                pacers.append((fault, self._pacers.setdefault(fault, Pacer(fault.effect.bytes_per_s))))
            elif isinstance(fault.effect, TotalRate) and fault.pacer is not None:
                pacers.append((fault, fault.pacer))
        for _, pacer in pacers:
            wanted = min(wanted, max(1, int(pacer.bytes_per_s * _PACED_S)))
        for fault, pacer in pacers:
            self._pause(fault, pacer.reserve(wanted))
        return wanted

    def _pause(self, fault: Fault, timeout_s: float | None) -> None:
        self._site.wait(lambda: fault.healed or self._hung_up, timeout_s)
        if self._hung_up:
            raise _HangUpError

    def _pass_black_hole(self) -> None:
        if self._site.swallowing:
            self._site.wait(lambda: not self._site.swallowing or self._hung_up)
        if self._hung_up:
            raise _HangUpError

    def _reset(self) -> None:
        # closing with a linger time of zero sends RST instead of FIN
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise _HangUpError
