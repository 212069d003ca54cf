"""Chunk files give back what was put there, or tell that it has changed."""

import mmap
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelfs.blocks import BLOCK_BYTES
from modelfs.disk_chunks import Chunks, DamagedChunkError, cost, padded
from modelfs.disk_format import BLOCKS, CHUNK_BYTES, HEADER_BYTES, Identity, Piece, file_name, pieces

SIZES = [1, 4096, BLOCK_BYTES, BLOCK_BYTES + 1, 1024 * 1024 + 5, CHUNK_BYTES - 4096, CHUNK_BYTES]


def identity(size: int, name: bytes = b"x") -> Identity:
    return Identity(name * 16, b"s" * 16, "s3://b/m", "m/1/x", '"v"', size)


def content(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def buffer(length: int) -> memoryview:
    """Return memory as aligned as O_DIRECT needs it."""
    return memoryview(mmap.mmap(-1, padded(length)))


@pytest.fixture
def chunks(tmp_path: Path) -> Iterator[Chunks]:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield Chunks(descriptor)
    os.close(descriptor)


def put(
    chunks: Chunks,
    whole: Identity,
    data: bytes | memoryview,
    first: int = 0,
    stop: int = BLOCKS,
    *,
    chunk: int = 0,
) -> None:
    """Write the blocks ``[first, stop)`` of a chunk, of which ``data`` is all."""
    run = memoryview(data)[first * BLOCK_BYTES : stop * BLOCK_BYTES]
    (piece,) = pieces(chunk * CHUNK_BYTES + first * BLOCK_BYTES, len(run))
    with chunks.extended(whole, chunk) as file:
        file.write(piece, run)


def got(chunks: Chunks, whole: Identity, first: int = 0, stop: int = BLOCKS, *, chunk: int = 0) -> bytes | None:
    """Read the blocks ``[first, stop)`` of a chunk, as far as the object goes."""
    length = min(whole.size - chunk * CHUNK_BYTES, stop * BLOCK_BYTES) - first * BLOCK_BYTES
    into = buffer(length)
    (piece,) = pieces(chunk * CHUNK_BYTES + first * BLOCK_BYTES, length)
    return bytes(into[:length]) if chunks.read(whole.id, whole.size, piece, into) else None


@pytest.mark.parametrize("size", SIZES)
def test_chunk_gives_back_what_was_put_there(chunks: Chunks, size: int) -> None:
    put(chunks, identity(size), content(size))
    assert got(chunks, identity(size)) == content(size)
    last = -(-size // BLOCK_BYTES)
    assert got(chunks, identity(size), last - 1, last) == content(size)[(last - 1) * BLOCK_BYTES :]


@pytest.mark.parametrize("size", SIZES)
def test_chunk_takes_no_more_room_than_it_is_said_to(chunks: Chunks, size: int, tmp_path: Path) -> None:
    put(chunks, identity(size), content(size))
    taken = (tmp_path / file_name(identity(size).id, 0)).stat().st_blocks * 512
    assert taken <= cost(chunks.present(identity(size).id, 0), 0, size) <= taken + 2 * HEADER_BYTES


def test_memory_that_is_not_aligned_is_written_as_well(chunks: Chunks) -> None:
    odd = memoryview(bytearray(CHUNK_BYTES + 1))[1:]
    odd[:] = content(CHUNK_BYTES)
    put(chunks, identity(CHUNK_BYTES), odd)
    assert got(chunks, identity(CHUNK_BYTES)) == content(CHUNK_BYTES)


def test_chunk_is_filled_in_any_order(chunks: Chunks) -> None:
    whole, data = identity(CHUNK_BYTES), content(CHUNK_BYTES)
    for first, stop in [(60, 64), (0, 1), (30, 40), (1, 35), (20, 64)]:
        put(chunks, whole, data, first, stop)
        assert got(chunks, whole, first, stop) == data[first * BLOCK_BYTES : stop * BLOCK_BYTES]
    assert got(chunks, whole) == data


def test_what_is_not_there_is_told_from_what_is(chunks: Chunks) -> None:
    whole, data = identity(2 * CHUNK_BYTES), content(CHUNK_BYTES)
    assert got(chunks, whole) is None
    assert chunks.present(whole.id, 0) == 0
    put(chunks, whole, data, 8, 16)
    assert chunks.present(whole.id, 0) == 0xFF00
    assert got(chunks, whole, 7, 9) is None
    assert got(chunks, whole, 15, 17) is None
    assert got(chunks, whole, 0, 1, chunk=1) is None


def test_blocks_that_are_there_are_not_written_again(chunks: Chunks) -> None:
    whole, data = identity(CHUNK_BYTES), content(CHUNK_BYTES)
    put(chunks, whole, data, 0, 32)
    put(chunks, whole, content(CHUNK_BYTES, seed=1), 16, 48)
    assert got(chunks, whole, 0, 32) == data[: 32 * BLOCK_BYTES]
    assert got(chunks, whole, 32, 48) == content(CHUNK_BYTES, seed=1)[32 * BLOCK_BYTES : 48 * BLOCK_BYTES]


def test_each_flipped_bit_is_told(chunks: Chunks, tmp_path: Path) -> None:
    """But for those between the names and the end of the header, where nothing is, and behind the object's end."""
    size = 3 * BLOCK_BYTES + 100
    whole = identity(size)
    put(chunks, whole, content(size))
    path = tmp_path / file_name(whole.id, 0)
    sound = path.read_bytes()
    chance = random.Random(0)
    for _ in range(300):
        place = chance.choice([chance.randrange(HEADER_BYTES), chance.randrange(HEADER_BYTES, HEADER_BYTES + size)])
        changed = bytearray(sound)
        changed[place] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
        with pytest.raises(DamagedChunkError):
            got(chunks, whole)


def test_a_damaged_block_leaves_its_neighbours_readable(chunks: Chunks, tmp_path: Path) -> None:
    whole, data = identity(CHUNK_BYTES), content(CHUNK_BYTES)
    put(chunks, whole, data)
    with (tmp_path / file_name(whole.id, 0)).open("r+b") as file:
        file.seek(HEADER_BYTES + 10 * BLOCK_BYTES)
        file.write(b"\0\0\0\0")
    assert got(chunks, whole, 0, 10) == data[: 10 * BLOCK_BYTES]
    with pytest.raises(DamagedChunkError):
        got(chunks, whole, 10, 11)


@pytest.mark.parametrize("length", [1, 100, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 1, CHUNK_BYTES - 1])
def test_a_file_that_was_cut_is_told(chunks: Chunks, tmp_path: Path, length: int) -> None:
    put(chunks, identity(CHUNK_BYTES), content(CHUNK_BYTES))
    os.truncate(tmp_path / file_name(identity(CHUNK_BYTES).id, 0), length)
    with pytest.raises(DamagedChunkError):
        got(chunks, identity(CHUNK_BYTES))


def test_an_empty_file_is_not_there(chunks: Chunks, tmp_path: Path) -> None:
    put(chunks, identity(9), content(9))
    os.truncate(tmp_path / file_name(identity(9).id, 0), 0)
    assert got(chunks, identity(9)) is None


def test_files_that_were_swapped_are_told(chunks: Chunks, tmp_path: Path) -> None:
    one, other = identity(2 * CHUNK_BYTES, b"1"), identity(2 * CHUNK_BYTES, b"2")
    for whole in (one, other):
        put(chunks, whole, content(CHUNK_BYTES))
        put(chunks, whole, content(CHUNK_BYTES), chunk=1)
    for left, right in [((one, 0), (other, 0)), ((one, 1), (other, 0))]:
        paths = [tmp_path / file_name(whole.id, chunk) for whole, chunk in (left, right)]
        paths[0].rename(tmp_path / "aside")
        paths[1].rename(paths[0])
        (tmp_path / "aside").rename(paths[1])
        for whole, chunk in (left, right):
            with pytest.raises(DamagedChunkError):
                got(chunks, whole, chunk=chunk)


def test_what_another_has_put_there_is_not_served(chunks: Chunks, tmp_path: Path) -> None:
    whole = identity(9)
    put(chunks, whole, content(9))
    path = tmp_path / file_name(whole.id, 0)
    path.chmod(0o666)
    with pytest.raises(DamagedChunkError):
        got(chunks, whole)
    path.chmod(0o600)
    assert got(chunks, whole) == content(9)
    if os.geteuid() == 0:
        os.chown(path, 12345, 12345)
        with pytest.raises(DamagedChunkError):
            got(chunks, whole)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DamagedChunkError):
        got(chunks, whole)


@pytest.mark.parametrize("rubbish", [b"x" * 10, b"x" * HEADER_BYTES, b"\0" * HEADER_BYTES, b"x" * CHUNK_BYTES])
def test_rubbish_is_replaced(chunks: Chunks, tmp_path: Path, rubbish: bytes) -> None:
    whole, data = identity(CHUNK_BYTES), content(CHUNK_BYTES)
    path = tmp_path / file_name(whole.id, 0)
    path.parent.mkdir()
    path.write_bytes(rubbish)
    put(chunks, whole, data, 3, 5)
    assert chunks.present(whole.id, 0) == 0b11000
    assert got(chunks, whole, 3, 5) == data[3 * BLOCK_BYTES : 5 * BLOCK_BYTES]


def test_nothing_is_left_of_a_chunk_that_got_no_block(chunks: Chunks, tmp_path: Path) -> None:
    with chunks.extended(identity(9), 0) as file:
        assert file.header.present == 0
    assert not (tmp_path / file_name(identity(9).id, 0)).exists()


def test_who_reads_a_chunk_that_is_thrown_away_reads_on(chunks: Chunks) -> None:
    whole = identity(CHUNK_BYTES)
    put(chunks, whole, content(CHUNK_BYTES))
    with chunks.extended(whole, 0) as file:
        chunks.drop(whole.id, 0)
        assert file.header.present == 2**64 - 1
    chunks.drop(whole.id, 0)
    assert got(chunks, whole) is None


def test_walk_finds_every_chunk_and_nothing_else(chunks: Chunks, tmp_path: Path) -> None:
    for name in (b"1", b"2", b"3"):
        put(chunks, identity(2 * CHUNK_BYTES, name), content(CHUNK_BYTES))
        put(chunks, identity(2 * CHUNK_BYTES, name), content(CHUNK_BYTES), chunk=1)
    (tmp_path / "31" / "foreign").touch()
    found = sorted((object_id, chunk) for object_id, chunk, _ in chunks.walk())
    assert found == sorted((name * 16, chunk) for name in (b"1", b"2", b"3") for chunk in (0, 1))


def test_a_file_system_without_direct_access_does_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As tmpfs of older kernels and some network file systems."""
    real = os.open

    def without(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_DIRECT:
            raise OSError(22, "Invalid argument")
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", without)
    folder = real(tmp_path, os.O_RDONLY)
    found = Chunks(folder)
    put(found, identity(CHUNK_BYTES), content(CHUNK_BYTES))
    assert got(found, identity(CHUNK_BYTES)) == content(CHUNK_BYTES)
    os.close(folder)


def test_piece_names_its_blocks() -> None:
    assert Piece(0, 1, 3, 0).mask == 0b110
