"""A store, tried: its credentials, a listing and a read, each told in one line for people.

Law: a line never holds a secret. What is tried is what a mount does, through the same functions; what failed hides
nothing of what can still be tried. ``modelfs check URL`` asks here, and so does the worker of a living mount.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar

import trio

from modelfs.blocks import ObjectInfo
from modelfs.errors import ModelfsError, StoreUnavailableError
from modelfs.location import Location
from modelfs.store import Facts, RetryPolicy, Store, Telling, in_thread_with_retries

Verdict = Literal["good", "doubtful", "bad", "known"]
"""What a line is: as it must be, worth a look, in the way of a mount, or simply a fact."""

T = TypeVar("T")

_STEP_S = 5.0
LIVING_S = 6 * _STEP_S
"""How long ``try_living`` takes at most: five requests and a look at the credentials, each with a bound of its own."""

_LIVING_READ_BYTES = 4 * 1024 * 1024  # beside the budget of a mount at work, so no more than half an extent
_SOON_S = 24 * 3600.0
_DAY_S = 86_400
_EMPTY = "the mount will be empty; is the path right?"


@dataclass(frozen=True, slots=True)
class Line:
    """One finding: ``topic`` in a word or two, ``text`` in a sentence."""

    topic: str
    verdict: Verdict
    text: str


async def try_living(
    store: Store, location: Location, *, find_largest: Callable[[], ObjectInfo | None], pages: int, refresh_s: float
) -> list[Line]:
    """Send the store of a living mount one request of each kind, and return what came of it within ``LIVING_S``.

    ``find_largest`` is called in a thread. ``pages`` are those of the last whole listing.
    """
    lines = [understood(location)]
    facts = None
    try:
        facts = await _within(lambda: known_facts(store), "the source of the credentials does not answer")
        lines.extend(credentials(facts) if facts else [])
    except ModelfsError as error:
        lines.append(Line("credentials", "bad", str(error)))
    try:
        began_s = time.monotonic()
        page = await _request(partial(store.list_page, None), "list the repository")
        took_s = time.monotonic() - began_s
        lines.append(Line("list", "good", f"the first page has {len(page.objects)} objects, in {took_s:.2f} s"))
        lines.extend(answering(facts) if facts else [])
    except ModelfsError as error:
        lines.append(Line("list", "bad", str(error)))
    lines.extend(cost(location, pages, refresh_s))
    largest = await trio.to_thread.run_sync(find_largest)
    lines.append(await read(store, largest, RetryPolicy(_STEP_S), most_bytes=_LIVING_READ_BYTES))
    return lines


async def _within(ask: Callable[[], T], otherwise: str) -> T:
    with trio.move_on_after(_STEP_S):
        return await trio.to_thread.run_sync(ask, limiter=trio.CapacityLimiter(1), abandon_on_cancel=True)
    raise StoreUnavailableError(f"{otherwise} within {_STEP_S:g} s")


async def _request(request: Callable[[], T], what: str) -> T:
    limiter = trio.CapacityLimiter(1)
    return await in_thread_with_retries(request, what=what, policy=RetryPolicy(_STEP_S), limiter=limiter)


def known_facts(store: Store) -> Facts | None:
    """Return what ``store`` knows of itself. May block: it may ask a credential source."""
    return store.facts() if isinstance(store, Telling) else None


def understood(location: Location) -> Line:
    """Tell what a URL means."""
    kinds = {"file": "a local folder", "s3": "S3", "gs": "Google Cloud Storage", "as": "Azure Blob Storage"}
    kinds["other"] = f"what fsspec's driver for {location.protocol}:// makes of it"
    place = f", bucket {location.bucket}, prefix {location.prefix or '(all)'}" if location.bucket else ""
    return Line("location", "good", f"{location.display} is {kinds[location.scheme]}{place}")


def credentials(facts: Facts) -> list[Line]:
    """Tell which credentials there are, from where, and until when."""
    lines = [Line("credentials", "good", facts.identity)]
    if facts.expires_at_s is not None:
        left_s = facts.expires_at_s - time.time()
        when = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(facts.expires_at_s))
        verdict: Verdict = "bad" if left_s <= 0 else "doubtful" if left_s < _SOON_S and not facts.renews else "good"
        lines.append(
            Line(
                "expiry",
                verdict,
                f"{'expired' if left_s <= 0 else 'valid until'} {when}{', then renewed' * facts.renews}",
            )
        )
    return lines


def answering(facts: Facts) -> list[Line]:
    """Tell of a store that has answered."""
    where = f" in region {facts.region}" if facts.region else ""
    lines = [Line("endpoint", "good", f"{facts.endpoint} answers{where}")]
    return [*lines, Line("engine", "known", f"{facts.engine} fetches the bytes")] if facts.engine else lines


def listed(objects: Sequence[ObjectInfo], took_s: float) -> Line:
    """Tell of a whole listing."""
    size = sum(info.size for info in objects)
    found = f"{len(objects)} objects, {size / 1e9:.2f} GB, in {took_s:.2f} s"
    return Line("list", "good", found) if objects else Line("list", "doubtful", f"{found}: {_EMPTY}")


def cost(location: Location, pages: int, refresh_s: float) -> list[Line]:
    """Tell what refreshing asks of the store, where that is anything."""
    if location.scheme == "file":
        return []
    daily = "a request for each folder, and over HTTP for each file"  # no known number of them
    if location.scheme != "other":
        daily = f"{round(pages * _DAY_S / refresh_s)} LIST requests a day ({pages} for each listing)"
    return [Line("cost", "known", f"{daily}, at a refresh every {refresh_s:g} s (--refresh)")]


async def read(store: Store, largest: ObjectInfo | None, policy: RetryPolicy, *, most_bytes: int) -> Line:
    """Read one byte, which is a round trip, then a piece of the largest object, which is what a connection brings."""
    if largest is None or not largest.size:
        return Line("read", "doubtful", "there is no object with content to read")

    async def timed(length: int) -> float:
        request = partial(store.read, largest, 0, length)
        began_s = time.monotonic()
        limiter = trio.CapacityLimiter(1)
        await in_thread_with_retries(request, what=f"read {largest.key!r}", policy=policy, limiter=limiter)
        return time.monotonic() - began_s

    try:
        await timed(1)  # connects
        trip_s = await timed(1)
        length = min(most_bytes, largest.size)
        rate = length / max(await timed(length), 1e-6)
    except ModelfsError as error:
        return Line("read", "bad", str(error))
    return Line("read", "good", f"{trip_s * 1000:.1f} ms for a byte, then {rate / 1e6:.0f} MB/s on one connection")
