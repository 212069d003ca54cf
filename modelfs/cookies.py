"""The order in which a folder is listed: a readdir cookie for each name.

Law: pure; never changed once made. A cookie is a hash of the name, as in ext4: it does not depend on the other names,
so a readdir that goes on after the folder has changed, or in another process, neither repeats nor loses a name that
stayed.

A million names take 16 bytes each here, and no step of the work holds the interpreter's lock for longer than a few
milliseconds: sorting all of them at once holds it for a second, and an entry of its own for each would take 180 bytes.
"""

import hashlib
from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator

_BUCKETS = 1024
_HASH_BITS = 61


class Cookies:
    """The names of a folder by rising cookie. Cookies are in [1, 2**62), and rise strictly."""

    def __init__(self, names: Collection[str]) -> None:
        self._cookies = array("Q")
        self._names: list[str] = []
        buckets: list[list[tuple[int, str]]] = [[] for _ in range(_BUCKETS if len(names) > _BUCKETS else 1)]
        shift = _HASH_BITS - (len(buckets) - 1).bit_length()
        for name in names:
            cookie = name_hash(name)
            buckets[cookie >> shift].append((cookie, name))
        last = 0
        for bucket in buckets:
            bucket.sort()
            for cookie, name in bucket:
                last = max(cookie, last + 1)  # two names with one hash: the later one moves up
                self._cookies.append(last)
                self._names.append(name)

    def __len__(self) -> int:
        return len(self._names)

    def since(self, start: int) -> Iterator[tuple[int, str]]:
        """Yield the cookies from ``start`` on, with their names.

        >>> cookies = Cookies(["a", "b", "c"])
        >>> everything = list(cookies.since(0))
        >>> list(cookies.since(everything[0][0] + 1)) == everything[1:]
        True
        """
        for index in range(bisect_left(self._cookies, start), len(self._cookies)):
            yield self._cookies[index], self._names[index]

    def changed(self, *, added: Iterable[str], removed: Iterable[str]) -> "Cookies | None":
        """Return the order with some names more and others less; None where hashes meet: then it must be made anew.

        >>> changed = Cookies(["a", "b"]).changed(added=["c"], removed=["a"])
        >>> list(changed.since(0)) == list(Cookies(["b", "c"]).since(0))
        True
        """
        new = Cookies(())
        new._cookies, new._names = self._cookies[:], self._names[:]
        for name in removed:
            index = bisect_left(new._cookies, name_hash(name))
            if index == len(new) or new._names[index] != name:
                return None
            del new._cookies[index], new._names[index]
        for name in added:
            cookie = name_hash(name) or 1
            index = bisect_left(new._cookies, cookie)
            if index < len(new) and new._cookies[index] == cookie:
                return None
            new._cookies.insert(index, cookie)
            new._names.insert(index, name)
        return new


def name_hash(name: str) -> int:
    """Return a number in [0, 2**61)."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest()) >> (64 - _HASH_BITS)
