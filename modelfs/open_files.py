"""The files that are open: one Streamer for each inode, with the number of its handles.

Law: a Streamer lives from the first open of its inode to the last close. One that is brought early (``announced``)
lives from its announcement on, and until that is given up.
"""

from collections.abc import Callable

from modelfs.blocks import ObjectInfo
from modelfs.streamer import Streamer


class OpenFiles:
    """The table of one mount. ``open_streamer`` makes the Streamer of a version with its inode's number."""

    def __init__(self, open_streamer: Callable[[ObjectInfo, int], Streamer]) -> None:
        self._open_streamer = open_streamer
        self.streamers: dict[int, Streamer] = {}
        self._handles: dict[int, int] = {}
        self._announced: set[int] = set()

    @property
    def handles(self) -> int:
        """The number of handles that are open."""
        return sum(self._handles.values())

    def streamer(self, number: int, info: ObjectInfo) -> Streamer:
        """Return the Streamer of an inode; one is made where the kernel has a handle that we do not know."""
        found = self.streamers.get(number)
        if found is None:
            found = self.streamers[number] = self._open_streamer(info, number)
        return found

    def open(self, number: int, info: ObjectInfo) -> None:
        """Count one more handle."""
        self.streamer(number, info)
        self._handles[number] = self._handles.get(number, 0) + 1

    def close(self, number: int) -> None:
        """Count one handle less; with the last one its Streamer ends."""
        left = self._handles.get(number, 0) - 1
        if left > 0:
            self._handles[number] = left
            return
        self._handles.pop(number, None)
        self._end_unused(number)

    def announce(self, number: int, info: ObjectInfo) -> Streamer:
        """Return the Streamer of an inode that will be opened, and keep it until ``give_up``."""
        self._announced.add(number)
        return self.streamer(number, info)

    def give_up(self, number: int) -> None:
        """Expect an inode to be opened no longer."""
        self._announced.discard(number)
        self._end_unused(number)

    def _end_unused(self, number: int) -> None:
        if number not in self._handles and number not in self._announced and number in self.streamers:
            self.streamers.pop(number).close()
