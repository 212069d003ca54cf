"""S3 on a bad day: every fault ends as one of our errors, within a known time, after exactly one request.

Times asserted here only tell a time-out from hanging.
"""

import time
import traceback
from collections.abc import Callable

import pytest
from faultserver import (
    Excess,
    Fault,
    IgnoreRange,
    IgnoreVersion,
    Keys,
    Latency,
    Rate,
    Reset,
    Stall,
    Status,
    Truncate,
    WrongLength,
    WrongRange,
)
from faultserver.faults import Effect
from stores.canned import Canned, canned
from stores.venues import KEYS, FaultVenue, open_url

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
from modelfs.s3_errors import WrongRegionError
from modelfs.store import Store

STALL_S = 1.0  # as the fixture of that name has it
HANGING_S = 30.0

DATA = bytes(range(256)) * 400

UNAVAILABLE = [
    (Status(500, "InternalError"), StoreUnavailableError),
    (Status(503, "SlowDown"), StoreUnavailableError),
    (Status(503), StoreUnavailableError),
    (Status(429), StoreUnavailableError),
    (Status(408), StoreUnavailableError),
    (Status(400, "RequestTimeout"), StoreUnavailableError),
    (Status(403, "AccessDenied"), AccessRefusedError),
    (Status(403, "RequestTimeTooSkewed"), AccessRefusedError),
    (Status(400, "ExpiredToken"), AccessRefusedError),
    (Status(401), AccessRefusedError),
    (Status(403, "InvalidObjectState"), ObjectArchivedError),
    (Status(301, "PermanentRedirect"), WrongRegionError),
    (Status(400, "InvalidRequest"), StoreRefusedError),
    (Status(405, "MethodNotAllowed"), StoreRefusedError),
    (Status(501, "NotImplemented"), StoreRefusedError),
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
    (Status(404, "NoSuchKey"), VersionGoneError),
    (Status(404, "NoSuchVersion"), VersionGoneError),
    (Status(404, "NoSuchBucket"), ObjectNotFoundError),
    (Status(412, "PreconditionFailed"), VersionGoneError),
    (Status(416, "InvalidRange"), VersionGoneError),
]
ON_LIST = [
    (Status(404, "NoSuchBucket"), ObjectNotFoundError),
    (Status(404), ObjectNotFoundError),
]


@pytest.fixture
def store(fault_venue: FaultVenue, stall_timeout_s: float) -> Store:
    fault_venue.put("m/x", DATA)
    return open_url(f"s3://{fault_venue.server.url}/bkt/repo", stall_timeout_s=stall_timeout_s)


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
    return message


@pytest.mark.parametrize(("effect", "kind"), [*UNAVAILABLE, *ON_READ], ids=repr)
def test_fault_in_a_read_is_one_request_and_our_error(
    each_engine: Engine, fault_venue: FaultVenue, store: Store, effect: Effect, kind: type[ModelfsError]
) -> None:
    if each_engine == "fsspec" and effect == Reset(after_bytes=100):
        kind = CorruptAnswerError  # to aiohttp a body that is reset is one that is too short
    info = only(store)
    fault_venue.server.fail(Fault(effect, kind="get"))
    message = fails(lambda: store.read(info, 1000, 50_000), kind)
    assert "m/x" in message
    fault_venue.server.heal()
    assert len(fault_venue.server.requests(kind="get")) == 1
    assert bytes(store.read(info, 1000, 50_000)) == DATA[1000:51_000]


@pytest.mark.parametrize(("effect", "kind"), [*UNAVAILABLE, *ON_LIST], ids=repr)
def test_fault_in_a_listing_is_one_request_and_our_error(
    fault_venue: FaultVenue, store: Store, effect: Effect, kind: type[ModelfsError]
) -> None:
    fault_venue.server.fail(Fault(effect, kind="list"))
    message = fails(lambda: store.list_page(None), kind)
    assert f"127.0.0.1:{fault_venue.server.port}/bkt/repo" in message
    fault_venue.server.heal()
    assert len(fault_venue.server.requests(kind="list")) == 1
    assert only(store).key == "m/x"


