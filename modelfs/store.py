"""What modelfs asks of a store, and the one retry loop and one deadline around every request.

Law: a Store's methods are plain blocking calls, made in worker threads; they do one try each and raise only the
exceptions of ``errors``. Retrying is decided here and nowhere else: the libraries' own retries are off, because
retries inside retries multiply (s3fs alone: 5 x 5).
"""

import logging
import math
import random
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

import trio

from modelfs.blocks import ObjectInfo
from modelfs.errors import CorruptAnswerError, ModelfsError, StoreUnavailableError
from modelfs.spans import Cut
from modelfs.uploads import Upload

log = logging.getLogger(__name__)

T = TypeVar("T")


class Page(NamedTuple):
    """One page of a listing, and the token that asks for the next one; None after the last page.

    ``folders`` ("m/", "m/1/") are those of a listing of one level: all that lies below begins so.
    """

    objects: list[ObjectInfo]
    next_token: str | None
    folders: tuple[str, ...] = ()


class Store(Protocol):
    """Lists and reads the objects of one repository. Thread-safe; one request, one try, for each call."""

    def list_page(self, token: str | None, folder: str = "") -> Page:
        """Return the page of the flat listing of ``folder`` that ``token`` names; None names the first.

        ``folder`` is "" for the whole repository, else it ends in a slash, and exactly the keys that begin with it
        are listed: "m/" lists "m/", "m/x" and "m/1/x", and none of "m", "m-2/x" and "mm/x".

        One request, at most 1,000 keys where the store pages, in no particular order; keys as in ``ObjectInfo``. A
        page that failed can be asked for again with the same token, so a listing survives a failing page without
        starting over, and is complete exactly when ``next_token`` is None. An empty or absent folder is an empty
        page; a missing bucket or root folder raises ObjectNotFoundError. The marker of ``folder`` itself may be
        missing, since Azure has it under a name without the slash.
        """
        ...

    def read(self, info: ObjectInfo, offset: int, length: int) -> memoryview:
        """Return exactly ``[offset, offset + length)`` of this version of this object, as a read-only buffer.

        ``0 <= offset``, ``1 <= length``, ``offset + length <= info.size``. Raises VersionGoneError when the store
        no longer serves that version (replaced or deleted), CorruptAnswerError when the answer has another length,
        StoreUnavailableError on errors worth a retry, AccessRefusedError when the credentials are refused.
        """
        ...


class Lists(Protocol):
    """The listing half of a Store."""

    def list_page(self, token: str | None, folder: str = "") -> Page:
        """Return a page; see ``Store.list_page``."""
        ...


@runtime_checkable
class Splittable(Protocol):
    """A Store whose listing is in the order of the keys' bytes and can begin and end anywhere.

    So that parts of it can be asked for side by side.
    """

    def list_span_page(self, token: str | None, begin: Cut | None, end: Cut | None) -> Page:
        """Return the page that ``token`` names of what lies between two cuts; None is the end of the repository.

        As ``Store.list_page``. Each key is in exactly one of the spans that some cuts make, also one that was not
        there when the cuts were made. Raises UnsortedError where the store does not keep to the order, or to the cuts.
        """
        ...


@runtime_checkable
class Levelled(Protocol):
    """A Store that can list one folder without what lies below its folders."""

    def list_level_page(self, token: str | None, folder: str = "") -> Page:
        """Return the page that ``token`` names of the objects in ``folder`` itself, and of the folders in it.

        As ``Store.list_page``; objects and folders together are at most 1,000, and each is told once.
        """
        ...


class UploadPage(NamedTuple):
    """One page of uploads, and the token that asks for the next one; None after the last page."""

    uploads: list[Upload]
    next_token: str | None


@runtime_checkable
class Uploading(Protocol):
    """A Store that tells which uploads have begun and not ended."""

    def list_uploads_page(self, token: str | None, folder: str = "") -> UploadPage:
        """Return the page that ``token`` names of the uploads of keys in ``folder``, which is as in ``list_page``.

        One request. There may be some that have ended, as objects that ``list_page`` tells and that are as new.
        """
        ...


class Reader(Protocol):
    """Fetches the bytes for a cloud's Store, which lists by itself: the part of it that an engine is. Thread-safe."""

    @property
    def name(self) -> str:
        """Return what people know it as."""
        ...

    @property
    def unreadable(self) -> re.Pattern[str]:
        """Return what matches in each key that it cannot ask for."""
        ...

    def read(self, info: ObjectInfo, offset: int, length: int) -> memoryview:
        """Return the bytes, in one try that is pinned to the version; see ``Store.read``."""
        ...


class Facts(NamedTuple):
    """What a store knows of itself, for people.

    ``expires_at_s`` is Unix time; None is never, or unknown. ``renews``: the credentials see to that themselves.
    ``engine`` names who fetches the bytes.
    """

    endpoint: str
    identity: str
    region: str = ""
    expires_at_s: float | None = None
    renews: bool = False
    engine: str = ""


@runtime_checkable
class Telling(Protocol):
    """A Store that knows more than a folder does."""

    def facts(self) -> Facts:
        """Return what is known now. May ask a credential source, and raises what that raises."""
        ...


class Place(NamedTuple):
    """Where a repository's objects are, and who reads them there, the same at each start.

    ``prefix`` stands before the keys in the store: empty, or with a slash at its end. ``principal`` may hold secrets;
    None is one that cannot be told from others, and "" is nobody.
    """

    store: str
    prefix: str
    principal: str | None


@runtime_checkable
class Placed(Protocol):
    """A Store whose blocks can be kept for others with the same rights."""

    def place(self) -> Place:
        """Return what tells it from others. May ask a credential source, and raises what that raises."""
        ...


