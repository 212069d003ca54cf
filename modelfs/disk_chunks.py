"""Chunk files: blocks written to and read from the disk, checked.

Law: plain blocking calls, made in threads. What is returned was checked against its checksum; what fails the check
raises, and is never returned. A file is opened without following links, and must be ours. Nothing is synced: a block's
data is written before the header that names it, and what a power cut leaves of the two is told by the checksums.

Written with O_DIRECT, where the file system has it: the kernel's page cache would hold everything twice, and would take
0.25 CPU-seconds for each GB and 2 more to write it back, where this takes 0.05 (measured on two cores). Reads of less
than a megabyte are buffered, since a small buffer is not aligned; larger ones go the way that is faster
(``disk_ways``), and what the page cache has of them is dropped.
"""

import errno
import mmap
import os
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from modelfs.blocks import BLOCK_BYTES
from modelfs.disk_format import (
    BLOCKS,
    CHUNK_BYTES,
    HEADER_BYTES,
    DamagedError,
    Header,
    Identity,
    Piece,
    blocks_in,
    checksums,
    decode,
    empty_header,
    encode,
    file_name,
    parse_name,
)
from modelfs.disk_ways import Ways

DIRECT_BYTES = 1024 * 1024
TELLING_BYTES = 4 * 1024 * 1024  # of smaller reads the way to the disk is the greater part
PAGE_BYTES = HEADER_BYTES
_LOOKS = 4  # at a header that another process may just be writing
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_WRITE = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class NotOursError(DamagedError):
    """A file in the cache's folder that somebody else put there, or can write."""


class DamagedChunkError(Exception):
    """A chunk that has changed: which, and how one can tell."""

    def __init__(self, object_id: bytes, chunk: int, why: str) -> None:
        super().__init__(why)
        self.object_id = object_id
        self.chunk = chunk


