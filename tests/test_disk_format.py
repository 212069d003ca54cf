"""What a chunk's header says is what was put there, or it is seen not to be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfs.blocks import BLOCK_BYTES
from modelfs.disk_format import (
    BLOCKS,
    CHUNK_BYTES,
    HEADER_BYTES,
    DamagedError,
    Header,
    Identity,
    blocks_in,
    checksums,
    decode,
    empty_header,
    encode,
    file_name,
    object_id,
    parse_name,
    pieces,
)

names = st.text(max_size=200)
ids = st.binary(min_size=16, max_size=16)
sums = st.integers(0, 2**64 - 1)
headers = st.builds(
    Header,
    st.builds(Identity, ids, ids, names, names, names, st.integers(0, 2**60)),
    st.integers(0, 2**40),
    st.integers(0, 2**64 - 1),
    st.tuples(*[sums] * BLOCKS),
)


@given(headers)
def test_header_survives_its_page(header: Header) -> None:
    page = encode(header)
    assert page is not None
    assert len(page) == HEADER_BYTES
    assert decode(page) == header


@given(headers, st.integers(0, HEADER_BYTES - 1), st.integers(1, 255))
def test_header_with_one_byte_changed_is_damaged(header: Header, place: int, change: int) -> None:
    page = bytearray(encode(header) or b"")
    page[place] ^= change
    with pytest.raises(DamagedError):
        decode(bytes(page))


@given(headers, st.integers(1, HEADER_BYTES - 1))
def test_header_that_was_cut_is_damaged(header: Header, length: int) -> None:
    with pytest.raises(DamagedError):
        decode((encode(header) or b"")[:length])


@pytest.mark.parametrize("page", [b"", bytes(HEADER_BYTES), bytes(7)])
def test_page_that_was_never_written_is_no_header_and_no_damage(page: bytes) -> None:
    assert decode(page) is None


def test_names_that_fit_into_no_page_have_no_header() -> None:
    assert encode(empty_header(Identity(bytes(16), b"s", "s3://b", "k" * 4000, "v", 1), 0)) is None


@given(st.lists(st.tuples(st.binary(max_size=4), st.text(max_size=9), st.text(max_size=9), st.integers(0, 9))))
def test_objects_that_differ_in_anything_have_other_ids(objects: list[tuple[bytes, str, str, int]]) -> None:
    assert len({object_id(*each) for each in objects}) == len(set(objects))


@given(st.integers(0, 3 * BLOCKS), st.integers(1, 3 * CHUNK_BYTES))
def test_pieces_are_the_range_without_gaps(block: int, length: int) -> None:
    offset = block * BLOCK_BYTES
    found = list(pieces(offset, length))
    indexes = [piece.chunk * BLOCKS + each for piece in found for each in range(piece.first, piece.stop)]
    assert indexes == list(range(block, -(-(offset + length) // BLOCK_BYTES)))
    for piece in found:
        assert piece.at == piece.chunk * CHUNK_BYTES + piece.first * BLOCK_BYTES - offset
        assert piece.mask.bit_count() == piece.stop - piece.first


@given(st.integers(1, 10 * CHUNK_BYTES))
def test_chunks_have_all_the_blocks_of_an_object(size: int) -> None:
    chunks = Identity(b"", b"", "", "", "", size).chunks
    assert sum(blocks_in(chunk, size) for chunk in range(chunks)) == -(-size // BLOCK_BYTES)


def test_a_block_has_another_checksum_in_another_place() -> None:
    data = memoryview(bytes(2 * BLOCK_BYTES))
    found = [
        *checksums(b"a" * 16, 0, 0, data),
        *checksums(b"a" * 16, 1, 0, data),
        *checksums(b"b" * 16, 0, 0, data),
    ]
    assert len(set(found)) == len(found)


def test_header_tells_each_changed_block() -> None:
    data = bytearray(2 * BLOCK_BYTES + 5)
    header = empty_header(Identity(b"i" * 16, b"s" * 16, "s3://b", "k", "v", CHUNK_BYTES), 3)
    header = header.with_blocks(7, checksums(b"i" * 16, 3, 7, memoryview(data)))
    assert header.present == 0b111 << 7
    header.check(7, memoryview(data))
    for place in (0, BLOCK_BYTES - 1, BLOCK_BYTES, len(data) - 1):
        changed = bytearray(data)
        changed[place] ^= 1
        with pytest.raises(DamagedError):
            header.check(7, memoryview(changed))


@given(ids, st.integers(0, 2**40))
def test_name_of_a_file_tells_its_chunk(found: bytes, chunk: int) -> None:
    assert parse_name(file_name(found, chunk).rpartition("/")[2]) == (found, chunk)


@pytest.mark.parametrize(
    "name", ["", "x", "format", "0" * 32, f"{'0' * 32}-", f"{'0' * 32}-01", f"{'0' * 31}-1", f"{'A' * 32}-1"]
)
def test_other_names_are_none_of_ours(name: str) -> None:
    assert parse_name(name) is None
