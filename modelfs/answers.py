"""What the answers of all listings have in common: they may be senseless, and they tell dates.

Law: pure. What cannot be understood raises SenselessError, and is never guessed.
"""

import datetime as dt
import re

_DATE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(?:Z|\+00:00)", re.ASCII)
_EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001  both ends of the difference are in UTC, and naive is faster


class SenselessError(Exception):
    """An answer is not a page of a listing. The message completes "the store's answer …"."""


def parse_date_ns(text: str) -> int:
    """Return an ISO 8601 date in UTC as nanoseconds since the epoch, exactly. Raises SenselessError.

    >>> parse_date_ns("2009-10-12T17:50:30.123Z")
    1255369830123000000
    """
    found = _DATE.fullmatch(text)
    if not found:
        raise SenselessError("an entry of the store's listing has no date")
    try:
        since = dt.datetime.fromisoformat(found[1]) - _EPOCH
    except ValueError as error:
        raise SenselessError("an entry of the store's listing has no date") from error
    return (since.days * 86_400 + since.seconds) * 10**9 + int((found[2] or "").ljust(9, "0"))
