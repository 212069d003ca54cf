"""What is pushed: whole pages, never a tripwire, never at or behind the end of the last whole page, and all else."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from modelfs.blocks import BLOCK_BYTES
from modelfs.pushing import PAGE_BYTES, STEP_BYTES, held_back, segments

P, B = PAGE_BYTES, BLOCK_BYTES

sizes = st.one_of(
    st.integers(0, 60 * B),
    st.builds(lambda pages, more: max(0, pages * P + more), st.integers(0, 60 * B // P), st.integers(-1, 1)),
)
steps = st.sampled_from([B, 2 * B, 7 * B, 64 * B])
wired = st.one_of(st.just(0), st.integers(0, 70).map(lambda blocks: blocks * B))


def pushed_pages(parts: list[tuple[int, int]]) -> list[int]:
    """Return the pages of some parts, in order."""
    return [page for start, stop in parts for page in range(start // P, stop // P)]


@given(sizes, st.integers(0, 70 * B), st.integers(0, 70 * B), steps)
def test_parts_are_whole_pages_in_order_inside_what_was_asked_and_the_whole_pages_of_the_file(
    size: int, start: int, stop: int, step: int
) -> None:
    parts = segments(start, stop, size=size, step_bytes=step)
    for begin, end in parts:
        assert begin % P == end % P == 0
        assert start <= begin < end <= min(stop, size - size % P)
    assert all(before[1] < behind[0] for before, behind in pairwise(parts))


@given(sizes, st.integers(0, 70 * B), st.integers(0, 70 * B), steps, wired)
def test_every_whole_page_is_pushed_but_for_the_tripwires(
    size: int, start: int, stop: int, step: int, wired_from: int
) -> None:
    pushed = pushed_pages(segments(start, stop, size=size, step_bytes=step, wired_from=wired_from))
    whole = range(-(-start // P), min(stop, size) // P)
    assert pushed == [page for page in whole if page * P % step or page * P < wired_from]


@given(sizes, st.tuples(st.integers(0, 59), st.integers(1, 60)), st.integers(0, 3 * B // P), steps, wired)
def test_what_is_held_back_has_every_byte_that_is_not_pushed(
    size: int, extent: tuple[int, int], read_pages: int, step: int, wired_from: int
) -> None:
    """Of an extent, as it is pushed: from what was read of it on, to its end."""
    first, blocks = extent
    offset = first * B
    stop = min(size, offset + blocks * B)
    parts = segments(offset + read_pages * P, stop, size=size, step_bytes=step, wired_from=wired_from)
    if not parts:
        return
    kept = held_back(parts[0][0], stop, size=size, step_bytes=step, wired_from=wired_from)
    pushed = set(pushed_pages(parts))
    wanted = {page for page in range(parts[0][0] // P, -(-stop // P)) if page not in pushed}
    assert {page * P // B for page in wanted} <= set(kept)
    assert kept == sorted(set(kept))
    assert all(offset // B <= index <= (stop - 1) // B for index in kept)


@given(sizes, st.integers(0, 59), st.integers(1, 60), steps)
def test_little_is_held_back(size: int, first: int, blocks: int, step: int) -> None:
    stop = min(size, (first + blocks) * B)
    if first * B < stop:
        kept = held_back(first * B, stop, size=size, step_bytes=step)
        assert len(kept) <= (stop - first * B) // step + 2


def test_a_step_is_of_whole_blocks_and_pages() -> None:
    assert STEP_BYTES % B == STEP_BYTES % P == 0


def test_the_last_part_page_is_never_pushed() -> None:
    assert segments(P, 9 * P, size=2 * P + 1, step_bytes=B) == [(P, 2 * P)]
    assert segments(P, 9 * P, size=2 * P, step_bytes=B) == [(P, 2 * P)]
    assert segments(P, 9 * P, size=2 * P - 1, step_bytes=B) == []
