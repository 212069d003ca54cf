"""Buffers: no two holders of one, and no more of them than the budget."""

from modelfs.buffers import REUSED_BYTES, Buffers

MIB = 1024 * 1024


def test_a_buffer_that_is_held_is_never_lent_again() -> None:
    buffers = Buffers()
    one = buffers.take(2 * MIB)[5:9].toreadonly()
    two = buffers.take(2 * MIB)
    two[:] = b"\1" * len(two)
    assert one.tobytes() == b"\0\0\0\0"
    assert buffers.allocated_bytes == 4 * MIB


def test_a_buffer_that_nobody_holds_is_used_again() -> None:
    buffers = Buffers()
    for length in (4 * MIB, 4 * MIB - 1, 3 * MIB + MIB // 4):
        assert len(buffers.take(length)) == length
    assert buffers.allocated_bytes == 4 * MIB


def test_buffers_of_another_size_give_way_to_those_that_are_wanted_now() -> None:
    buffers = Buffers()
    buffers.most_bytes = 64 * MIB
    for length in (8 * MIB, 4 * MIB, 2 * MIB, MIB):
        held = [buffers.take(length) for _ in range(64 * MIB // length)]
        assert buffers.allocated_bytes == 64 * MIB
        del held


def test_what_is_held_stays_whatever_the_bound_is() -> None:
    buffers = Buffers()
    buffers.most_bytes = 8 * MIB
    held = [buffers.take(4 * MIB) for _ in range(3)]
    for number, view in enumerate(held):
        view[:4] = bytes([number]) * 4
    buffers.trim()
    assert [view[0] for view in held] == [0, 1, 2]
    assert buffers.allocated_bytes == 12 * MIB


def test_trimming_gives_back_what_is_free() -> None:
    buffers = Buffers()
    kept = buffers.take(REUSED_BYTES)
    buffers.take(8 * MIB)
    buffers.trim()
    assert buffers.allocated_bytes == len(kept)
