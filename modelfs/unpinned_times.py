"""When a file was written, in the words of fsspec's drivers, which have no common one.

Law: pure. The same moment is the same number, in whichever form a driver tells it: some tell of a file in a listing
otherwise than when it is asked for alone.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

_NAMES = (
    *("mtime", "LastModified", "last_modified", "Last-Modified", "modified", "modify", "modified_at", "modifiedTime"),
    *("modificationTime", "last_commit", "updated", "created"),
)
"""What drivers call it, the better one first; ``created`` is what has no better one."""

_MILLISECONDS_FROM = 1e11
"""A number from here on counts milliseconds (March 1973, or the year 5138 in seconds)."""


def find_ns(entry: Mapping[str, Any]) -> int | None:
    """Return when ``entry`` was written, in nanoseconds since the epoch at microsecond steps; None if not told.

    >>> find_ns({"mtime": 1.5}), find_ns({"modify": "19700101000002"}), find_ns({"Last-Modified": "yesterday"})
    (1500000000, 2000000000, None)
    """
    values = (entry[name] for name in _NAMES if entry.get(name) is not None)
    return next((time_ns for value in values if (time_ns := _ns(value)) is not None), None)


def _ns(value: Any) -> int | None:
    value = getattr(value, "date", value) if not isinstance(value, datetime) else value  # a commit of Hugging Face
    if isinstance(value, str):
        value = _parsed(value)
    if isinstance(value, datetime):
        # a time without a zone is the store's, which is as a rule UTC; what matters is that it stays the same
        value = (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if not isinstance(value, int | float) or not 0 <= value < 1e15:  # noqa: PLR2004  what no clock tells
        return None
    seconds = value / 1000 if value >= _MILLISECONDS_FROM else value
    return round(seconds * 1_000_000) * 1000  # a float holds no nanoseconds of this century


def _parsed(text: str) -> datetime | None:
    """Read a date of FTP, of ISO 8601 or of HTTP."""
    for parse in (_parsed_ftp, datetime.fromisoformat, parsedate_to_datetime):
        try:
            return parse(text)
        except ValueError:
            continue
    return None


def _parsed_ftp(text: str) -> datetime:
    return datetime.strptime(text[:14] + "+0000", "%Y%m%d%H%M%S%z")
