"""Content that says of itself which version of which object it is, and where.

Law: every 4 KiB block of a stamped object repeats one 32-byte stamp: 24 bytes of a digest of (key, version), then the
block's offset. So any 32 aligned bytes name the version and the place they came from, a mixture of two versions or a
shifted block cannot look right, and a 300 MB object needs neither disk nor memory: it is made as it is sent.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

BLOCK_BYTES = 4096
_REPEATS = BLOCK_BYTES // 32
_PIECE_BYTES = 4 << 20  # written at once to a file: large enough that the loop costs nothing, small beside memory


@dataclass(frozen=True, slots=True)
class Stamped:
    """The content of ``size`` bytes that belongs to (key, version). ``version`` is any label the test chooses."""

    key: str
    version: str
    size: int

    def read(self, offset: int, length: int) -> memoryview:
        """Return ``[offset, offset + length)``, cut to the size."""
        stop = min(offset + length, self.size)
        if stop <= offset:
            return memoryview(b"")
        tag = blake2b(f"{self.key}\0{self.version}".encode("utf-8", "surrogateescape"), digest_size=24).digest()
        first = offset - offset % BLOCK_BYTES
        blocks = b"".join([(tag + at.to_bytes(8)) * _REPEATS for at in range(first, stop, BLOCK_BYTES)])
        return memoryview(blocks)[offset - first : stop - first]


def stamped(key: str, version: str, size: int) -> bytes:
    """Return the whole stamped content.

    >>> data = stamped("a", "1", 5000)
    >>> len(data), data[4096:4128] == data[4128:4160], data[:4096] == data[904:5000]
    (5000, True, False)
    """
    return bytes(Stamped(key, version, size).read(0, size))


def write_stamped(path: Path, key: str, version: str, size: int) -> None:
    """Write the stamped content to ``path``, piece by piece."""
    with path.open("wb") as file:
        for piece in _pieces(Stamped(key, version, size)):
            file.write(piece)


def _pieces(content: Stamped) -> Iterator[memoryview]:
    for offset in range(0, content.size, _PIECE_BYTES):
        yield content.read(offset, _PIECE_BYTES)