def padded(length: int) -> int:
    """Return ``length``, filled up to whole pages.

    >>> padded(1), padded(8192)
    (4096, 8192)
    """
    return -(-length // PAGE_BYTES) * PAGE_BYTES


def cost(present: int, chunk: int, size: int) -> int:
    """Return how many bytes of a disk a chunk with the blocks ``present`` takes; a page more for the file system.

    >>> cost(0b11, 0, BLOCK_BYTES + 1) - 2 * HEADER_BYTES == BLOCK_BYTES + PAGE_BYTES
    True
    """
    last = blocks_in(chunk, size) - 1
    tail_bytes = min(BLOCK_BYTES, size - chunk * CHUNK_BYTES - last * BLOCK_BYTES)
    lacking_bytes = BLOCK_BYTES - padded(tail_bytes) if present >> last & 1 else 0
    return 2 * HEADER_BYTES + present.bit_count() * BLOCK_BYTES - lacking_bytes


class Chunks:
    """The chunk files below the open folder ``folder_fd``. Thread-safe, and so are any number of processes."""

    def __init__(self, folder_fd: int) -> None:
        self._folder_fd = folder_fd
        self._is_direct = True
        self._ways = Ways()
        self._own = threading.local()

    # reading

    def read(self, object_id: bytes, size: int, piece: Piece, into: memoryview) -> bool:
        """Fill ``into`` with a run of blocks; False where one of them is not there.

        ``into`` is as long as the run, filled up to whole pages. Raises DamagedChunkError, and OSError.
        """
        length = min(piece.stop * BLOCK_BYTES, size - piece.chunk * CHUNK_BYTES) - piece.first * BLOCK_BYTES
        is_direct = self._is_direct and length >= DIRECT_BYTES and self._ways.is_direct()
        for look in range(_LOOKS):
            try:
                with self._opened(object_id, piece.chunk, is_direct=is_direct) as descriptor:
                    began_s = time.monotonic()
                    is_there = self._read(descriptor, object_id, piece, into[: padded(length)], length)
                    if not (is_direct and self._is_direct):  # the page cache would hold it twice
                        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                    if is_there and length >= TELLING_BYTES:
                        self._ways.note(length, time.monotonic() - began_s, is_direct=is_direct)
                    return is_there
            except FileNotFoundError:
                return False
            except DamagedError as error:
                if look == _LOOKS - 1:
                    raise DamagedChunkError(object_id, piece.chunk, str(error)) from error
        raise AssertionError  # not reached

    def present(self, object_id: bytes, chunk: int) -> int:
        """Return which blocks of a chunk are there, as bits. Raises as ``read`` does."""
        header = self.header(object_id, chunk)
        return header.present if header else 0

    def header(self, object_id: bytes, chunk: int) -> Header | None:
        """Return a chunk's header; None where there is none. Raises as ``read`` does."""
        for look in range(_LOOKS):
            try:
                with self._opened(object_id, chunk, is_direct=False) as descriptor:
                    return _checked(decode(os.pread(descriptor, HEADER_BYTES, 0)), object_id, chunk)
            except FileNotFoundError:
                return None
            except DamagedError as error:
                if look == _LOOKS - 1:
                    raise DamagedChunkError(object_id, chunk, str(error)) from error
        raise AssertionError  # not reached

    def verify(self, object_id: bytes, size: int, chunk: int, buffer: memoryview) -> int:
        """Read all that is there of a chunk into ``buffer``, see that it is right, and return how many bytes.

        Raises as ``read`` does.
        """
        length = 0
        for piece in _runs(self.present(object_id, chunk), chunk):
            if self.read(object_id, size, piece, buffer):
                length += min(piece.stop * BLOCK_BYTES, size - chunk * CHUNK_BYTES) - piece.first * BLOCK_BYTES
        return length

    def _read(self, descriptor: int, object_id: bytes, piece: Piece, into: memoryview, length: int) -> bool:
        page = self._page()
        if piece.first == 0:
            got = os.preadv(descriptor, [page, into], 0) - HEADER_BYTES
        else:
            got = os.preadv(descriptor, [page], 0) - HEADER_BYTES
            if got == 0:
                got = os.preadv(descriptor, [into], HEADER_BYTES + piece.first * BLOCK_BYTES)
        header = _checked(decode(page[: min(HEADER_BYTES, HEADER_BYTES + got)]), object_id, piece.chunk)
        if header is None or piece.mask & ~header.present:
            return False
        if got < len(into):
            raise DamagedError("it was cut")
        header.check(piece.first, into[:length])
        return True

    # writing

    @contextmanager
    def extended(self, identity: Identity, chunk: int) -> Iterator["Extension"]:
        """Open a chunk to be added to, or to be begun. The caller holds its header's lock.

        Raises OSError, also at its end; after one in a write the chunk is to be thrown away.
        """
        with self._opened(identity.id, chunk, is_direct=True, flags=_WRITE) as descriptor:
            extension = Extension(descriptor, identity, chunk, self._page(), self._scratch())
            try:
                yield extension
            finally:
                if not extension.header.present:
                    self.drop(identity.id, chunk)

    def drop(self, object_id: bytes, chunk: int) -> None:
        """Throw a chunk away. Who reads it goes on to its end."""
        with suppress(FileNotFoundError):
            os.unlink(file_name(object_id, chunk), dir_fd=self._folder_fd)

    def exists(self, object_id: bytes, chunk: int) -> bool:
        """Tell whether there is a file of a chunk, whatever it holds."""
        try:
            os.stat(file_name(object_id, chunk), dir_fd=self._folder_fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def is_empty(self) -> bool:
        """Tell whether there has never been a chunk."""
        return not any(len(name) == 2 for name in os.listdir(self._folder_fd))  # noqa: PLR2004, PTH208  "00" to "ff"; a descriptor

    def walk(self) -> Iterator[tuple[bytes, int, os.stat_result]]:
        """Yield all the chunk files that there are, in no particular order."""
        for number in range(256):
            folder = f"{number:02x}"
            try:
                descriptor = os.open(folder, _READ | os.O_DIRECTORY, dir_fd=self._folder_fd)
            except FileNotFoundError:
                continue
            try:
                for name in os.listdir(descriptor):  # noqa: PTH208  a descriptor
                    found = parse_name(name)
                    with suppress(FileNotFoundError):
                        if found is not None:
                            yield *found, os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            finally:
                os.close(descriptor)

    # files

    @contextmanager
    def _opened(self, object_id: bytes, chunk: int, *, is_direct: bool, flags: int = _READ) -> Iterator[int]:
        name = file_name(object_id, chunk)
        descriptor = self._open(name, flags, is_direct=is_direct and self._is_direct)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
                raise NotOursError("somebody else has put it there, or can write it")
            yield descriptor
        finally:
            os.close(descriptor)

    def _open(self, name: str, flags: int, *, is_direct: bool) -> int:
        try:
            return os.open(name, flags | (os.O_DIRECT if is_direct else 0), 0o600, dir_fd=self._folder_fd)
        except FileNotFoundError:
            if not flags & os.O_CREAT:
                raise
            with suppress(FileExistsError):
                os.mkdir(name.partition("/")[0], 0o700, dir_fd=self._folder_fd)  # raises where all has vanished
            return self._open(name, flags, is_direct=is_direct)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise NotOursError("it is a link") from error
            if error.errno != errno.EINVAL or not is_direct:
                raise
            self._is_direct = False  # a file system without it
            return self._open(name, flags, is_direct=False)

    def _page(self) -> memoryview:
        """Return this thread's own aligned page."""
        return self._aligned("page", PAGE_BYTES)

    def _scratch(self) -> memoryview:
        return self._aligned("scratch", DIRECT_BYTES)

    def _aligned(self, name: str, length: int) -> memoryview:
        found: memoryview | None = getattr(self._own, name, None)
        if found is None:
            found = memoryview(mmap.mmap(-1, length))
            setattr(self._own, name, found)
        return found


class Extension:
    """An open chunk file that blocks are added to. ``page`` and ``scratch`` are aligned, and ours meanwhile."""

    def __init__(self, descriptor: int, identity: Identity, chunk: int, page: memoryview, scratch: memoryview) -> None:
        """Read the header. What cannot be extended, since a crash left it or worse, is begun anew."""
        self._descriptor = descriptor
        self._page = page
        self._scratch = scratch
        self.header = empty_header(identity, chunk)
        self.unnamed_bytes = 0  # what the file takes of the disk, and no header names: a crash left it
        found = os.fstat(descriptor)
        if found.st_size:
            got = os.preadv(descriptor, [page], 0)
            with suppress(DamagedError):
                self.header = _checked(decode(page[:got]), identity.id, chunk) or self.header
            if not self.header.present:
                os.ftruncate(descriptor, 0)
            else:
                named_bytes = cost(self.header.present, chunk, identity.size)
                self.unnamed_bytes = max(0, found.st_blocks * 512 - named_bytes)

    def write(self, piece: Piece, data: memoryview) -> None:
        """Put a run of blocks where those of them that are not there belong, and then name them in the header."""
        was_empty = not self.header.present
        header = self.header
        runs = []
        for first, stop in _missing(header.present, piece):
            run = data[(first - piece.first) * BLOCK_BYTES : (stop - piece.first) * BLOCK_BYTES]
            header = header.with_blocks(first, checksums(header.identity.id, piece.chunk, first, run))
            runs.append((HEADER_BYTES + first * BLOCK_BYTES, run))
        page = encode(header)
        assert page is not None  # noqa: S101  who calls has seen that it fits
        if was_empty and piece.first == 0:  # in one go
            self._write(0, runs[0][1], page)
        else:
            for offset, run in runs:
                self._write(offset, run)
            self._write(0, memoryview(b""), page)
        self.header = header

    def _write(self, offset: int, data: memoryview, page: bytes = b"") -> None:
        """Write ``page``, where there is one, and then ``data``, filled up to whole pages."""
        self._page[: len(page)] = page
        heads = [self._page] if page else []
        whole = len(data) // PAGE_BYTES * PAGE_BYTES
        if whole >= DIRECT_BYTES:
            try:
                _write_all(self._descriptor, [*heads, data[:whole]], offset)
                offset += len(page) + whole
                data, heads = data[whole:], []
            except OSError as error:
                if error.errno != errno.EINVAL:  # an engine's own memory, which is not aligned
                    raise
        for start in range(0, max(1, len(data)), len(self._scratch)):
            part = data[start : start + len(self._scratch)]
            if not heads and not part:
                return
            self._scratch[: len(part)] = part
            self._scratch[len(part) : padded(len(part))] = bytes(padded(len(part)) - len(part))
            _write_all(self._descriptor, [*heads, self._scratch[: padded(len(part))]], offset)
            offset += (len(page) if heads else 0) + padded(len(part))
            heads = []


def _checked(header: Header | None, object_id: bytes, chunk: int) -> Header | None:
    if header is not None and (header.identity.id, header.chunk) != (object_id, chunk):
        raise DamagedError("it is another object's")
    return header


def chunk_buffer() -> memoryview:
    """Return memory for a whole chunk, aligned."""
    return memoryview(mmap.mmap(-1, padded(CHUNK_BYTES)))


def _runs(present: int, chunk: int) -> Iterator[Piece]:
    """Yield the runs of blocks that are ``present`` in a chunk.

    >>> list(_runs(0b1011, 5))
    [Piece(chunk=5, first=0, stop=2, at=0), Piece(chunk=5, first=3, stop=4, at=0)]
    """
    absent = ~present
    yield from (Piece(chunk, first, stop, 0) for first, stop in _missing(absent, Piece(chunk, 0, BLOCKS, 0)))


def _missing(present: int, piece: Piece) -> Iterator[tuple[int, int]]:
    """Yield the runs of a piece's blocks that are not ``present``.

    >>> list(_missing(0b0110, Piece(0, 0, 5, 0)))
    [(0, 1), (3, 5)]
    """
    first = piece.first
    while first < piece.stop:
        if present >> first & 1:
            first += 1
            continue
        stop = first + 1
        while stop < piece.stop and not present >> stop & 1:
            stop += 1
        yield first, stop
        first = stop


def _write_all(descriptor: int, parts: list[memoryview], offset: int) -> None:
    written = os.pwritev(descriptor, parts, offset)
    if written != sum(len(part) for part in parts):  # a disk that is just full
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
