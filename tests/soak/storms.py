"""What can go wrong with a store, each as a context in which it does, and which tells how much came of it.

Law: a storm is put in force and healed at once. It yields how many requests met it so far, or None where nobody can
count them, since there is no store to ask.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from faultserver import (
    Excess,
    Fault,
    FaultServer,
    IgnoreRange,
    Keys,
    Latency,
    Rate,
    Record,
    Reset,
    Stall,
    Status,
    StoredObject,
    TotalRate,
    Truncate,
    WrongLength,
    WrongRange,
)
from faultserver.faults import Effect
from mount.mounting_for_tests import ACCESS_KEY, SECRET_KEY

from soak.stores import NAME

Met = Callable[[], int]
Storm = Callable[[FaultServer], AbstractContextManager[Met | None]]

EFFECTS: dict[str, Effect] = {
    "500": Status(500),
    "503 SlowDown": Status(503),
    "503 with Retry-After": Status(503, retry_after_s=1),
    "429": Status(429),
    "403 AccessDenied": Status(403, "AccessDenied"),
    "403, the clocks differ": Status(403, "RequestTimeTooSkewed"),
    "400 ExpiredToken": Status(400, "ExpiredToken"),
    "404 NoSuchBucket": Status(404, "NoSuchBucket"),
    "301 elsewhere": Status(301, "PermanentRedirect"),
    "no answer": Stall(),
    "stops in the middle": Stall(2000),
    "reset before the answer": Reset(),
    "reset in the middle": Reset(2000),
    "ends too soon": Truncate(2000),
    "goes on too long": Excess(100),
    "late": Latency(0.5),
    "slow": Rate(100_000),
    "slow in all": TotalRate(100_000),
}


def of_listings(effect: Effect, page: int | None = None) -> Storm:
    """Return the storm in which listings, or one page of them, meet this effect."""

    @contextmanager
    def storm(store: FaultServer) -> Iterator[Met]:
        fault = store.fail(Fault(effect, kind="list", page=page))
        try:
            yield lambda: fault.hits
        finally:
            store.heal(fault)

    return storm


@contextmanager
def pages_at_random(store: FaultServer) -> Iterator[Met]:
    """Fail half of all pages, in several ways of which each meets a ninth."""
    chance = random.Random(5)
    ways: list[Effect] = [Status(500), Status(503), Reset(), Reset(2000), Truncate(2000), Status(403)]
    faults = [store.fail(Fault(way, kind="list", when=lambda _: chance.random() < 1 / 9)) for way in ways]
    try:
        yield lambda: sum(fault.hits for fault in faults)
    finally:
        for fault in faults:
            store.heal(fault)


@contextmanager
def away(store: FaultServer) -> Iterator[None]:
    """Refuse connections. Nobody can count them."""
    store.down()
    try:
        yield None
    finally:
        store.up()


@contextmanager
def swallowed(store: FaultServer) -> Iterator[None]:
    """Take connections and never answer."""
    store.black_hole()
    try:
        yield None
    finally:
        store.up()


@contextmanager
def dropped(store: FaultServer) -> Iterator[None]:
    """Have connections never come about."""
    store.black_hole(connects=False)
    try:
        yield None
    finally:
        store.up()


@contextmanager
def other_keys(store: FaultServer) -> Iterator[Met]:
    """Let somebody else in."""
    store.let_in(Keys("another", "another"))
    try:
        yield lambda: sum(record.status == 403 for record in store.requests(kind="list"))
    finally:
        store.let_in(Keys(ACCESS_KEY, SECRET_KEY))


@contextmanager
def empty_for_one_listing(store: FaultServer) -> Iterator[Met]:
    """Show nothing at all in one listing, and all again in the next: an emptied bucket on one listing's word."""
    kept: list[StoredObject] = []
    met = 0

    def meddle(record: Record) -> bool:
        nonlocal met
        if record.page == 1:
            met += 1
            if met == 1:
                kept.extend(_take_all(store))
            elif met == 2:
                _put_back(store, kept)
        return False

    fault = store.fail(Fault(Latency(0), kind="list", when=meddle))
    try:
        yield lambda: met
    finally:
        store.heal(fault)
        _put_back(store, kept)


def _take_all(store: FaultServer) -> list[StoredObject]:
    found = store.objects(NAME)
    for each in found:
        store.delete(NAME, each.key)
    return found


def _put_back(store: FaultServer, kept: list[StoredObject]) -> None:
    for each in kept:
        store.put(NAME, each.key, each.body, mtime_ns=each.mtime_ns, etag=each.etag)
    kept.clear()


STORMS: dict[str, Storm] = {
    **{f"listings: {name}": of_listings(effect) for name, effect in EFFECTS.items()},
    "page 2 of 3: 500": of_listings(Status(500), page=2),
    "page 3 of 3: ends too soon": of_listings(Truncate(2000), page=3),
    "pages at random": pages_at_random,
    "away": away,
    "takes and never answers": swallowed,
    "connections never come about": dropped,
    "lets somebody else in": other_keys,
    "empty for one listing": empty_for_one_listing,
}


LIES: dict[str, Effect] = {
    "answers short": WrongLength(-100),
    "answers long": WrongLength(100),
    "other bytes, admitted": WrongRange(4096, admit=True),
    "the whole object": IgnoreRange(),
}
"""Of reads alone. Other bytes that are not admitted are beyond what a client can know; pinning is tested elsewhere."""

READ_EFFECTS = {
    **{name: effect for name, effect in EFFECTS.items() if name not in {"404 NoSuchBucket", "301 elsewhere"}},
    **LIES,
    "slow": Rate(2e6),  # a fetch is 8 MiB, where a page of a listing is 0.3 MB
    "slow in all": TotalRate(5e6),
}
"""What a read outlives. An object that is gone and a store that has moved are answers, and end it (``Errors``)."""
