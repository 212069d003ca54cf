"""The prefetch policy: what it advises for readers of every habit."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelfs.blocks import BLOCK_BYTES, block_count
from modelfs.readahead import STREAMS_MAX, UNIT_BYTES_MAX, Advice, ReadAhead

PROPERTY = settings(deadline=None)
KIB, MIB, GIB = 2**10, 2**20, 2**30
WINDOW_BYTES = 64 * MIB


def advices(policy: ReadAhead, reads: list[tuple[int, int]]) -> list[Advice]:
    return [policy.on_read(offset, length, window_bytes=WINDOW_BYTES) for offset, length in reads]


@PROPERTY
@given(
    st.integers(1, 64 * MIB),
    st.integers(1, 32 * MIB),
    st.lists(st.tuples(st.integers(0, 64 * MIB), st.integers(1, 4 * MIB)), max_size=60),
)
def test_advice_stays_inside_the_file_and_inside_the_window(
    size: int, window_bytes: int, reads: list[tuple[int, int]]
) -> None:
    policy = ReadAhead(size)
    for offset, length in reads:
        if offset >= size:
            continue
        advice = policy.on_read(offset, length, window_bytes=window_bytes)
        unit, ahead = advice.unit, advice.ahead
        stop = min(offset + length, size)
        assert 1 <= unit <= max(1, min(window_bytes, UNIT_BYTES_MAX) // BLOCK_BYTES)
        if advice.goes_back:
            assert ahead.stop == offset // BLOCK_BYTES  # wholly before the read
        else:
            assert ahead.start == block_count(stop, block_bytes=BLOCK_BYTES)  # wholly behind it
        assert 0 <= ahead.start <= ahead.stop <= block_count(size, block_bytes=BLOCK_BYTES)
        assert len(ahead) * BLOCK_BYTES <= window_bytes + BLOCK_BYTES  # rounded up to whole blocks


@PROPERTY
@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=100, unique=True), st.integers(1, 4 * MIB))
def test_reads_far_from_each_other_cost_their_own_blocks_and_nothing_ahead(places: list[int], length: int) -> None:
    policy = ReadAhead(100_000 * MIB)
    for advice in advices(policy, [(place * 10 * MIB, length) for place in places]):
        assert not advice.ahead
        assert advice.unit * BLOCK_BYTES <= max(length, BLOCK_BYTES)


def test_a_cold_small_read_costs_one_block() -> None:
    assert ReadAhead(GIB).on_read(500 * MIB, 4 * KIB, window_bytes=WINDOW_BYTES) == Advice(
        1, range(4001, 4001), 1, is_stray=True
    )


def test_random_small_reads_of_a_file_of_any_size_earn_next_to_nothing() -> None:
    """Such a reader often lands near one of its own earlier reads; that alone must not make it a stream."""
    for size in (20 * MIB, 100 * MIB, GIB, 20 * GIB):
        chooser = random.Random(size)
        policy = ReadAhead(size)
        taken = advices(policy, [(chooser.randrange(1, size // 4096) * 4096, 4096) for _ in range(2000)])
        assert sum(advice.unit for advice in taken) <= 2 * len(taken)
        assert sum(len(advice.ahead) for advice in taken) <= 2 * len(taken)


def reach(advice: Advice) -> int:
    """Return how far the look-ahead goes, in bytes."""
    return len(advice.ahead) * BLOCK_BYTES


def test_a_sequential_reader_earns_the_greatest_unit_and_the_window() -> None:
    policy = ReadAhead(GIB)
    taken = advices(policy, [(offset, 128 * KIB) for offset in range(0, 64 * MIB, 128 * KIB)])
    assert [one.unit for one in taken] == sorted(one.unit for one in taken)
    assert taken[-1].unit * BLOCK_BYTES == UNIT_BYTES_MAX
    assert reach(taken[-1]) == WINDOW_BYTES


def test_a_reader_that_starts_in_the_middle_earns_the_same() -> None:
    policy = ReadAhead(GIB)
    taken = advices(policy, [(300 * MIB + offset, 128 * KIB) for offset in range(0, 16 * MIB, 128 * KIB)])
    assert not taken[0].ahead
    assert taken[0].unit == 1
    assert taken[-1].unit * BLOCK_BYTES == UNIT_BYTES_MAX


def test_eight_interleaved_readers_are_each_followed() -> None:
    policy = ReadAhead(8 * GIB)
    places = [rank * 512 * MIB for rank in range(8)]
    for step in range(64):
        taken = advices(policy, [(place + step * 256 * KIB, 256 * KIB) for place in places])
    assert all(advice.unit * BLOCK_BYTES == UNIT_BYTES_MAX for advice in taken)
    assert all(reach(advice) > 0 for advice in taken)


def test_readers_at_a_time_share_what_may_be_looked_ahead() -> None:
    def reach_of_the_last(readers: int, shared_bytes: int) -> int:
        policy = ReadAhead(8 * GIB)
        for step in range(48):
            for reader in range(readers):
                advice = policy.on_read(
                    reader * 512 * MIB + step * MIB, MIB, window_bytes=96 * MIB, shared_bytes=shared_bytes
                )
        return reach(advice)

    assert reach_of_the_last(1, 192 * MIB) > 88 * MIB
    assert reach_of_the_last(2, 192 * MIB) > 88 * MIB
    assert 40 * MIB < reach_of_the_last(4, 192 * MIB) <= 48 * MIB
    assert 8 * MIB < reach_of_the_last(8, 48 * MIB) <= 16 * MIB


def test_a_reader_that_has_ended_leaves_its_share_to_the_others() -> None:
    policy = ReadAhead(8 * GIB)
    for place in (0, GIB):
        for step in range(96):
            advice = policy.on_read(place + step * MIB, MIB, window_bytes=96 * MIB, shared_bytes=96 * MIB)
    assert reach(advice) > 88 * MIB


def test_requests_that_the_kernel_swaps_are_one_stream() -> None:
    policy = ReadAhead(GIB)
    reads = [(place + half, MIB) for place in range(0, 64 * MIB, 2 * MIB) for half in (MIB, 0)]
    taken = advices(policy, reads)
    assert taken[-2].unit * BLOCK_BYTES == UNIT_BYTES_MAX
    assert reach(taken[-2]) > 0


def test_a_reader_that_was_unseen_for_a_while_is_still_the_same_stream() -> None:
    policy = ReadAhead(GIB)
    advices(policy, [(offset, MIB) for offset in range(0, 32 * MIB, MIB)])
    advice = policy.on_read(40 * MIB, MIB, window_bytes=WINDOW_BYTES, unseen_bytes=20 * MIB)
    assert advice.unit * BLOCK_BYTES == UNIT_BYTES_MAX
    assert reach(advice) > WINDOW_BYTES // 2


def test_a_stream_that_comes_to_where_another_had_a_look_keeps_what_it_has_earned() -> None:
    policy = ReadAhead(GIB)
    advices(policy, [(offset, MIB) for offset in range(0, 63 * MIB, MIB)])
    policy.on_read(63 * MIB + 512 * KIB, MIB, window_bytes=WINDOW_BYTES)  # the end of a tensor, before its beginning
    advice = policy.on_read(64 * MIB + 512 * KIB, MIB, window_bytes=WINDOW_BYTES, unseen_bytes=64 * MIB)
    assert advice.unit * BLOCK_BYTES == UNIT_BYTES_MAX
    assert len(advice.ahead) * BLOCK_BYTES > WINDOW_BYTES - UNIT_BYTES_MAX
    assert policy.longest_bytes >= 63 * MIB


def test_what_may_have_been_read_unseen_makes_no_stream_of_a_read_out_of_nowhere() -> None:
    policy = ReadAhead(GIB)
    advices(policy, [(offset, MIB) for offset in range(0, 8 * MIB, MIB)])
    advice = policy.on_read(500 * MIB, 4 * KIB, window_bytes=WINDOW_BYTES, unseen_bytes=400 * MIB)
    assert advice == Advice(1, range(4001, 4001), 1, is_stray=True)


@pytest.mark.parametrize("length", [4 * KIB, 128 * KIB, 516 * KIB, MIB])
def test_a_backward_reader_is_read_ahead_of_from_its_fourth_read_on(length: int) -> None:
    policy = ReadAhead(GIB)
    taken = advices(policy, [(offset, length) for offset in range(500 * MIB, 480 * MIB, -length)])
    assert [advice.goes_back for advice in taken[:4]] == [False, False, False, True]
    assert all(advice.goes_back for advice in taken[4:])
    assert not any(advice.ahead for advice in taken[:3])
    assert all(len(advice.ahead) * BLOCK_BYTES <= 4 * 20 * MIB for advice in taken)
    assert len(taken[-1].ahead) * BLOCK_BYTES > 48 * MIB
    assert all(advice.unit * BLOCK_BYTES <= length + BLOCK_BYTES for advice in taken)


def test_a_backward_reader_that_was_unseen_for_a_while_is_still_the_same() -> None:
    policy = ReadAhead(GIB)
    advices(policy, [(offset, MIB) for offset in range(500 * MIB, 490 * MIB, -MIB)])
    step = {"window_bytes": WINDOW_BYTES, "unseen_behind_bytes": 16 * MIB}
    assert policy.on_read(480 * MIB, 4 * KIB, **step).goes_back
    assert not policy.on_read(440 * MIB, 4 * KIB, **step).goes_back


def test_requests_of_a_forward_reader_that_are_swapped_or_shuffled_go_nowhere_back() -> None:
    chance = random.Random(1)
    policy = ReadAhead(GIB)
    for group in range(0, 256, 3):  # no more are on their way
        places = [group, group + 1, group + 2]
        chance.shuffle(places)
        assert not any(advice.goes_back for advice in advices(policy, [(place * MIB, MIB) for place in places]))


def test_eight_backward_readers_are_each_read_ahead_of() -> None:
    policy = ReadAhead(8 * GIB)
    for step in range(20):
        taken = advices(policy, [(GIB * (rank + 1) - (step + 1) * MIB, MIB) for rank in range(8)])
    assert all(advice.goes_back and advice.ahead for advice in taken)


def test_wide_strides_earn_nothing() -> None:
    policy = ReadAhead(GIB)
    taken = advices(policy, [(offset, 4 * KIB) for offset in range(MIB, GIB, 5 * MIB)])
    assert not any(advice.ahead for advice in taken)
    assert all(advice.unit == 1 for advice in taken)


def test_narrow_strides_earn_by_what_is_read_not_by_what_is_skipped() -> None:
    policy = ReadAhead(GIB)
    taken = advices(policy, [(offset, 4 * KIB) for offset in range(MIB, 33 * MIB, 64 * KIB)])
    assert taken[-1].unit * BLOCK_BYTES <= 512 * 4 * KIB


def test_a_stray_read_does_not_end_a_stream() -> None:
    policy = ReadAhead(GIB)
    advices(policy, [(offset, MIB) for offset in range(0, 32 * MIB, MIB)])
    advices(policy, [(900 * MIB - place * 10 * MIB, 4 * KIB) for place in range(STREAMS_MAX - 1)])
    assert policy.on_read(32 * MIB, MIB, window_bytes=WINDOW_BYTES).unit * BLOCK_BYTES == UNIT_BYTES_MAX
