"""Small objects are read once for each version, within bounds, and a failure is no obstacle."""

import pytest
import trio
from stores.memory_store import MemoryStore

from modelfs import texts
from modelfs.blocks import ObjectInfo
from modelfs.errors import StoreRefusedError, StoreUnavailableError
from modelfs.store import RetryPolicy
from modelfs.texts import TextReader

POLICY = RetryPolicy(deadline_s=30, first_pause_s=0.001, longest_pause_s=0.002)


async def test_a_version_is_read_once_and_a_new_one_again() -> None:
    store = MemoryStore()
    reader = TextReader(store, POLICY)
    info = store.put("a", b"one")
    empty = store.put("empty", b"")
    for _ in range(3):
        assert await reader.read([info, empty]) == {"a": b"one", "empty": b""}
    assert store.reads == [("a", 0, 3)]
    assert await reader.read([store.put("a", b"two")]) == {"a": b"two"}


async def test_what_cannot_be_read_is_none_and_is_asked_for_again_the_next_time() -> None:
    store = MemoryStore()
    reader = TextReader(store, POLICY)
    gone, there = store.put("gone", b"x"), store.put("there", b"y")
    store.delete("gone")
    assert await reader.read([gone, there]) == {"gone": None, "there": b"y"}

    def refuse(_kind: str, _info: ObjectInfo | None) -> None:
        raise StoreRefusedError("no")

    store.fail = refuse
    other = store.put("other", b"z")
    assert await reader.read([other]) == {"other": None}
    store.fail = None
    assert await reader.read([other]) == {"other": b"z"}


async def test_what_is_too_large_or_too_much_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    infos = [store.put(f"{number}", bytes(number)) for number in range(1, 9)]
    reader = TextReader(store, POLICY)
    monkeypatch.setattr(texts, "TEXT_BYTES_MAX", 4)
    assert list(await reader.read(infos)) == ["1", "2", "3", "4"]
    monkeypatch.setattr(texts, "TEXTS_MAX", 2)
    assert list(await reader.read(infos)) == ["1", "2"]
    monkeypatch.setattr(texts, "ROUND_BYTES_MAX", 1)
    assert list(await reader.read(infos)) == ["1"]


async def test_what_is_kept_is_bounded_and_the_last_used_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "KEPT_BYTES", 6)
    store = MemoryStore()
    first, second, third = (store.put(name, name.encode() * 3) for name in "abc")
    reader = TextReader(store, POLICY)
    for info in (first, second, first, third, first):
        await reader.read([info])
    assert [key for key, _, _ in store.reads] == ["a", "b", "c"]
    await reader.read([second])
    assert [key for key, _, _ in store.reads] == ["a", "b", "c", "b"]


async def test_a_store_that_fails_for_long_holds_a_refresh_up_for_one_deadline_only() -> None:
    store = MemoryStore()

    def away(_kind: str, _info: ObjectInfo | None) -> None:
        raise StoreUnavailableError("away")

    store.fail = away
    infos = [store.put(f"{number}", b"x") for number in range(100)]
    reader = TextReader(store, RetryPolicy(deadline_s=0.05, first_pause_s=0.001))
    with trio.fail_after(60):
        assert set((await reader.read(infos)).values()) == {None}
