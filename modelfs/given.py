"""Which blocks of a file the kernel's page cache has been given.

Law: pure. Memory grows with what was given and not with the size that a store claims for the file: a byte for each
block, in parts of one gigabyte of file.
"""

from collections.abc import Iterator

_PART = 8192  # blocks


class Given:
    """A set of block indexes that is asked about in runs."""

    def __init__(self) -> None:
        self._parts: dict[int, bytearray] = {}

    def __contains__(self, index: object) -> bool:
        return isinstance(index, int) and self.find(index, index + 1, given=True) == index

    def add(self, start: int, stop: int) -> None:
        """Add the blocks ``[start, stop)``.

        >>> given = Given()
        >>> given.add(8000, 9000)
        >>> given.find(0, 10000, given=True), given.find(8500, 10000, given=False), given.find(9000, 9999, given=True)
        (8000, 9000, -1)
        """
        for part, first, last in _pieces(start, stop):
            self._parts.setdefault(part, bytearray(_PART))[first:last] = b"\1" * (last - first)

    def discard(self, start: int, stop: int) -> None:
        """Take the blocks ``[start, stop)`` out."""
        for part, first, last in _pieces(start, stop):
            if part in self._parts:
                self._parts[part][first:last] = bytes(last - first)

    def find(self, start: int, stop: int, *, given: bool) -> int:
        """Return the first block of ``[start, stop)`` that is given, or that is not; -1 where there is none."""
        for part, first, last in _pieces(start, stop):
            found = self._parts[part].find(given, first, last) if part in self._parts else -1 if given else first
            if found >= 0:
                return part * _PART + found
        return -1

    def run_before(self, index: int, *, gap: int = 0) -> int:
        """Return where the run of given blocks begins that ends before ``index``, after at most ``gap`` others.

        ``index`` where there is none.

        >>> given = Given()
        >>> given.add(8000, 9000)
        >>> given.run_before(9000), given.run_before(8500), given.run_before(8000), given.run_before(9001)
        (8000, 8000, 8000, 9001)
        >>> given.run_before(9001, gap=1)
        8000
        """
        for end in range(index, max(1, index - gap) - 1, -1):
            if end - 1 in self:
                return self._run_until(end)
        return index

    def _run_until(self, index: int) -> int:
        while index:
            part, within = divmod(index - 1, _PART)
            if part not in self._parts:
                return index
            missing = self._parts[part].rfind(b"\0", 0, within + 1)
            index = part * _PART + missing + 1
            if missing >= 0:
                return index
        return index


def _pieces(start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Yield ``[start, stop)`` as runs inside parts: the part, and the first and last place in it."""
    while start < stop:
        part, first = divmod(start, _PART)
        last = min(_PART, first + stop - start)
        yield part, first, last
        start += last - first
