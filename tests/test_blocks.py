"""Block arithmetic."""

from hypothesis import given, settings
from hypothesis import strategies as st

from modelfs.blocks import block_count, span

PROPERTY = settings(deadline=None)
small = st.integers(0, 50)


@PROPERTY
@given(small, small, small, st.integers(1, 9))
def test_span_holds_exactly_the_blocks_of_the_bytes_inside_the_object(
    offset: int, length: int, size: int, block_bytes: int
) -> None:
    inside = [position for position in range(offset, offset + length) if position < size]
    assert set(span(offset, length, size=size, block_bytes=block_bytes)) == {
        position // block_bytes for position in inside
    }


@PROPERTY
@given(small, st.integers(1, 9))
def test_the_blocks_of_an_object_are_the_span_of_all_its_bytes(size: int, block_bytes: int) -> None:
    assert range(block_count(size, block_bytes=block_bytes)) == span(0, size, size=size, block_bytes=block_bytes)
