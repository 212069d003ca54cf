"""Buffers: memory is used again when nobody sees it any more, and never before."""

import threading

from hypothesis import given, settings
from hypothesis import strategies as st

from modelfs.buffers import REUSED_BYTES, Buffers

MIB = 2**20


def test_a_buffer_is_exactly_as_long_as_asked_and_can_be_written_to() -> None:
    buffers = Buffers()
    for length in (1, 4096, REUSED_BYTES - 1, REUSED_BYTES, 3 * MIB + 1, 8 * MIB):
        view = buffers.take(length)
        view[-1] = 7
        assert len(view) == length
        assert view.contiguous


def test_what_nobody_holds_is_used_again() -> None:
    buffers = Buffers()
    for _ in range(10):
        buffers.take(4 * MIB)
    assert buffers.allocated_bytes == 4 * MIB


def test_any_kind_of_view_keeps_a_buffer() -> None:
    buffers = Buffers()
    held = [
        buffers.take(4 * MIB).toreadonly(),
        buffers.take(4 * MIB)[5:6],
        memoryview(buffers.take(4 * MIB)),
        buffers.take(4 * MIB).cast("I"),
    ]
    for _ in range(10):
        buffers.take(4 * MIB)[:] = b"x" * (4 * MIB)
    assert not any(bytes(each).strip(b"\0") for each in held)
    assert buffers.allocated_bytes == 5 * 4 * MIB


def test_what_a_thread_still_writes_to_is_not_used_again() -> None:
    """A request that was given up goes on receiving until its time-out."""
    buffers = Buffers()
    may_end = threading.Event()

    def receive(view: memoryview) -> None:
        may_end.wait(30)
        view[:] = b"late" * MIB

    thread = threading.Thread(target=receive, args=(buffers.take(4 * MIB),))
    thread.start()
    again = buffers.take(4 * MIB)
    may_end.set()
    thread.join(30)
    assert bytes(again) == bytes(4 * MIB)
    assert buffers.allocated_bytes == 8 * MIB


def test_trim_gives_back_what_is_free_and_nothing_else() -> None:
    buffers = Buffers()
    held = buffers.take(2 * MIB)
    free = [buffers.take(4 * MIB) for _ in range(3)]
    held[:4] = b"here"
    buffers.trim()
    assert buffers.allocated_bytes == 14 * MIB
    del free
    buffers.trim(keep_bytes=5 * MIB)
    assert buffers.allocated_bytes == 6 * MIB
    buffers.trim()
    assert buffers.allocated_bytes == 2 * MIB
    assert bytes(held[:4]) == b"here"


def test_small_ones_are_not_kept() -> None:
    buffers = Buffers()
    held = [buffers.take(REUSED_BYTES - 1) for _ in range(5)]
    assert buffers.allocated_bytes == 0
    assert len({id(view.obj) for view in held}) == 5


def test_free_memory_of_another_size_is_given_back_rather_than_kept_beside() -> None:
    """Else a budget of 256 MiB would take as much again for each size that was ever asked for."""
    buffers = Buffers()
    for length in (MIB, 2 * MIB + 1, 5 * MIB, 16 * MIB, 3 * MIB, MIB):
        held = [buffers.take(length) for _ in range(16 * MIB // length)]
        assert buffers.allocated_bytes <= 32 * MIB
        del held


lengths = st.sampled_from([1, MIB, MIB + 1, 2 * MIB, 3 * MIB, 8 * MIB])


class Held:
    """Views that are held, each signed at both ends with a number."""

    def __init__(self) -> None:
        self._views: dict[int, memoryview] = {}

    def take(self, buffers: Buffers, number: int, length: int) -> None:
        view = self._views[number] = buffers.take(length)
        view[:8] = view[-8:] = number.to_bytes(8)

    def drop(self, which: int) -> None:
        if self._views:
            del self._views[sorted(self._views)[which % len(self._views)]]

    def check(self) -> int:
        """Check that nobody else has written to them, and return how much memory they hold."""
        assert all(view[:8] == view[-8:] == number.to_bytes(8) for number, view in self._views.items())
        return sum(memoryview(view.obj).nbytes for view in self._views.values() if len(view) >= REUSED_BYTES)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.booleans(), lengths, st.integers(0, 100)), max_size=40))
def test_no_two_that_are_held_share_a_byte_and_no_more_is_kept_than_was_ever_held(
    schedule: list[tuple[bool, int, int]],
) -> None:
    buffers, held = Buffers(), Held()
    most = 0
    for number, (takes, length, which) in enumerate(schedule):
        if takes:
            held.take(buffers, number, length + 16)
        else:
            held.drop(which)
        most = max(most, held.check())
        assert buffers.allocated_bytes <= most