@runtime_checkable
class Shareable(Protocol):
    """A Store whose listing another mount of this machine may be given, where it would ask for the very same."""

    def identify(self) -> Sequence[str]:
        """Return all that the answer to a listing depends on: where and how it is asked for, and with which secrets.

        Never to be kept or shown. May ask a credential source, and raises what that raises.
        """
        ...


@runtime_checkable
class Writable(Protocol):
    """A Store that can be given a small object: ``modelfs seal`` leaves one. A mount never writes."""

    def write_small(self, key: str, data: bytes) -> None:
        """Store ``data`` as the object ``key``, whole or not at all, over what was there. One request, one try.

        Raises as ``Store.list_page`` does; AccessRefusedError tells which permission it takes.
        """
        ...


class Omissions:
    """Tells the log once of each object that an engine cannot serve, and not again at every refresh. Thread-safe."""

    _MOST = 1000  # an operator who has not looked at so many warnings will not look at more

    def __init__(self) -> None:
        """Begin with nothing told."""
        self._told: set[str] = set()

    def tell(self, key: str, why: str) -> None:
        """Say that ``key`` is not shown, because of ``why``."""
        if key not in self._told and len(self._told) < self._MOST:
            self._told.add(key)
            log.warning("not shown, %s key=%a", why, key)

    def readable(self, page: Page, unreadable: re.Pattern[str]) -> Page:
        """Return ``page`` without the keys in which ``unreadable`` is found, and tell of those."""
        kept = [info for info in page.objects if not unreadable.search(info.key)]
        if len(kept) < len(page.objects):
            for info in page.objects:
                if unreadable.search(info.key):
                    self.tell(info.key, "its key has a control character or is not valid UTF-8")
        return page._replace(objects=kept)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to go on: full-jitter exponential back-off until ``deadline_s`` have passed since the first try.

    A single try is given up after ``attempt_s``.
    """

    deadline_s: float
    attempt_s: float = math.inf
    first_pause_s: float = 0.1
    longest_pause_s: float = 10.0

    def pause_s(self, attempt: int) -> float:
        """Return the pause after failed try number ``attempt`` (from 0): random, in (0, bound]."""
        bound = min(self.longest_pause_s, self.first_pause_s * 2.0 ** min(attempt, 32))
        return bound * (1.0 - random.random())  # noqa: S311  spreads load, guards nothing


async def in_thread_with_retries(
    request: Callable[[], T],
    *,
    what: str,
    policy: RetryPolicy,
    limiter: AbstractAsyncContextManager[object],
    retry_on: tuple[type[ModelfsError], ...] = (StoreUnavailableError,),
    on_failure: Callable[[ModelfsError], None] | None = None,
) -> T:
    """Run the blocking ``request`` in a thread until it succeeds, and return its result.

    Only ``retry_on`` (and its kinds) is tried again; the last one is raised at the deadline, also in the middle of a
    try. ``on_failure`` is told of each try that is followed by another. The pause is
    spent without a thread. A cancelled or late request's thread is abandoned; its own time-outs end it.
    """
    last_error: ModelfsError = StoreUnavailableError(
        f"cannot {what}: no answer from the store within {policy.deadline_s:g} s; check the URL and the network"
    )
    attempt = 0
    with trio.move_on_after(policy.deadline_s):
        while True:
            try:
                return await _one_try(request, what=what, attempt_s=policy.attempt_s, limiter=limiter)
            except retry_on as error:
                last_error = error
                if on_failure is not None:
                    on_failure(error)
                pause = policy.pause_s(attempt)
                # the first failures are the weather; one that lasts is for an operator
                level = logging.WARNING if attempt in {3, 10, 30, 100} else logging.INFO
                log.log(level, "trying again what=%r attempt=%d pause_s=%.1f error=%s", what, attempt + 1, pause, error)
            attempt += 1
            await trio.sleep(pause)
    raise last_error


async def _one_try(
    request: Callable[[], T], *, what: str, attempt_s: float, limiter: AbstractAsyncContextManager[object]
) -> T:
    """Run ``request`` in a thread. Its place in ``limiter`` is this task's, so that an abandoned thread frees it."""
    async with limiter:
        with trio.move_on_after(attempt_s):
            return await trio.to_thread.run_sync(request, limiter=trio.CapacityLimiter(1), abandon_on_cancel=True)
    raise StoreUnavailableError(f"cannot {what}: the store is too slow, no whole answer within {attempt_s:.0f} s")


async def list_everything(
    store: Lists,
    *,
    policy: RetryPolicy,
    limiter: trio.CapacityLimiter,
    on_page: Callable[[int], Awaitable[None]] | None = None,
    folder: str = "",
) -> list[ObjectInfo]:
    """Return every object, or raise: all or nothing. The deadline of ``policy`` is for each page, not for the whole.

    ``folder`` is as in ``Store.list_page``. ``on_page`` is told the number of objects so far after each page. Raises
    CorruptAnswerError when the store leads in a circle.
    """
    objects: list[ObjectInfo] = []
    token: str | None = None
    asked: set[str] = set()
    what = f"list {folder}" if folder else "list the repository"
    while len(asked) < _MOST_PAGES:
        request = partial(store.list_page, token, folder)
        page = await in_thread_with_retries(request, what=what, policy=policy, limiter=limiter)
        objects += page.objects
        if on_page is not None:
            await on_page(len(objects))
        token = page.next_token
        if token is None:
            return objects
        if token in asked:
            break
        asked.add(token)
    raise CorruptAnswerError(f"the listing never ends ({len(objects)} objects so far): the store repeats its pages")


_MOST_PAGES = 100_000  # 100 million keys, more than memory holds
