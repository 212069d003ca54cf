"""The requests that a dead worker had taken and not answered: who sent them waits, also after a SIGKILL.

Law: used only while no worker reads the descriptor, by the supervisor. No read here waits: the descriptor blocks for
those who share it, so it is made not to for as long as we read it ourselves.

From Linux 6.9 on the kernel sends them again when told to, and who waits sees nothing but a pause. One that was taken
by several workers of a short life, one after the other, may be what kills them: that one is ended with ESTALE and the
others are sent again, so that one file that cannot be served takes nothing from the rest.

Before 6.9 each has to be ended by its number, which nobody knows any more. Numbers rise, and an answer to one that
nobody waits for is refused and does no harm (2 us each). So all since the last takeover are ended with ESTALE: the
kernel then looks a path up again, opens a file again and reads a page that was read ahead again, by itself. An EIO
would reach whoever waits. A page that was read for itself alone is lost all the same, and its reader told so.
"""

import contextlib
import errno
import fcntl
import logging
import os
import select
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

from modelfs import fuse_protocol
from modelfs.fuse_protocol import RESENT, Request

log = logging.getLogger(__name__)

TAKEN_MOST = 3
"""By so many workers of a short life a request was taken before it is ended."""

_REQUESTS_MOST = 10_000  # as many as a worker takes at one time
_NUMBERS_MOST = 1_000_000
"""Requests of so long ago are ended too: 2 s. What waits for longer than a million others is a reader of a store that
is away."""
_PROVOKED_S = 2.0


class Outcome(NamedTuple):
    """What became of them. ``again`` is None where the kernel does not tell how many it sends again."""

    again: int | None
    ended: int


class LostRequests:
    """Those of one connection, whose ``descriptor`` this is, and ``init`` and ``init_answer`` its first words."""

    def __init__(self, descriptor: int, init: bytes, init_answer: bytes) -> None:
        self._descriptor = descriptor
        self._bytes = fuse_protocol.request_bytes_max(init_answer)
        self._taken: Counter[int] = Counter()
        self._ended_to = fuse_protocol.request_of(init).unique
        self.can_resend = fuse_protocol.can_resend(init)

    def send_again(self, *, was_short: bool) -> Outcome:
        """Have them sent again. ``was_short``: a worker of a short life has died with them.

        Raises OSError when the connection is gone.
        """
        if not was_short:
            self._taken.clear()
            os.write(self._descriptor, fuse_protocol.RESEND)
            return Outcome(None, 0)
        waiting = {request.number for request in self._read()}  # nobody has taken these but us, now
        os.write(self._descriptor, fuse_protocol.RESEND)
        lost = [each for each in self._read() if each.unique & RESENT and each.number not in waiting]
        self._taken = Counter({request.number: self._taken[request.number] + 1 for request in lost})
        suspects = [request for request in lost if self._taken[request.number] >= TAKEN_MOST]
        for request in suspects:
            log.error(
                "a request is given up: %d workers that had it have died within seconds request=%s inode=%d",
                TAKEN_MOST,
                request.name,
                request.inode,
            )
            self._end(request.unique)
        os.write(self._descriptor, fuse_protocol.RESEND)  # what was read just now
        return Outcome(len(lost) - len(suspects), len(suspects))

    def end(self, provoke: Callable[[], contextlib.AbstractContextManager[object]]) -> Outcome:
        """End them by their numbers, which are below that of the first that nobody has taken, and that one.

        ``provoke`` makes such a request, while it lasts. Raises OSError when the connection is gone.
        """
        with contextlib.ExitStack() as provoked:
            taken = self._read(1)
            if not taken:
                provoked.enter_context(provoke())
                readable = select.poll()
                readable.register(self._descriptor, select.POLLIN)
                readable.poll(_PROVOKED_S * 1000)
                taken = self._read(1)
            if not taken:
                log.warning("what the last worker had taken cannot be ended: the kernel sends no request")
                return Outcome(0, 0)
            newest = taken[0].number
            oldest = max(self._ended_to, newest - fuse_protocol.NUMBER_STEP * _NUMBERS_MOST)
            ended = sum(self._end(number) for number in range(newest, oldest, -fuse_protocol.NUMBER_STEP))
            self._ended_to = newest
            return Outcome(0, ended)

    def _read(self, most: int = _REQUESTS_MOST) -> list[Request]:
        """Take what waits to be read and is answered at some time, the oldest first."""
        flags = fcntl.fcntl(self._descriptor, fcntl.F_GETFL)
        fcntl.fcntl(self._descriptor, fcntl.F_SETFL, flags | os.O_NONBLOCK)
        try:
            return list(islice(self._read_now(), most))
        finally:
            fcntl.fcntl(self._descriptor, fcntl.F_SETFL, flags)

    def _read_now(self) -> Iterator[Request]:
        for _ in range(_REQUESTS_MOST):
            try:
                request = fuse_protocol.request_of(os.read(self._descriptor, self._bytes))
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in {errno.EINTR, errno.ENOENT}:  # the second: its sender was killed at this moment
                    continue
                raise
            if request.is_answered:
                yield request

    def _end(self, number: int) -> bool:
        """Answer ESTALE, and return whether somebody was waiting for it."""
        with contextlib.suppress(FileNotFoundError):
            os.write(self._descriptor, fuse_protocol.error_answer(number, errno.ESTALE))
            return True
        return False
