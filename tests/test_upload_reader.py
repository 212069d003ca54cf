"""How a store is asked for uploads that have not ended, and what follows when it does not answer. In virtual time."""

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing
from stores.memory_store import MemoryStore

from modelfs import upload_reader
from modelfs.blocks import ObjectInfo
from modelfs.errors import AccessRefusedError, CorruptAnswerError, ModelfsError, StoreUnavailableError
from modelfs.store import Page
from modelfs.upload_reader import FAILURES_MOST, MODELS_MOST, PAGES_MOST, UploadReader
from modelfs.uploads import WHOLE, Upload, Uploads

X = Upload("m/1/x", 5)


class Deaf:
    """A store that cannot be asked."""

    def list_page(self, token: str | None, folder: str = "") -> Page:
        raise NotImplementedError

    def read(self, info: ObjectInfo, offset: int, length: int) -> memoryview:
        raise NotImplementedError


def store_with(*uploads: Upload, page_size: int = 1000) -> MemoryStore:
    store = MemoryStore(page_size=page_size)
    store.uploads = list(uploads)
    return store


def failing(store: MemoryStore, error: ModelfsError | None) -> None:
    def fail(kind: str, _info: ObjectInfo | None) -> None:
        if kind == "uploads" and error is not None:
            raise error

    store.fail = fail


def in_virtual_time(body: Callable[[], Awaitable[None]]) -> None:
    trio.run(body, clock=trio.testing.MockClock(autojump_threshold=0.05))


async def test_uploads_are_told_by_model_and_only_of_those_that_were_asked_for() -> None:
    store = store_with(X, Upload("n/1/y", 7), Upload("m/z", 8), Upload("o/1/z", 9))
    found = await UploadReader(store).read(["m", "n"])
    assert found == Uploads({"m": [X, Upload("m/z", 8)], "n": [Upload("n/1/y", 7)]}, frozenset({"m", "n"}))
    assert sorted(store.uploads_asked) == ["m/", "n/"]


async def test_nothing_due_costs_no_request() -> None:
    store = store_with(X)
    assert await UploadReader(store).read([]) == Uploads({}, frozenset())
    assert store.uploads_asked == []


async def test_a_store_that_cannot_be_asked_holds_nothing_back() -> None:
    assert await UploadReader(Deaf()).read(["m"]) == Uploads()


@pytest.mark.parametrize("models", [[WHOLE], [f"m{number}" for number in range(MODELS_MOST + 1)]])
async def test_many_models_are_one_question(models: list[str]) -> None:
    store = store_with(X)
    found = await UploadReader(store).read(models)
    assert found == Uploads({"m": [X]}, frozenset({WHOLE}))
    assert store.uploads_asked == [""]


async def test_of_more_pages_than_the_bound_the_first_ones_count() -> None:
    store = store_with(*(Upload(f"m/1/{number}", 5) for number in range(PAGES_MOST + 2)), page_size=1)
    found = await UploadReader(store).read(["m"])
    assert len(found.open["m"]) == PAGES_MOST


async def test_a_refusal_is_told_once_and_the_store_is_not_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", upload_reader.__name__)
    store = store_with(X)
    failing(store, AccessRefusedError("403"))
    reader = UploadReader(store)
    for _ in range(3):
        found = await reader.read(["m"])
        assert found.knows("m")
        assert not found.open
        reader.note_listed()
    assert store.uploads_asked == ["m/"]
    assert caplog.text.count("are not looked for any more") == 1


async def test_a_refusal_of_a_store_that_refuses_everything_is_no_last_word() -> None:
    store = store_with(X)
    reader = UploadReader(store)
    failing(store, AccessRefusedError("the keys are being rotated"))
    await reader.read(["m"])  # and the listing fails too
    failing(store, None)
    assert (await reader.read(["m"])).open == {"m": [X]}
    reader.note_listed()
    assert (await reader.read(["m"])).open == {"m": [X]}


@pytest.mark.parametrize("error", [StoreUnavailableError("503"), CorruptAnswerError("nonsense")])
def test_the_weather_passes_and_what_lasts_is_a_refusal(error: ModelfsError) -> None:
    store = store_with(X)
    reader = UploadReader(store)

    async def ask(times: int) -> None:
        for _ in range(times):
            began_s = trio.current_time()
            assert not (await reader.read(["m"])).open
            assert trio.current_time() - began_s <= 2 * upload_reader.DEADLINE_S
            reader.note_listed()

    async def body() -> None:
        failing(store, error)
        await ask(FAILURES_MOST - 1)
        failing(store, None)
        assert (await reader.read(["m"])).open == {"m": [X]}
        reader.note_listed()
        failing(store, error)
        await ask(FAILURES_MOST)
        failing(store, None)
        assert await reader.read(["m"]) == Uploads()

    in_virtual_time(body)


async def test_before_the_first_listing_a_store_that_is_away_is_asked_but_once() -> None:
    store = store_with(X)
    failing(store, StoreUnavailableError("away"))
    assert await UploadReader(store).read([WHOLE], is_first=True) == Uploads(asked=frozenset({WHOLE}))
    assert store.uploads_asked == [""]


async def test_an_upload_without_a_date_began_when_it_was_first_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = UploadReader(store_with(Upload("m/1/x", 0)))
    for now_ns in (1000, 2000):
        monkeypatch.setattr("time.time_ns", lambda now_ns=now_ns: now_ns)
        assert (await reader.read(["m"])).open == {"m": [Upload("m/1/x", 1000)]}