def test_failing_page_is_an_error_and_can_be_asked_for_again(fault_venue: FaultVenue, store: Store) -> None:
    for number in range(2500):
        fault_venue.put(f"n/{number:04d}", b"x")
    fault_venue.server.fail(Fault(Status(503), kind="list", page=2, times=1))
    first = store.list_page(None)
    fails(lambda: store.list_page(first.next_token), StoreUnavailableError)
    second = store.list_page(first.next_token)
    third = store.list_page(second.next_token)
    assert third.next_token is None
    assert len({info.key for page in (first, second, third) for info in page.objects}) == 2501


@pytest.mark.parametrize("share", [0.05, 0.5, 0.98])
def test_listing_cut_anywhere_is_never_a_short_page(fault_venue: FaultVenue, store: Store, share: float) -> None:
    for number in range(900):
        fault_venue.put(f"n/{number:04d}", b"x")
    store.list_page(None)
    length = fault_venue.server.requests(kind="list")[0].bytes_sent
    fault_venue.server.fail(Fault(Truncate(int(length * share)), kind="list"))
    fails(lambda: store.list_page(None), CorruptAnswerError)


@pytest.mark.usefixtures("each_engine")
def test_store_that_ignores_if_match_gives_no_mixed_bytes(fault_venue: FaultVenue, store: Store) -> None:
    old = only(store)
    fault_venue.put("m/x", DATA[::-1])
    fault_venue.server.fail(Fault(IgnoreVersion()))
    fails(lambda: store.read(old, 0, 1000), VersionGoneError)
    assert bytes(store.read(only(store), 0, 1000)) == DATA[::-1][:1000]


def test_over_long_body_gives_the_bytes_that_were_asked_for(
    each_engine: Engine, fault_venue: FaultVenue, store: Store
) -> None:
    info = only(store)
    fault_venue.server.fail(Fault(Excess(1000)))
    for _ in range(3):
        try:
            assert bytes(store.read(info, 1000, 1000)) == DATA[1000:2000]
        except CorruptAnswerError:
            assert each_engine == "fsspec"  # aiohttp refuses the answer when it sees in time that there is more


@pytest.mark.usefixtures("each_engine")
def test_slow_answer_that_makes_progress_is_waited_for(fault_venue: FaultVenue, store: Store) -> None:
    info = only(store)
    fault_venue.server.fail(Fault(Rate(30_000), kind="get"))
    began = time.monotonic()
    assert bytes(store.read(info, 0, 90_000)) == DATA[:90_000]
    assert time.monotonic() - began > 2 * STALL_S  # so it took longer than a stall may


def test_listing_that_only_drips_is_given_up(fault_venue: FaultVenue, store: Store) -> None:
    fault_venue.server.fail(Fault(Rate(10), kind="list"))
    began = time.monotonic()
    with pytest.raises(StoreUnavailableError, match="stopped answering"):
        store.list_page(None)
    assert time.monotonic() - began < HANGING_S
    fault_venue.server.heal()
    assert only(store)


@pytest.mark.usefixtures("each_engine")
def test_late_answer_within_the_stall_time_is_waited_for(fault_venue: FaultVenue, store: Store) -> None:
    info = only(store)
    fault_venue.server.fail(Fault(Latency(STALL_S / 2)))
    assert bytes(store.read(info, 0, 10)) == DATA[:10]
    assert only(store) == info


