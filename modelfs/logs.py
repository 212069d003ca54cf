"""How log lines look, and the one bounded file that a mount's processes write them to.

Law: standard library only. The supervisor alone writes the file, the worker's standard error reaches it through a
pipe: two processes that rotate the same file would lose lines, and a pipe also carries what a crash prints.
"""

# Paths stay strings here, as system calls and JSON take them.
# ruff: noqa: PTH105

import json
import logging
import os
import stat
import time
from collections.abc import Mapping
from typing import IO, Any

_OURS = ("modelfs", "__main__")
"""The loggers whose level is the configured one; a process's first module is called __main__."""

LOG_BYTES = 4 * 1024 * 1024
"""A log is moved aside at this size, once: at most twice as much is ever kept."""


class _TextFormatter(logging.Formatter):
    def __init__(self, mountpoint: str | None) -> None:
        self.converter = time.gmtime
        whose = f"[{mountpoint}] ".replace("%", "%%") if mountpoint else ""
        super().__init__(f"%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s {whose}%(message)s", "%Y-%m-%dT%H:%M:%S")


class _JsonFormatter(logging.Formatter):
    def __init__(self, mountpoint: str | None) -> None:
        self.converter = time.gmtime
        self._whose = {"mountpoint": mountpoint} if mountpoint else {}
        super().__init__()

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            **self._whose,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def _may_be_told(record: logging.LogRecord) -> bool:
    """Hold libraries to warnings, also one whose own logger somebody has turned up."""
    return record.levelno >= logging.WARNING or record.name.partition(".")[0] in _OURS


def shared_by(plan: Mapping[str, Any]) -> str | None:
    """Return the mount point of ``plan`` when other mounts write to the same log, so that each line must tell it."""
    return str(plan["mountpoint"]) if plan.get("shares_log") else None


def configure(
    *, level: str, form: str, stream: "IO[str] | RotatingLog | None" = None, mountpoint: str | None = None
) -> None:
    """Send this process's log to ``stream`` (default: standard error). ``form`` is "text" or "json".

    Where a ``mountpoint`` is given, each line tells it.
    """
    handler: logging.Handler = logging.StreamHandler(stream)
    handler.setFormatter(_JsonFormatter(mountpoint) if form == "json" else _TextFormatter(mountpoint))
    handler.addFilter(_may_be_told)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Of libraries only warnings: at the debug level botocore logs session tokens and the answers of STS, and urllib3
    # the queries of URLs, where SAS tokens are.
    root.setLevel(logging.WARNING)
    logging.getLogger("botocore").setLevel(logging.ERROR)  # it warns with tracebacks of what we report in one line
    for name in _OURS:
        logging.getLogger(name).setLevel(level.upper())


class RotatingLog:
    """Appends to a file, and moves it to ``PATH.1`` when it has grown.

    Loses lines rather than raise: a full disk must not end a mount.
    """

    def __init__(self, path: str, *, longest_bytes: int = LOG_BYTES) -> None:
        self.path = path
        self._longest_bytes = longest_bytes
        self._file = self._open()
        found = os.fstat(self._file)
        self._bytes = found.st_size
        self._rotates = stat.S_ISREG(found.st_mode)  # --log-file may name a pipe or a terminal

    def write(self, text: str) -> int:
        """Append ``text``."""
        self.write_bytes(text.encode("utf-8", "backslashreplace"))
        return len(text)

    def write_bytes(self, data: bytes) -> None:
        """Append ``data``, which may end in the middle of a line."""
        try:
            if self._rotates and self._bytes > 0 and self._bytes + len(data) > self._longest_bytes:
                os.replace(self.path, self.path + ".1")
                fresh = self._open()  # before the old one is closed: its number could become another file's
                os.close(self._file)
                self._file, self._bytes = fresh, 0
            self._bytes += os.write(self._file, data)
        except OSError:
            return

    def flush(self) -> None:
        """Do nothing: every write is already the kernel's."""

    def _open(self) -> int:
        # NONBLOCK: a pipe that nobody reads is an error, and one that is full loses lines; neither stops a mount
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
        return os.open(self.path, flags, 0o600)
