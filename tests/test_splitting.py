"""Splitting: a large listing in several places at once is the listing page after page, whatever changes in between."""

import itertools
import math
import threading
from collections.abc import Callable, Sequence

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stores.cloud_store import PAGE, CloudStore, GcsStore, LevelledStore, S3Store
from stores.memory_store import MemoryStore

from modelfs.blocks import ObjectInfo
from modelfs.errors import AccessRefusedError, StoreRefusedError, StoreUnavailableError
from modelfs.spans import order
from modelfs.splitting import AT_ONCE, PREFIXES_MOST, Splitting
from modelfs.store import Page, RetryPolicy

POLICY = RetryPolicy(deadline_s=30, first_pause_s=0.001, longest_pause_s=0.002)


STORES = [CloudStore, LevelledStore, S3Store, GcsStore]


def splitting(store: MemoryStore) -> Splitting:
    return Splitting(store, policy=POLICY, limiter=trio.CapacityLimiter(2))


def keys_of(objects: Sequence[ObjectInfo]) -> list[str]:
    return sorted((info.key for info in objects), key=order)


def models(number: int, files: int) -> list[str]:
    return [f"model_{model:03d}/1/{file:04d}" for model in range(number) for file in range(files)]


keys = st.text(st.sampled_from("ab/\udc80\U0001f600\uffff~ "), min_size=1, max_size=6)


@pytest.mark.parametrize("kind", STORES)
@given(st.lists(st.sets(keys, max_size=120), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_listings_in_parts_are_what_is_stored_whatever_was_there_before(
    kind: type[CloudStore], contents: list[set[str]]
) -> None:
    async def main() -> None:
        store = kind()
        each = splitting(store)
        for content in contents:
            for key in set(store.keys()) - content:
                store.delete(key)
            for key in content:
                store.put(key, b"")
            for _ in range(2):
                assert keys_of(await each.everything()) == sorted(content, key=order)

    trio.run(main)


@pytest.mark.parametrize("kind", [S3Store, GcsStore])
@pytest.mark.parametrize("content", [models(60, 3), models(1, 180), [f"{number:03d}" for number in range(180)]])
async def test_a_second_listing_is_made_of_spans_and_costs_the_requests_of_one(
    kind: type[CloudStore], content: list[str]
) -> None:
    store = kind(content)
    each = splitting(store)
    await each.everything()
    counts: list[int] = []

    async def note(count: int) -> None:
        counts.append(count)
        await trio.lowlevel.checkpoint()

    for _ in range(3):
        store.requests = 0
        counts.clear()
        assert keys_of(await each.everything(note)) == content
        assert store.requests == each.pages == math.ceil(len(content) / PAGE)
        assert counts == [PAGE * (page + 1) for page in range(store.requests)]


@pytest.mark.parametrize("kind", [LevelledStore, S3Store, GcsStore])
async def test_a_first_listing_that_turns_out_to_be_large_is_parted_by_the_names_of_folders(
    kind: type[CloudStore],
) -> None:
    content = sorted(["a", *models(60, 3), "model_", "z"])
    store = kind(content)
    assert keys_of(await splitting(store).everything()) == content
    pages = math.ceil(len(content) / PAGE)
    assert pages < store.requests <= pages + 10 + 1 + PREFIXES_MOST


@pytest.mark.parametrize("kind", STORES)
async def test_a_small_listing_is_page_after_page(kind: type[CloudStore]) -> None:
    store = kind(models(10, 3))
    each = splitting(store)
    for _ in range(3):
        store.requests = 0
        assert keys_of(await each.everything()) == models(10, 3)
        assert store.requests == 10


async def test_without_spans_the_folders_are_parted_again_where_that_is_hardly_more() -> None:
    store = LevelledStore(models(60, 3))
    each = splitting(store)
    for _ in range(3):
        store.requests = 0
        assert keys_of(await each.everything()) == models(60, 3)
    assert each.pages <= store.requests <= 60 + 1 + PREFIXES_MOST


async def test_what_lies_in_one_folder_is_asked_for_page_after_page_without_spans() -> None:
    store = LevelledStore(models(1, 180))
    each = splitting(store)
    for expected in (60 + 1, 60, 60):  # a look at the folders, once
        store.requests = 0
        assert keys_of(await each.everything()) == models(1, 180)
        assert store.requests == expected
        assert each.pages == 60


@pytest.mark.parametrize(
    "spoil",
    [
        lambda store: setattr(store, "arrange", lambda keys: sorted(keys, key=hash)),
        lambda store: setattr(store, "arrange", lambda keys: sorted(keys, reverse=True)),
        lambda store: setattr(store, "list_span_page", lambda token, begin, end: store.list_page(token)),  # noqa: ARG005
        lambda store: setattr(store, "list_span_page", refuse),
    ],
    ids=["in no order", "backwards", "ignores the span", "refuses"],
)
async def test_a_store_that_does_not_keep_to_its_order_is_listed_page_after_page(
    spoil: Callable[[MemoryStore], None],
) -> None:
    store = S3Store(models(1, 180))
    each = splitting(store)
    await each.everything()
    spoil(store)
    for _ in range(3):
        assert keys_of(await each.everything()) == models(1, 180)
    store.requests = 0
    await each.everything()
    assert store.requests == 60


def refuse(*_arguments: object, **_more: object) -> Page:
    raise StoreRefusedError("NotImplemented")


def failing(error: Exception, *, page: int, times: int) -> Callable[[str, ObjectInfo | None], None]:
    """Return what lets so many requests pass and then fails some."""
    asked = itertools.count()

    def fail(_kind: str, _info: ObjectInfo | None) -> None:
        if page <= next(asked) < page + times:
            raise error

    return fail


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("page", range(0, 56, 5))
@pytest.mark.parametrize("is_first", [True, False])
async def test_a_part_that_fails_fails_the_whole_and_one_that_recovers_does_not(
    kind: type[CloudStore],
    page: int,
    is_first: bool,  # noqa: FBT001  parametrized
) -> None:
    store = kind(models(60, 3))
    each = splitting(store)
    if not is_first:
        await each.everything()
    store.fail = failing(StoreUnavailableError("away"), page=page, times=2)
    assert keys_of(await each.everything()) == models(60, 3)
    store.fail = failing(AccessRefusedError("no"), page=page, times=1)
    with pytest.raises(AccessRefusedError):
        await each.everything()


async def test_parts_are_asked_for_side_by_side_but_not_too_many() -> None:
    store = S3Store(models(60, 30))
    each = splitting(store)
    await each.everything()
    all_there = threading.Barrier(AT_ONCE, timeout=60)
    mutex = threading.Lock()
    first = AT_ONCE
    now = most = 0

    def watch(_kind: str, _info: ObjectInfo | None) -> None:
        nonlocal first, now, most
        with mutex:
            is_first, first = first > 0, first - 1
            now += 1
            most = max(most, now)
        if is_first:
            all_there.wait()  # breaks, and fails the listing, where fewer come
        with mutex:
            now -= 1

    store.fail = watch
    await each.everything()
    assert most == AT_ONCE
