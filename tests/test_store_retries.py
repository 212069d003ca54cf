"""The one retry loop, in virtual time: requests run inline here, so that a try takes none of it."""

# ruff: noqa: ARG001  pytest-trio takes its clock only from an argument, also where that is all it is for

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from stores.memory_store import MemoryStore
from trio.testing import MockClock

from modelfs.blocks import ObjectInfo
from modelfs.errors import (
    AccessRefusedError,
    CorruptAnswerError,
    ModelfsError,
    StoreRefusedError,
    StoreUnavailableError,
    VersionGoneError,
)
from modelfs.store import Omissions, Page, RetryPolicy, in_thread_with_retries, list_everything

POLICY = RetryPolicy(deadline_s=60.0)


class HangError(Exception):
    """What a request raises here to never answer."""


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock) -> MockClock:
    """Run what goes to a thread in its caller, holding the limiter meanwhile."""

    async def run_sync(request: Callable[[], Any], *, limiter: trio.CapacityLimiter, abandon_on_cancel: bool) -> Any:
        assert abandon_on_cancel
        async with limiter:
            try:
                return request()
            except HangError:
                await trio.sleep_forever()

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)
    return autojump_clock


class Script:
    """A request that answers from a list: an exception is raised, the last entry goes on for ever."""

    def __init__(self, *answers: object) -> None:
        self.answers = answers
        self.times_s: list[float] = []

    def __call__(self) -> object:
        answer = self.answers[min(len(self.times_s), len(self.answers) - 1)]
        self.times_s.append(trio.current_time())
        if isinstance(answer, Exception):
            raise answer
        return answer


async def ask(script: Callable[[], object], policy: RetryPolicy = POLICY, **more: Any) -> object:
    return await in_thread_with_retries(script, what="read m/x", policy=policy, limiter=trio.CapacityLimiter(1), **more)


async def test_success_is_one_try_without_a_pause(inline: MockClock) -> None:
    script = Script("answer")
    assert await ask(script) == "answer"
    assert len(script.times_s) == 1
    assert inline.current_time() == script.times_s[0]


async def test_weather_is_waited_out(inline: MockClock) -> None:
    script = Script(StoreUnavailableError("away"), CorruptAnswerError("cut"), "answer")
    assert await ask(script) == "answer"
    assert len(script.times_s) == 3
    assert inline.current_time() > script.times_s[0]


@pytest.mark.parametrize("kind", [VersionGoneError, AccessRefusedError, StoreRefusedError])
async def test_what_a_retry_cannot_mend_is_raised_at_once(kind: type[ModelfsError], inline: MockClock) -> None:
    script = Script(kind("no"))
    with pytest.raises(kind):
        await ask(script)
    assert len(script.times_s) == 1


async def test_caller_may_have_more_tried_again(inline: MockClock) -> None:
    script = Script(AccessRefusedError("rotating"), StoreUnavailableError("away"), "answer")
    assert await ask(script, retry_on=(StoreUnavailableError, AccessRefusedError)) == "answer"


