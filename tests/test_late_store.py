"""A store that cannot be opened yet is weather: whoever asks it tries again, and it is opened once."""

import threading

import pytest
from stores.memory_store import MemoryStore

from modelfs import late_store
from modelfs.errors import AccessRefusedError, ModelfsError, StoreUnavailableError, UsageError
from modelfs.late_store import LateStore
from modelfs.store import Store


@pytest.mark.parametrize("error", [UsageError("no such file"), AccessRefusedError("no"), StoreUnavailableError("away")])
def test_what_keeps_it_from_being_opened_passes(error: ModelfsError, caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    info = store.put("k", b"data")
    failures = [error, error]

    def open_it() -> Store:
        if failures:
            raise failures.pop()
        return store

    late = LateStore(open_it)
    for request in (lambda: late.list_page(None), lambda: late.read(info, 0, 4)):
        with pytest.raises(StoreUnavailableError, match=str(error)):
            request()
    assert late.list_page(None).objects == [info]
    assert bytes(late.read(info, 1, 2)) == b"at"
    assert late.facts() == ("", "", "", None, False, "")
    assert [record.getMessage().partition(";")[0] for record in caplog.records] == [
        "the store cannot be opened",
        "the store is open",
    ]


def test_it_is_opened_once_and_who_waits_for_that_gives_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late_store, "_TURN_S", 0.01)
    begun, may_end = threading.Event(), threading.Event()
    opened = []

    def open_it() -> Store:
        begun.set()
        may_end.wait(30)
        opened.append(MemoryStore())
        return opened[-1]

    late = LateStore(open_it)
    first = threading.Thread(target=lambda: late.list_page(None))
    first.start()
    assert begun.wait(30)
    with pytest.raises(StoreUnavailableError, match="not open yet"):
        late.list_page(None)
    may_end.set()
    first.join(30)
    assert late.list_page(None).objects == []
    assert len(opened) == 1
