"""What the kernel is told to forget, when something differs from what it was told before.

Law: never called from inside a handler, and in threads of its own: the kernel waits for a lookup that is on its way in
the folder, and so does whoever tells it. Not by pyfuse3's queue for entries, which has one thread: where one that waits
keeps all others waiting (seen: a lookup that slept 6 s delayed an unrelated one by 5.5 s).
"""

import errno
import logging
from collections.abc import Callable
from functools import partial

import pyfuse3
import trio
from pyfuse3 import FileNameT, InodeT

log = logging.getLogger(__name__)

PATIENCE_S = 5.0
"""How long the kernel may take to forget the names of a folder. A lookup there ends sooner."""

AT_ONCE = 4


class Invalidations:
    """Tells the kernel of one mount what to forget."""

    def __init__(self) -> None:
        self._limiter = trio.CapacityLimiter(AT_ONCE)

    async def forget(self, folder: int, names: tuple[str, ...]) -> None:
        """Have the kernel forget entries of the folder with this inode number, and its attributes; then return."""
        with trio.move_on_after(PATIENCE_S) as patience:
            await trio.to_thread.run_sync(
                partial(_forget, InodeT(folder), names), limiter=self._limiter, abandon_on_cancel=True
            )
        if patience.cancelled_caught:
            log.warning("the kernel takes long to forget names inode=%d names=%d", folder, len(names))


def _forget(folder: InodeT, names: tuple[str, ...]) -> None:
    for name in names:
        _tell(folder, partial(pyfuse3.invalidate_entry, folder, FileNameT(name.encode())))
    _tell(folder, partial(pyfuse3.invalidate_inode, folder, attr_only=True))


def _tell(folder: InodeT, request: Callable[[], None]) -> None:
    try:
        request()
    except OSError as error:
        if error.errno != errno.ENOENT:  # the kernel does not hold it
            log.warning("an invalidation failed inode=%d error=%s", folder, error)