async def test_defect_is_not_tried_again(inline: MockClock) -> None:
    script = Script(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await ask(script)
    assert len(script.times_s) == 1


async def test_last_error_is_raised_at_the_deadline(inline: MockClock) -> None:
    began_s = inline.current_time()
    script = Script(StoreUnavailableError("first"), StoreUnavailableError("later"))
    with pytest.raises(StoreUnavailableError, match="later"):
        await ask(script)
    assert inline.current_time() - began_s == pytest.approx(60.0)
    assert 6 < len(script.times_s) < 100


async def test_deadline_also_ends_a_try_that_hangs(inline: MockClock) -> None:
    began_s = inline.current_time()
    with pytest.raises(StoreUnavailableError, match="cannot read m/x: no answer from the store within 60 s"):
        await ask(Script(HangError()))
    assert inline.current_time() - began_s == pytest.approx(60.0)
    with pytest.raises(CorruptAnswerError, match="cut"):
        await ask(Script(CorruptAnswerError("cut"), HangError()))


async def test_pause_holds_no_thread(inline: MockClock) -> None:
    limiter = trio.CapacityLimiter(1)
    order: list[str] = []

    async def other() -> None:
        await trio.sleep(1e-9)
        await in_thread_with_retries(lambda: order.append("other"), what="x", policy=POLICY, limiter=limiter)

    async def first() -> None:
        script = Script(StoreUnavailableError("away"), "answer")
        await in_thread_with_retries(script, what="x", policy=POLICY, limiter=limiter)
        order.append("first")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(first)
        nursery.start_soon(other)
    assert order == ["other", "first"]


async def test_cancelled_caller_stays_cancelled(inline: MockClock) -> None:
    with trio.move_on_after(5) as scope:
        await ask(Script(StoreUnavailableError("away")))
    assert scope.cancelled_caught


async def test_lasting_failure_is_a_warning_and_a_short_one_is_not(
    caplog: pytest.LogCaptureFixture, inline: MockClock
) -> None:
    with caplog.at_level(logging.INFO):
        await ask(Script(*[StoreUnavailableError("away")] * 3, "answer"))
        assert [record.levelname for record in caplog.records] == ["INFO"] * 3
        caplog.clear()
        await ask(Script(*[StoreUnavailableError("away")] * 5, "answer"))
    assert [record.levelname for record in caplog.records].count("WARNING") == 1


async def test_thread_of_a_late_request_is_abandoned() -> None:
    release = threading.Event()
    with pytest.raises(StoreUnavailableError, match="no answer"):
        await ask(lambda: release.wait(30), RetryPolicy(deadline_s=0.05))
    release.set()


@given(st.integers(0, 10_000))
def test_pause_is_positive_and_bounded(attempt: int) -> None:
    assert 0 < POLICY.pause_s(attempt) <= min(10.0, 0.1 * 2.0 ** min(attempt, 32))


# -- listings


@pytest.fixture
def store() -> MemoryStore:
    memory = MemoryStore(page_size=10)
    for number in range(35):
        memory.put(f"m/{number:02d}", b"x")
    return memory


async def everything(store: Any) -> list[ObjectInfo]:
    return await list_everything(store, policy=POLICY, limiter=trio.CapacityLimiter(1))


def failing(*errors: Exception | None) -> Callable[[str, ObjectInfo | None], None]:
    left: Iterator[Exception | None] = iter(errors)

    def fail(_kind: str, _info: ObjectInfo | None) -> None:
        error = next(left, None)
        if error is not None:
            raise error

    return fail


async def test_listing_is_every_page(store: MemoryStore, inline: MockClock) -> None:
    assert [info.key for info in await everything(store)] == [f"m/{number:02d}" for number in range(35)]
    assert await everything(MemoryStore()) == []


async def test_failing_page_is_asked_for_again_and_the_others_are_not(store: MemoryStore, inline: MockClock) -> None:
    store.fail = failing(None, StoreUnavailableError("away"), CorruptAnswerError("cut"))
    assert len(await everything(store)) == 35
    assert store.listings == 1


@pytest.mark.parametrize("page", range(4))
async def test_listing_is_all_or_nothing(store: MemoryStore, page: int, inline: MockClock) -> None:
    store.fail = failing(*[None] * page, AccessRefusedError("no"))
    with pytest.raises(AccessRefusedError):
        await everything(store)


class Circle:
    """A store whose pages follow each other round and round."""

    def __init__(self, *tokens: str) -> None:
        self._next = dict(zip(tokens, [*tokens[1:], tokens[0]], strict=True))
        self._first = tokens[0]

    def list_page(self, token: str | None, _folder: str = "") -> Page:
        return Page([], self._first if token is None else self._next[token])


@pytest.mark.parametrize("tokens", [("a",), ("a", "b"), ("a", "b", "c")])
async def test_listing_that_goes_round_in_a_circle_is_given_up(tokens: tuple[str, ...], inline: MockClock) -> None:
    with pytest.raises(CorruptAnswerError, match="never ends"):
        await everything(Circle(*tokens))


# -- what is not shown


def test_omission_is_told_once_and_on_one_line(caplog: pytest.LogCaptureFixture) -> None:
    omissions = Omissions()
    for key in ("m/\n", "m/\n", "m/é"):
        omissions.tell(key, "it is odd")
    assert [record.getMessage() for record in caplog.records] == [
        "not shown, it is odd key='m/\\n'",
        "not shown, it is odd key='m/\\xe9'",
    ]


def test_omissions_told_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    omissions = Omissions()
    for number in range(3000):
        omissions.tell(str(number), "it is odd")
    assert len(caplog.records) == 1000


async def test_a_try_that_drips_is_given_up_and_gives_its_place_back(inline: MockClock) -> None:
    limiter = trio.CapacityLimiter(1)
    policy = RetryPolicy(deadline_s=60.0, attempt_s=5.0)
    script = Script(HangError(), "answer")
    began_s = inline.current_time()
    found = await in_thread_with_retries(script, what="read m/x", policy=policy, limiter=limiter)
    assert found == "answer"
    assert 5.0 <= inline.current_time() - began_s < 6.0
    assert limiter.borrowed_tokens == 0
    with pytest.raises(StoreUnavailableError, match="too slow"):
        await in_thread_with_retries(Script(HangError()), what="read m/x", policy=policy, limiter=limiter)
