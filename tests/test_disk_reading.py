"""The cache's way to the disk and to the store: who asks whom, and who waits for whom."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from disk_for_tests import MIB, PATIENCE_S, content, info, keep, opened, tier_at

from modelfs import disk_reading
from modelfs.blocks import BLOCK_BYTES, ObjectInfo
from modelfs.connections import Connections, Ticket
from modelfs.disk import DiskTier
from modelfs.disk_format import CHUNK_BYTES
from modelfs.errors import StoreUnavailableError
from modelfs.reading import fetching
from modelfs.store import Page

WHOLE = info()


class Store:
    """A store that counts what it is asked for; a read waits while ``gate`` is closed, and fails as ``fails`` says."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.fails: list[Exception] = []

    def list_page(self, token: str | None, folder: str = "") -> Page:
        raise NotImplementedError(token, folder)

    def read(self, whole: ObjectInfo, offset: int, length: int) -> memoryview:
        self.asked.append((offset, length))
        assert self.gate.wait(PATIENCE_S)
        if self.fails:
            raise self.fails.pop()
        return memoryview(content(whole))[offset : offset + length]


class Mount:
    """The read path of one mount, from the cache downwards."""

    def __init__(self, store: Store, tier: DiskTier, connections: int = 4) -> None:
        self.connections = Connections(most=connections)
        self._fetch = fetching(store, deadline_s=PATIENCE_S, stall_timeout_s=PATIENCE_S, disk=tier)

    def ticket(self, length: int = CHUNK_BYTES, *, is_urgent: bool = True) -> Ticket:
        return self.connections.ticket("file", length, is_urgent=is_urgent)

    async def read(self, offset: int = 0, length: int = CHUNK_BYTES, *, is_urgent: bool = True) -> None:
        """Read, and see that it is right."""
        ticket = self.ticket(length, is_urgent=is_urgent)
        ticket.line_up()
        try:
            data = await self._fetch(WHOLE, offset, length, ticket)
        finally:
            ticket.end()
        assert bytes(data) == content(WHOLE)[offset : offset + length]


@pytest.fixture
def store() -> Store:
    return Store()


async def until(condition: Callable[[], object]) -> None:
    with trio.fail_after(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  of threads
            await trio.sleep(0.005)


async def test_what_came_from_the_store_comes_from_the_disk_next(tmp_path: Path, store: Store) -> None:
    with opened(tmp_path) as tier:
        mount = Mount(store, tier)
        await mount.read()
        assert await trio.to_thread.run_sync(tier.flush, PATIENCE_S)
        await mount.read()
        await mount.read(BLOCK_BYTES, BLOCK_BYTES)
    assert store.asked == [(0, CHUNK_BYTES)]


async def test_what_is_on_the_disk_waits_for_no_connection(tmp_path: Path, store: Store) -> None:
    with opened(tmp_path) as tier:
        keep(tier, WHOLE, 0, CHUNK_BYTES)
        mount = Mount(store, tier, connections=1)
        async with mount.ticket(), trio.open_nursery() as nursery:
            with trio.fail_after(PATIENCE_S):
                await mount.read()
                nursery.start_soon(mount.read)
    assert not store.asked


async def test_mounts_download_a_block_once(tmp_path: Path, store: Store) -> None:
    with opened(tmp_path) as one, opened(tmp_path) as other, opened(tmp_path) as third:
        store.gate.clear()
        async with trio.open_nursery() as nursery:
            for tier in (one, other, third):
                nursery.start_soon(Mount(store, tier).read)
            await until(lambda: store.asked)
            store.gate.set()
    assert store.asked == [(0, CHUNK_BYTES)]


async def test_who_waits_for_a_part_asks_for_the_rest(tmp_path: Path, store: Store) -> None:
    with opened(tmp_path) as one, opened(tmp_path) as other:
        store.gate.clear()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Mount(store, one).read, 0, MIB)
            await until(lambda: store.asked)
            nursery.start_soon(Mount(store, other).read, 0, CHUNK_BYTES)
            await trio.sleep(0.05)  # so that it meets the claim, as a rule; it is right in any case
            store.gate.set()
    assert sum(length for _, length in store.asked) == CHUNK_BYTES


async def test_a_holder_that_never_ends_is_not_waited_for(tmp_path: Path, store: Store) -> None:
    with opened(tmp_path) as one, opened(tmp_path) as other:
        assert one.claim(WHOLE, 0, CHUNK_BYTES) is not None
        with trio.fail_after(PATIENCE_S):
            await Mount(store, other).read()
        assert await trio.to_thread.run_sync(other.flush, PATIENCE_S)
        await Mount(store, other).read()
    assert store.asked == [(0, CHUNK_BYTES)]


