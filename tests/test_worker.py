"""The worker's way from the cache to the store."""

import threading

import pytest
import trio

from modelfs.blocks import ObjectInfo
from modelfs.connections import Connections
from modelfs.store import Page
from modelfs.worker import _fetching

INFO = ObjectInfo("key", 1, "version", 0)
PATIENCE_S = 60.0  # bounds a hang; nothing here measures time


class Meeting:
    """A store in which a read ends only when ``many`` of them are there; ``most`` is how many ever were."""

    def __init__(self, many: int) -> None:
        self.most = 0
        self._here = 0
        self._lock = threading.Lock()
        self._barrier = threading.Barrier(many, timeout=PATIENCE_S)

    def list_page(self, token: str | None) -> Page:
        raise NotImplementedError(token)

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
    fetch = _fetching(store, deadline_s=PATIENCE_S, stall_timeout_s=20)
    connections = Connections(most=max_connections)
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            for is_urgent in (False,) * prefetches + (True,) * demands:
                nursery.start_soon(fetch, INFO, 0, 1, connections.ticket(INFO.key, 1, is_urgent=is_urgent))
    assert store.most == max_connections
