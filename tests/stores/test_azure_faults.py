"""Reads of Azure on a bad day, with each engine: every fault ends as one of our errors, after exactly one request."""

import time
from collections.abc import Callable

import pytest
from faultserver import (
    Fault,
    IgnoreRange,
    IgnoreVersion,
    Reset,
    Stall,
    Status,
    Truncate,
    WrongLength,
    WrongRange,
)
from faultserver.faults import Effect
from stores.azure_venues import AzureFaultVenue
from stores.venues import open_url

from modelfs.blocks import ObjectInfo
from modelfs.engines import Engine
from modelfs.errors import (
    AccessRefusedError,
    CorruptAnswerError,
    ModelfsError,
    ObjectArchivedError,
    ObjectNotFoundError,
    StoreRefusedError,
    StoreUnavailableError,
    VersionGoneError,
)
from modelfs.store import Store

HANGING_S = 30.0

DATA = bytes(range(256)) * 400

ON_READ = [
    (Status(500, "InternalError"), StoreUnavailableError),
    (Status(503, "ServerBusy"), StoreUnavailableError),
    (Status(429), StoreUnavailableError),
    (Status(403, "AuthenticationFailed"), AccessRefusedError),
    (Status(401, "NoAuthenticationInformation"), AccessRefusedError),
    (Status(409, "BlobArchived"), ObjectArchivedError),
    (Status(307), StoreRefusedError),
    (Status(400, "InvalidHeaderValue"), StoreRefusedError),
    (Status(404, "BlobNotFound"), VersionGoneError),
    (Status(404, "ContainerNotFound"), ObjectNotFoundError),
    (Status(412, "ConditionNotMet"), VersionGoneError),
    (Status(416, "InvalidRange"), VersionGoneError),
    (Stall(), StoreUnavailableError),
    (Stall(after_bytes=100), StoreUnavailableError),
    (Reset(), StoreUnavailableError),
    (Reset(after_bytes=100), StoreUnavailableError),
    (Truncate(after_bytes=0), CorruptAnswerError),
    (Truncate(after_bytes=100), CorruptAnswerError),
    (WrongLength(-5), CorruptAnswerError),
    (WrongLength(5), CorruptAnswerError),
    (WrongRange(5, admit=True), CorruptAnswerError),
    (IgnoreRange(), CorruptAnswerError),
]


@pytest.fixture
def store(each_engine: Engine, azure_venue: AzureFaultVenue, stall_timeout_s: float) -> Store:
    del each_engine
    azure_venue.put("m/x", DATA)
    url = f"as://127.0.0.1:{azure_venue.server.port}/account/bkt/repo"
    return open_url(url, environment={}, stall_timeout_s=stall_timeout_s)


def only(store: Store) -> ObjectInfo:
    (info,) = (info for info in store.list_page(None).objects if info.size)
    return info


def fails(call: Callable[[], object], kind: type[ModelfsError]) -> None:
    """See ``call`` fail with exactly ``kind``, without hanging, and in one clear line."""
    began = time.monotonic()
    with pytest.raises(kind) as caught:
        call()
    assert time.monotonic() - began < HANGING_S
    assert type(caught.value) is kind
    message = str(caught.value)
    assert "m/x" in message
    assert "\n" not in message
    assert "<" not in message


@pytest.mark.parametrize(("effect", "kind"), ON_READ, ids=repr)
def test_fault_in_a_read_is_one_request_and_our_error(
    each_engine: Engine, azure_venue: AzureFaultVenue, store: Store, effect: Effect, kind: type[ModelfsError]
) -> None:
    if each_engine == "fsspec" and effect == Reset(after_bytes=100):
        kind = CorruptAnswerError  # to aiohttp a body that is reset is one that is too short
    info = only(store)
    azure_venue.server.fail(Fault(effect, kind="get"))
    fails(lambda: store.read(info, 1000, 50_000), kind)
    azure_venue.server.heal()
    assert len(azure_venue.server.requests(kind="get")) == 1
    assert bytes(store.read(info, 1000, 50_000)) == DATA[1000:51_000]


def test_store_that_ignores_if_match_gives_no_mixed_bytes(azure_venue: AzureFaultVenue, store: Store) -> None:
    old = only(store)
    azure_venue.put("m/x", DATA[::-1])
    azure_venue.server.fail(Fault(IgnoreVersion()))
    fails(lambda: store.read(old, 0, 1000), VersionGoneError)
    assert bytes(store.read(only(store), 0, 1000)) == DATA[::-1][:1000]


def test_store_that_is_away_is_unavailable_and_comes_back(azure_venue: AzureFaultVenue, store: Store) -> None:
    info = only(store)
    azure_venue.server.down()
    fails(lambda: store.read(info, 0, 10), StoreUnavailableError)
    azure_venue.server.up()
    assert bytes(store.read(info, 0, 10)) == DATA[:10]
