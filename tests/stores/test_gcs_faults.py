"""Google Cloud Storage on a bad day: every fault ends as one of our errors, within a known time, after one request.

Times asserted here only tell a time-out from hanging.
"""

import time
from collections.abc import Callable

import pytest
from faultserver import (
    Excess,
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
from stores.canned import Canned, canned
from stores.gcs_venues import NOBODY, GcsFaultVenue, open_gcs

from modelfs.blocks import ObjectInfo
from modelfs.engines import Engine
from modelfs.errors import (
    AccessRefusedError,
    CorruptAnswerError,
    ModelfsError,
    ObjectNotFoundError,
    StoreRefusedError,
    StoreUnavailableError,
    VersionGoneError,
)
from modelfs.gcs_errors import from_status
from modelfs.store import Store

HANGING_S = 30.0

DATA = bytes(range(256)) * 400

UNAVAILABLE = [
    (Status(500), StoreUnavailableError),
    (Status(503), StoreUnavailableError),
    (Status(429), StoreUnavailableError),
    (Status(408), StoreUnavailableError),
    (Status(401), AccessRefusedError),
    (Status(403), AccessRefusedError),
    (Status(301), StoreRefusedError),
    (Status(400), StoreRefusedError),
    (Status(501), StoreRefusedError),
    (Stall(), StoreUnavailableError),
    (Stall(after_bytes=100), StoreUnavailableError),
    (Reset(), StoreUnavailableError),
    (Reset(after_bytes=100), StoreUnavailableError),
    (Truncate(after_bytes=0), CorruptAnswerError),
    (Truncate(after_bytes=100), CorruptAnswerError),
]
ON_READ = [
    (WrongLength(-5), CorruptAnswerError),
    (WrongLength(5), CorruptAnswerError),
    (WrongRange(5, admit=True), CorruptAnswerError),
    (IgnoreRange(), CorruptAnswerError),
    (Status(404), VersionGoneError),
    (Status(412), VersionGoneError),
    (Status(416), VersionGoneError),
]


@pytest.fixture
def store(gcs_venue: GcsFaultVenue, stall_timeout_s: float) -> Store:
    gcs_venue.put("m/x", DATA)
    url = gcs_venue.server.url
    return open_gcs(
        "gs://bkt/repo", environment=gcs_venue.environment, endpoint_url=url, stall_timeout_s=stall_timeout_s
    )


def only(store: Store) -> ObjectInfo:
    (info,) = store.list_page(None).objects
    return info


def fails(call: Callable[[], object], kind: type[ModelfsError]) -> str:
    """See ``call`` fail with exactly ``kind``, without hanging, and return the message."""
    began = time.monotonic()
    with pytest.raises(kind) as caught:
        call()
    assert time.monotonic() - began < HANGING_S
    assert type(caught.value) is kind
    message = str(caught.value)
    assert "\n" not in message
    assert "<" not in message
    assert "AWS" not in message
    return message


@pytest.mark.parametrize(("effect", "kind"), [*UNAVAILABLE, *ON_READ], ids=repr)
def test_fault_in_a_read_is_one_request_and_our_error(
    each_engine: Engine, gcs_venue: GcsFaultVenue, store: Store, effect: Effect, kind: type[ModelfsError]
) -> None:
    if each_engine == "fsspec" and effect == Reset(after_bytes=100):
        kind = CorruptAnswerError  # to aiohttp a body that is reset is one that is too short
    info = only(store)
    gcs_venue.server.fail(Fault(effect, kind="get"))
    assert "m/x" in fails(lambda: store.read(info, 1000, 50_000), kind)
    gcs_venue.server.heal()
    assert len(gcs_venue.server.requests(kind="get")) == 1
    assert bytes(store.read(info, 1000, 50_000)) == DATA[1000:51_000]


@pytest.mark.parametrize(("effect", "kind"), [*UNAVAILABLE, (Status(404), ObjectNotFoundError)], ids=repr)
def test_fault_in_a_listing_is_one_request_and_our_error(
    gcs_venue: GcsFaultVenue, store: Store, effect: Effect, kind: type[ModelfsError]
) -> None:
    gcs_venue.server.fail(Fault(effect, kind="list"))
    assert "gs://bkt/repo" in fails(lambda: store.list_page(None), kind)
    gcs_venue.server.heal()
    assert len(gcs_venue.server.requests(kind="list")) == 1
    assert only(store).key == "m/x"


@pytest.mark.parametrize("share", [0.05, 0.5, 0.98])
def test_listing_cut_anywhere_is_never_a_short_page(gcs_venue: GcsFaultVenue, store: Store, share: float) -> None:
    for number in range(900):
        gcs_venue.put(f"n/{number:04d}", b"x")
    store.list_page(None)
    length = gcs_venue.server.requests(kind="list")[0].bytes_sent
    gcs_venue.server.fail(Fault(Truncate(int(length * share)), kind="list"))
    fails(lambda: store.list_page(None), CorruptAnswerError)


def test_failing_page_is_an_error_and_can_be_asked_for_again(gcs_venue: GcsFaultVenue, store: Store) -> None:
    for number in range(2500):
        gcs_venue.put(f"n/{number:04d}", b"x")
    gcs_venue.server.fail(Fault(Status(503), kind="list", page=2, times=1))
    first = store.list_page(None)
    fails(lambda: store.list_page(first.next_token), StoreUnavailableError)
    second = store.list_page(first.next_token)
    third = store.list_page(second.next_token)
    assert third.next_token is None
    assert len({info.key for page in (first, second, third) for info in page.objects}) == 2501


@pytest.mark.usefixtures("each_engine")
def test_store_that_ignores_generations_gives_no_mixed_bytes(gcs_venue: GcsFaultVenue, store: Store) -> None:
    old = only(store)
    gcs_venue.put("m/x", DATA[::-1])
    gcs_venue.server.fail(Fault(IgnoreVersion()))
    assert "replaced" in fails(lambda: store.read(old, 0, 1000), VersionGoneError)
    assert bytes(store.read(only(store), 0, 1000)) == DATA[::-1][:1000]


def test_over_long_body_gives_the_bytes_that_were_asked_for(
    each_engine: Engine, gcs_venue: GcsFaultVenue, store: Store
) -> None:
    info = only(store)
    gcs_venue.server.fail(Fault(Excess(1000)))
    for _ in range(3):
        try:
            assert bytes(store.read(info, 1000, 1000)) == DATA[1000:2000]
        except CorruptAnswerError:
            assert each_engine == "fsspec"  # aiohttp refuses the answer when it sees in time that there is more


@pytest.mark.usefixtures("each_engine")
def test_store_that_is_away_is_unavailable_and_comes_back(gcs_venue: GcsFaultVenue, store: Store) -> None:
    info = only(store)
    gcs_venue.server.down()
    assert "cannot be connected to" in fails(lambda: store.list_page(None), StoreUnavailableError)
    assert "cannot be connected to" in fails(lambda: store.read(info, 0, 10), StoreUnavailableError)
    gcs_venue.server.up()
    assert only(store) == info


@pytest.mark.parametrize(
    "body",
    ["", "<html><body>Welcome</body></html>", '{"a": 1}', "x" * (17 * 2**20)],
    ids=["empty", "html", "json", "endless"],
)
def test_senseless_listing_is_a_corrupt_answer(body: str) -> None:
    with canned(Canned(200, body)) as url:
        store = open_gcs("gs://bkt", environment={**NOBODY, "STORAGE_EMULATOR_HOST": url})
        fails(lambda: store.list_page(None), CorruptAnswerError)


def test_listing_that_names_its_own_page_as_the_next_is_a_corrupt_answer() -> None:
    with canned(Canned(200, '{"kind": "storage#objects", "nextPageToken": "again"}')) as url:
        store = open_gcs("gs://bkt", environment={**NOBODY, "STORAGE_EMULATOR_HOST": url})
        assert store.list_page(None).next_token == "again"
        fails(lambda: store.list_page("again"), CorruptAnswerError)


@pytest.mark.usefixtures("each_engine")
def test_anonymous_access_to_what_is_not_public_says_what_to_do(gcs_venue: GcsFaultVenue, store: Store) -> None:
    info = only(store)
    nobody = open_gcs("gs://bkt/repo", environment={**NOBODY, "STORAGE_EMULATOR_HOST": gcs_venue.server.url})
    for call in (lambda: nobody.list_page(None), lambda: nobody.read(info, 0, 10)):
        assert "GOOGLE_APPLICATION_CREDENTIALS" in fails(call, AccessRefusedError)


@pytest.mark.parametrize(
    ("status", "body", "kind", "advice"),
    [
        (400, "<Error><Code>UserProjectMissing</Code></Error>", AccessRefusedError, "GOOGLE_CLOUD_QUOTA_PROJECT"),
        (403, '{"error": {"errors": [{"reason": "forbidden"}]}}', AccessRefusedError, "roles/storage.objectViewer"),
        (403, "hunter2", AccessRefusedError, "roles/storage.objectViewer"),
        (404, '{"error": {"errors": [{"reason": "notFound"}]}}', ObjectNotFoundError, "no such bucket"),
    ],
)
def test_refusal_says_what_to_do(status: int, body: str, kind: type[ModelfsError], advice: str) -> None:
    error = from_status(status, body, what="cannot list gs://b")
    assert type(error) is kind
    assert advice in str(error)
    assert "hunter2" not in str(error)


@pytest.mark.parametrize("status", range(300, 600))
def test_every_status_is_an_error(status: int) -> None:
    ours = from_status(status, "anything", what="cannot list gs://b")
    assert str(ours).startswith(f"cannot list gs://b: the store answers {status}")
    assert isinstance(ours, StoreUnavailableError) == (status in {408, 425, 429} or (status >= 500 and status != 501))