@pytest.mark.usefixtures("each_engine")
def test_store_that_is_away_is_unavailable_and_comes_back(fault_venue: FaultVenue, store: Store) -> None:
    info = only(store)
    fault_venue.server.down()
    assert "cannot be connected to" in fails(lambda: store.list_page(None), StoreUnavailableError)
    assert "cannot be connected to" in fails(lambda: store.read(info, 0, 10), StoreUnavailableError)
    fault_venue.server.up()
    assert only(store) == info
    assert bytes(store.read(info, 0, 10)) == DATA[:10]


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("connects", [True, False])
def test_address_that_swallows_packets_is_given_up(fault_venue: FaultVenue, store: Store, *, connects: bool) -> None:
    info = only(store)
    fault_venue.server.down()
    fault_venue.server.up()
    fault_venue.server.black_hole(connects=connects)
    fails(lambda: store.list_page(None), StoreUnavailableError)
    fails(lambda: store.read(info, 0, 10), StoreUnavailableError)


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize(
    ("keys", "advice"),
    [
        (Keys("AKIDOTHER", KEYS.secret_access_key, KEYS.session_token), "InvalidAccessKeyId); the store does not know"),
        (Keys(KEYS.access_key_id, "hunter2", KEYS.session_token), "SignatureDoesNotMatch); the secret key is wrong"),
        (Keys(KEYS.access_key_id, KEYS.secret_access_key, "hunter2"), "InvalidToken); the session token is wrong"),
        (None, "AccessDenied); check the credentials"),
    ],
)
def test_wrong_keys_are_refused_with_what_to_do(
    fault_venue: FaultVenue, store: Store, keys: Keys | None, advice: str
) -> None:
    info = only(store)
    environment: dict[str, str] = {}
    if keys is not None:
        environment = {
            "AWS_ACCESS_KEY_ID": keys.access_key_id,
            "AWS_SECRET_ACCESS_KEY": keys.secret_access_key,
            "AWS_SESSION_TOKEN": keys.session_token or "",
        }
    wrong = open_url(f"s3://{fault_venue.server.url}/bkt/repo", environment=environment)
    for call in (lambda: wrong.list_page(None), lambda: wrong.read(info, 0, 10)):
        message = fails(call, AccessRefusedError)
        assert advice in message.replace(";", ");", 1)
        assert "hunter2" not in message


@pytest.mark.parametrize(
    "answer",
    [
        Canned(301, "<Error><Code>PermanentRedirect</Code></Error>", {"x-amz-bucket-region": "eu-west-3"}),
        Canned(307, "<Error><Code>TemporaryRedirect</Code></Error>", {"x-amz-bucket-region": "eu-west-3"}),
        Canned(400, "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-3</Region></Error>"),
    ],
)
def test_wrong_region_is_answered_with_the_right_one(answer: Canned) -> None:
    with canned(answer) as url:
        store = open_url(f"s3://{url}/bkt")
        assert "set AWS_REGION=eu-west-3" in fails(lambda: store.list_page(None), WrongRegionError)


@pytest.mark.parametrize(
    "body",
    ["", "<html><body>Welcome</body></html>", '{"a": 1}', "<ListBucketResult>", "x" * (17 * 2**20)],
    ids=["empty", "html", "json", "cut", "endless"],
)
def test_senseless_listing_is_a_corrupt_answer(body: str) -> None:
    with canned(Canned(200, body)) as url:
        store = open_url(f"s3://{url}/bkt")
        fails(lambda: store.list_page(None), CorruptAnswerError)


def test_listing_that_names_its_own_page_as_the_next_is_a_corrupt_answer() -> None:
    body = (
        "<ListBucketResult><IsTruncated>true</IsTruncated>"
        "<NextContinuationToken>again</NextContinuationToken></ListBucketResult>"
    )
    with canned(Canned(200, body)) as url:
        store = open_url(f"s3://{url}/bkt")
        assert store.list_page(None).next_token == "again"
        fails(lambda: store.list_page("again"), CorruptAnswerError)


@pytest.mark.usefixtures("each_engine")
def test_refusal_that_echoes_the_token_does_not_get_into_the_error() -> None:
    echo = "<Error><Code>InvalidToken</Code><Message>hunter2 is wrong</Message><Token-0>hunter2</Token-0></Error>"
    with canned(Canned(400, echo)) as url:
        store = open_url(f"s3://{url}/bkt")
        for call in (lambda: store.list_page(None), lambda: store.read(ObjectInfo("m/x", 10, '"v"', 0), 0, 10)):
            with pytest.raises(AccessRefusedError) as caught:
                call()
            assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.usefixtures("each_engine")
def test_name_that_does_not_resolve_is_unavailable() -> None:
    store = open_url("s3://http://no-such-host.invalid:9/bkt")
    assert "cannot be resolved" in fails(lambda: store.list_page(None), StoreUnavailableError)
    info = ObjectInfo("m/x", 10, '"v"', 0)
    assert "cannot be resolved" in fails(lambda: store.read(info, 0, 10), StoreUnavailableError)


def test_https_to_a_plain_http_port_says_so() -> None:
    with canned(Canned(400, "")) as url:
        store = open_url(f"s3://{url.replace('http', 'https')}/bkt")
        assert "http:// perhaps" in fails(lambda: store.list_page(None), StoreUnavailableError)