async def test_a_reader_that_comes_to_wait_for_a_prefetch_waits_as_short_as_others(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_reading, "EARLY_S", 10 * PATIENCE_S)
    with opened(tmp_path) as one, opened(tmp_path) as other:
        assert one.claim(WHOLE, 0, CHUNK_BYTES) is not None
        mount = Mount(store, other)
        ticket = mount.ticket(is_urgent=False)
        with trio.fail_after(PATIENCE_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(mount._fetch, WHOLE, 0, CHUNK_BYTES, ticket)
                await trio.sleep(0.05)
                ticket.promote()
    assert store.asked == [(0, CHUNK_BYTES)]


async def test_a_download_that_fails_is_left_to_others(tmp_path: Path, store: Store) -> None:
    with opened(tmp_path) as one:
        fetch = fetching(store, deadline_s=0.05, stall_timeout_s=PATIENCE_S, disk=one)
        store.fails = [StoreUnavailableError("away")] * 100
        ticket = Connections(most=1).ticket("file", CHUNK_BYTES, is_urgent=True)
        with pytest.raises(StoreUnavailableError):
            await fetch(WHOLE, 0, CHUNK_BYTES, ticket)
        assert one.claim(WHOLE, 0, CHUNK_BYTES) is not None


async def test_a_download_that_is_given_up_is_left_to_others(tmp_path: Path, store: Store) -> None:
    with opened(tmp_path) as one:
        store.gate.clear()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Mount(store, one).read)
            await until(lambda: store.asked)
            nursery.cancel_scope.cancel()
        assert one.claim(WHOLE, 0, CHUNK_BYTES) is not None
        store.gate.set()


async def test_a_disk_that_hangs_is_left_alone(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_reading, "PATIENCE_S", 0.05)
    end = threading.Event()
    with opened(tmp_path) as tier:
        keep(tier, WHOLE, 0, CHUNK_BYTES)
        monkeypatch.setattr(tier, "read", lambda *_: end.wait(PATIENCE_S) and None)
        with trio.fail_after(PATIENCE_S):
            await Mount(store, tier).read()
        assert not tier.may_have(WHOLE, 0, CHUNK_BYTES)
        assert "does not answer" in tier.statistics()["trouble"]
        end.set()
    assert store.asked == [(0, CHUNK_BYTES)]


async def test_what_came_from_the_disk_tells_nothing_of_the_link(tmp_path: Path, store: Store) -> None:
    with opened(tmp_path) as tier:
        keep(tier, WHOLE, 0, CHUNK_BYTES)
        mount = Mount(store, tier)
        ticket = mount.ticket()
        ticket.line_up()
        assert bytes(await mount._fetch(WHOLE, 0, CHUNK_BYTES, ticket)) == content(WHOLE)[:CHUNK_BYTES]
        assert not ticket.is_of_the_link


async def test_an_early_download_waits_for_a_disk_that_is_behind_where_others_read_the_same(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_reading, "PACE_S", 10 * PATIENCE_S)
    tier = tier_at(tmp_path, queue_bytes=CHUNK_BYTES)
    tier._ledger.open()  # nothing is written
    assert tier.keep(WHOLE, 0, memoryview(content(WHOLE))[:CHUNK_BYTES], None)
    mount = Mount(store, tier)
    await mount.read(CHUNK_BYTES, MIB, is_urgent=False)
    assert len(store.asked) == 1, "nobody else reads it"
    with opened(tmp_path) as other, other.attending(WHOLE):
        await mount.read(CHUNK_BYTES + MIB, MIB)
        assert len(store.asked) == 2, "a reader does not wait for the disk"
        ticket = mount.ticket(MIB, is_urgent=False)
        with trio.fail_after(PATIENCE_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(mount._fetch, WHOLE, CHUNK_BYTES + 2 * MIB, MIB, ticket)
                await trio.sleep(0.05)
                assert len(store.asked) == 2
                ticket.promote()
    assert len(store.asked) == 3


async def test_a_disk_that_stays_behind_is_not_waited_for(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_reading, "PACE_S", 0.05)
    tier = tier_at(tmp_path, queue_bytes=CHUNK_BYTES)
    tier._ledger.open()  # nothing is written
    assert tier.keep(WHOLE, 0, memoryview(content(WHOLE))[:CHUNK_BYTES], None)
    with opened(tmp_path) as other, other.attending(WHOLE), trio.fail_after(PATIENCE_S):
        await Mount(store, tier).read(CHUNK_BYTES, MIB, is_urgent=False)
    assert store.asked == [(CHUNK_BYTES, MIB)]
