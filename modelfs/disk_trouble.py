"""What is wrong with the disk cache, told once, and how long it is left alone then.

Law: the cache is never a reason to fail. Trouble is one warning that says what to do, a word in the status, and a pause
after which it is tried again; its end is one line more. Thread-safe.
"""

import errno
import logging
import sqlite3
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 60.0
CALM_S = 5.0

_ADVICE = {
    errno.ENOSPC: "the disk is full; make room on it, or give the cache less with --cache-size",
    errno.EDQUOT: "the user's quota of the disk is used up; raise it, or give the cache less with --cache-size",
    errno.EROFS: "the disk is read-only; remount it, or choose another --cache-dir",
    errno.EACCES: "it may not be written; let this user write it, or choose another --cache-dir",
    errno.EPERM: "it may not be written; let this user write it, or choose another --cache-dir",
    errno.ENOENT: "it has vanished; it is made again when its disk is there, or choose another --cache-dir",
    errno.ENOTDIR: "it is not a folder; remove what is there, or choose another --cache-dir",
    errno.EIO: "the disk fails (EIO); look at dmesg, and choose another --cache-dir",
}

_OF_SQLITE = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_IOERR: errno.EIO,
}
"""What its primary error codes are to the disk."""


class Trouble:
    """One kind of work on the disk ("written", "read") of the cache at ``path``, and what keeps it from being done."""

    def __init__(self, path: str, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._what = what
        self._clock = clock
        self._lock = threading.Lock()
        self._reason = ""
        self._pause_s = FIRST_PAUSE_S
        self._again_at_s = 0.0
        self._works_since_s: float | None = None

    @property
    def reason(self) -> str:
        """What is wrong now, or ""."""
        return self._reason

    def is_on(self) -> bool:
        """Tell whether it is to be left alone at this moment."""
        return bool(self._reason) and self._clock() < self._again_at_s

    def note(self, error: Exception) -> None:
        """Take note that something failed."""
        with self._lock:
            is_new = not self._reason
            self._reason = explained(error)
            if not is_new and self._clock() < self._again_at_s:
                return  # others have just failed in the same way
            self._works_since_s = None
            self._again_at_s = self._clock() + self._pause_s
            self._pause_s = min(LONGEST_PAUSE_S, self._pause_s * 2)
        if is_new:
            log.warning(
                "the disk cache is not %s, and reads go on from the store path=%s because=%r",
                *(self._what, self._path, self._reason),
            )

    def end(self) -> None:
        """Take note that it works. It is over when it has worked for a while: others may just fill what we gave up.

        In the pause nothing is tried: what ends well then had begun before.
        """
        with self._lock:
            now_s = self._clock()
            if not self._reason or now_s < self._again_at_s:
                return
            if self._works_since_s is None:
                self._works_since_s = now_s
            if now_s < self._works_since_s + CALM_S:
                return
            self._reason = ""
            self._pause_s = FIRST_PAUSE_S
        log.warning("the disk cache is %s again path=%s", self._what, self._path)


def explained(error: Exception) -> str:
    """Return what is wrong and what to do, in a sentence."""
    if isinstance(error, OSError) and error.errno in _ADVICE:
        return _ADVICE[error.errno]
    if isinstance(error, OSError):
        return f"{error.strerror or error}; mend it, or choose another --cache-dir"
    if isinstance(error, sqlite3.Error):
        number = _OF_SQLITE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
        if number is not None:
            return _ADVICE[number]
        return f"its index cannot be used ({error}); it is made anew when it is broken"
    return str(error)
