"""The read path put together: the way from the cache to the store."""

import threading

import pytest
import trio

from modelfs.blocks import ObjectInfo
from modelfs.connections import Connections
from modelfs.errors import AccessRefusedError
from modelfs.failing import FailingReads
from modelfs.reading import fetching
from modelfs.store import Page

INFO = ObjectInfo("key", 1, "version", 0)
PATIENCE_S = 60.0  # bounds a hang; nothing here measures time


class Meeting:
    """A store in which a read ends only when ``many`` of them are there; ``most`` is how many ever were."""

    def __init__(self, many: int) -> None:
        self.most = 0
        self._here = 0
        self._lock = threading.Lock()
        self._barrier = threading.Barrier(many, timeout=PATIENCE_S)

    def list_page(self, token: str | None, folder: str = "") -> Page:
        raise NotImplementedError(token, folder)

    def read(self, _info: ObjectInfo, _offset: int, _length: int) -> memoryview:
        with self._lock:
            self._here += 1
            self.most = max(self.most, self._here)
        self._barrier.wait()
        with self._lock:
            self._here -= 1
        return memoryview(b"x")


@pytest.mark.parametrize(("max_connections", "demands", "prefetches"), [(1, 4, 4), (2, 4, 4), (4, 9, 3), (32, 48, 16)])
async def test_as_many_reads_as_allowed_are_made_at_one_time_and_no_more(
    max_connections: int, demands: int, prefetches: int
) -> None:
    store = Meeting(max_connections)
    fetch = fetching(store, deadline_s=PATIENCE_S, stall_timeout_s=20)
    connections = Connections(most=max_connections)
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            for is_urgent in (False,) * prefetches + (True,) * demands:
                nursery.start_soon(fetch, INFO, 0, 1, connections.ticket(INFO.key, 1, is_urgent=is_urgent))
    assert store.most == max_connections


class Failing:
    """A store whose reads fail until it is told otherwise."""

    def __init__(self) -> None:
        self.is_mended = False

    def list_page(self, token: str | None, folder: str = "") -> Page:
        raise NotImplementedError(token, folder)

    def read(self, _info: ObjectInfo, _offset: int, _length: int) -> memoryview:
        if not self.is_mended:
            raise AccessRefusedError("the keys are refused")
        return memoryview(b"x")


async def test_read_that_is_tried_again_counts_as_failing_until_it_succeeds() -> None:
    store, failing = Failing(), FailingReads()
    fetch = fetching(store, deadline_s=PATIENCE_S, stall_timeout_s=20, failing=failing)
    connections = Connections(most=1)
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fetch, INFO, 0, 1, connections.ticket(INFO.key, 1, is_urgent=True))
            while not failing.now().reads:  # noqa: ASYNC110  the product sets no event for a test
                await trio.sleep(0.001)
            assert (failing.now().reads, failing.now().error) == (1, "the keys are refused")
            store.is_mended = True
    assert failing.now().reads == 0
