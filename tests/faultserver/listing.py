"""Pages of a listing: pure, from a sorted list of objects to one page of ListObjectsV2.

Law: following the tokens gives every key (or common prefix) exactly once. A token holds where the last page ended and
the number of the next page, so that a fault can name "page 2" without the server remembering any listing.
"""

import base64
import binascii
import json
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from hashlib import blake2b

from faultserver.objects import StoredObject, sort_key


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page begins: behind ``after``, and behind all that begins with it when it was a common prefix."""

    page: int = 1
    after: str = ""
    whole_prefix: bool = False

    def token(self) -> str:
        """Return the opaque continuation token for this position."""
        return base64.urlsafe_b64encode(json.dumps([self.page, self.after, self.whole_prefix]).encode()).decode()


def position(token: str) -> Position:
    """Return the position of a token that ``Position.token`` made; ValueError for any other."""
    try:
        page, after, whole_prefix = json.loads(base64.b64decode(token, b"-_", validate=True))
    except (binascii.Error, TypeError, ValueError) as error:
        raise ValueError("The continuation token provided is incorrect") from error
    if not (isinstance(page, int) and isinstance(after, str) and isinstance(whole_prefix, bool)):
        raise ValueError("The continuation token provided is incorrect")  # noqa: TRY004  a client's value, not a type
    return Position(page, after, whole_prefix)


@dataclass(frozen=True, slots=True)
class Page:
    """One answer: at most ``max_keys`` of objects and common prefixes together, and where the next one begins."""

    objects: list[StoredObject]
    prefixes: list[str]
    following: Position | None


def between(objects: list[StoredObject], start: str, end: str) -> list[StoredObject]:
    """Return the ``objects``, sorted by ``sort_key``, from ``start`` on and before ``end``; "" is no bound."""
    first = bisect_left(objects, sort_key(start), key=lambda each: sort_key(each.key)) if start else 0
    stop = bisect_left(objects, sort_key(end), key=lambda each: sort_key(each.key)) if end else len(objects)
    return objects[first:stop] if start or end else objects


def take_page(objects: list[StoredObject], *, prefix: str, delimiter: str, start: Position, max_keys: int) -> Page:
    """Return the page at ``start`` of the ``objects``, which are sorted by ``sort_key``."""
    found: list[StoredObject] = []
    prefixes: list[str] = []
    last = start
    at = _first(objects, prefix, start)
    while at < len(objects) and objects[at].key.startswith(prefix):
        if len(found) + len(prefixes) >= max_keys:
            # S3 answers max-keys=0 with an empty page that is not truncated
            following = Position(start.page + 1, last.after, last.whole_prefix) if max_keys else None
            return Page(found, prefixes, following)
        each = objects[at]
        cut = each.key.find(delimiter, len(prefix)) if delimiter else -1
        if cut < 0:
            found.append(each)
            last = Position(0, each.key)
            at += 1
        else:
            common = each.key[: cut + len(delimiter)]
            prefixes.append(common)
            last = Position(0, common, whole_prefix=True)
            at = _behind(objects, common, at)
    return Page(found, prefixes, None)


def take_unsorted_page(
    objects: list[StoredObject], *, prefix: str, delimiter: str, start: Position, max_keys: int
) -> Page:
    """Return the page at ``start``, of keys in an order of their own: as a directory bucket of S3 Express gives them.

    The order is that of the names' digests, so it is the same for every page. Such a store has no ``start-after``.
    """
    behind = _digest(start.after) if start.after else b""
    named: dict[str, StoredObject | None] = {}  # None is a common prefix
    for each in objects:
        if each.key.startswith(prefix):
            cut = each.key.find(delimiter, len(prefix)) if delimiter else -1
            named.setdefault(each.key if cut < 0 else each.key[: cut + len(delimiter)], each if cut < 0 else None)
    left = sorted((name for name in named if _digest(name) > behind), key=_digest)
    names = left[:max_keys]
    found = [stored for name in names if (stored := named[name]) is not None]
    prefixes = [name for name in names if named[name] is None]
    return Page(found, prefixes, None if len(names) == len(left) else Position(start.page + 1, names[-1]))


def _digest(key: str) -> bytes:
    return blake2b(sort_key(key), digest_size=16).digest()


def _first(objects: list[StoredObject], prefix: str, start: Position) -> int:
    at = bisect_left(objects, sort_key(prefix), key=lambda each: sort_key(each.key))
    if not start.after:
        return at
    after = bisect_right(objects, sort_key(start.after), key=lambda each: sort_key(each.key))
    return max(at, _behind(objects, start.after, after) if start.whole_prefix else after)


def _behind(objects: list[StoredObject], prefix: str, at: int) -> int:
    """Return the first index from ``at`` whose key does not begin with ``prefix``."""
    head = sort_key(prefix)
    return bisect_right(objects, head, lo=at, key=lambda each: sort_key(each.key)[: len(head)])
