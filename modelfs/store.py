"""What modelfs asks of a store, and the one retry loop and one deadline around every request.

Law: a Store's methods are plain blocking calls, made in worker threads; they do one try each and raise only the
exceptions of ``errors``. Retrying is decided here and nowhere else: the libraries' own retries are off, because
retries inside retries multiply (s3fs alone: 5 x 5).
"""

import logging
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

import trio

from modelfs.blocks import ObjectInfo
from modelfs.errors import StoreUnavailableError

log = logging.getLogger(__name__)

T = TypeVar("T")


class Store(Protocol):
    """Lists and reads the objects of one repository. Thread-safe; one request, one try, for each call."""

    def list_pages(self) -> Iterator[list[ObjectInfo]]:
        """Yield every object below the prefix, page by page, in no particular order.

        A page costs one request (at most 1,000 keys) when it is asked for. An iteration that ends without an
        exception was complete. Keys are as in ``ObjectInfo``. An empty or absent prefix is an empty listing; a
        missing bucket or root folder raises ObjectNotFoundError.
        """
        ...

    def read(self, info: ObjectInfo, offset: int, length: int) -> memoryview:
        """Return exactly ``[offset, offset + length)`` of this version of this object, as a read-only buffer.

        ``0 <= offset``, ``1 <= length``, ``offset + length <= info.size``. Raises VersionGoneError when the store
        no longer serves that version (replaced or deleted), CorruptAnswerError when the answer has another length,
        StoreUnavailableError on errors worth a retry, AccessRefusedError when the credentials are refused.
        """
        ...


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to go on: full-jitter exponential back-off until ``deadline_s`` have passed since the first try."""

    deadline_s: float
    first_pause_s: float = 0.1
    longest_pause_s: float = 10.0

    def pause_s(self, attempt: int) -> float:
        """Return the pause after failed try number ``attempt`` (from 0): random, in (0, bound]."""
        bound = min(self.longest_pause_s, self.first_pause_s * 2.0 ** min(attempt, 32))
        return bound * (1.0 - random.random())  # noqa: S311  spreads load, guards nothing


async def in_thread_with_retries(
    request: Callable[[], T], *, what: str, policy: RetryPolicy, limiter: trio.CapacityLimiter
) -> T:
    """Run the blocking ``request`` in a thread until it succeeds, and return its result.

    Only StoreUnavailableError (and its kinds) is tried again; the last one is raised when the deadline has passed.
    The pause is spent without a thread. A cancelled caller abandons the thread, whose own time-outs end it.
    """
    deadline = trio.current_time() + policy.deadline_s
    attempt = 0
    while True:
        try:
            return await trio.to_thread.run_sync(request, limiter=limiter, abandon_on_cancel=True)
        except StoreUnavailableError as error:
            pause = policy.pause_s(attempt)
            if trio.current_time() + pause >= deadline:
                raise
            # the first failures are the weather; one that lasts is for an operator
            level = logging.WARNING if attempt in (3, 10, 30, 100) else logging.INFO
            log.log(
                level,
                "trying again what=%r attempt=%d pause_s=%.1f error=%s",
                what,
                attempt + 1,
                pause,
                error,
            )
        attempt += 1
        await trio.sleep(pause)
