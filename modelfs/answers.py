"""What the answers of all listings have in common: they may be senseless, and they tell dates, and some are XML.

Law: pure. What cannot be understood raises SenselessError, and is never guessed.
"""

import datetime as dt
import re
import xml.etree.ElementTree as ET
from typing import Any

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


def relative(key: str, prefix: str, folder: str) -> str:
    """Return a listed key without the prefix of the repository. Raises SenselessError for one that was not asked for.

    >>> relative("models/m/1/x", "models/", "m/")
    'm/1/x'
    """
    if not key.startswith(prefix + folder):
        raise SenselessError("the store lists keys outside the prefix")
    return key[len(prefix) :]


def xml_root(body: bytes) -> Any:
    """Return the root element of an answer in XML. Raises SenselessError for anything else, and for entities."""
    # Entities are how XML attacks its reader. No listing has any, nor a document type, which alone can define them.
    # They cannot hide from this search in another encoding: the parser is told UTF-8, and UTF-16, which it takes
    # nevertheless (seen), is full of NULs.
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body or b"\0" in body:
        raise SenselessError("the store's answer is not a listing")
    try:
        return ET.fromstring(body, ET.XMLParser(encoding="utf-8"))  # noqa: S314  see above
    except (ET.ParseError, ValueError, LookupError) as error:
        raise SenselessError(f"the store's answer is not whole XML ({error})") from error
