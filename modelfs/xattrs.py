"""What a mount tells of each file and folder: the extended attributes ``user.modelfs.*``.

Law: read-only, never a secret, and nothing is asked of the store. What the kernel and the tools ask for of their own
accord (``security.*``, ``system.posix_acl_*``) never comes here: that there is none is answered before.

Text, UTF-8, without a newline behind; several lines only in ``pending``.
"""

from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice

from modelfs.blocks import ObjectInfo
from modelfs.groups import group_of
from modelfs.settle import Pending
from modelfs.tree import Directory, File, Node, files_below
from modelfs.view import View

PREFIX = "user.modelfs."

PENDING_TOLD = 100
"""Folders, by one attribute: the kernel takes 64 KiB. ``modelfs ls MOUNTPOINT --pending`` tells all."""

_VALUE_BYTES_MAX = 65_536

_QUERY_SHOWN = "?***"  # what a Location's display has in place of a secret

_OF_ALL = ("url", "cached_bytes", "state")
_OF_FILES = ("url", "version", "last_modified", "cached_bytes", "state")


class Xattrs:
    """The attributes in one mount, whose tree is ``view``.

    ``url`` is the repository's, without secrets; ``count_cached`` counts the bytes of files that are held here.
    """

    def __init__(self, view: View, *, url: str, count_cached: Callable[[Iterable[ObjectInfo]], Awaitable[int]]) -> None:
        self._view = view
        self._url = url.removesuffix(_QUERY_SHOWN).rstrip("/")
        self._count_cached = count_cached

    def names(self, path: str, node: Node) -> list[str]:
        """Return the names of the attributes that ``node`` at ``path`` has."""
        names = [*_OF_FILES] if isinstance(node, File) else [*_OF_ALL]
        if any(self._pending(path, node)):
            names.append("pending")
        return [PREFIX + name for name in names]

    async def value(self, path: str, node: Node, name: str) -> bytes | None:
        """Return the value of an attribute; None where there is none of this name."""
        text: str | None = None
        match name.removeprefix(PREFIX):
            case "url":
                text = self._url_of(path, node)
            case "state":
                text = self._state(path, node)
            case "pending":
                text = "\n".join(f"{each.folder}: {each.reason}" for each in self._pending(path, node)) or None
            case "cached_bytes":
                text = str(await self._count_cached(files_below(node)))
            case "version" if isinstance(node, File):
                text = node.info.version
            case "last_modified" if isinstance(node, File):
                text = _date(node.info.mtime_ns)
        return None if text is None else text.encode(errors="replace")[:_VALUE_BYTES_MAX]

    def _url_of(self, path: str, node: Node) -> str:
        return f"{self._url}/{path}{'/' if isinstance(node, Directory) else ''}" if path else self._url

    def _state(self, path: str, node: Node) -> str:
        """Return "gone" for a version that is open but no longer shown, "pending" while another one waits."""
        if isinstance(node, File):
            now = self._view.tree.find(path)
            if not isinstance(now, File) or now.info.version != node.info.version:
                return "gone"
        return "pending" if any(self._pending(path, node)) else "shown"

    def _pending(self, path: str, node: Node) -> Iterator[Pending]:
        """Yield why something at ``path`` or below is not shown as it is stored."""
        return islice(_concerned(self._view.pending, path, is_folder=isinstance(node, Directory)), PENDING_TOLD)


def _concerned(pending: tuple[Pending, ...], path: str, *, is_folder: bool) -> Iterator[Pending]:
    """Yield those of ``pending``, sorted by folder, in whose group ``path`` lies, or which lie in it."""
    if not path:
        yield from pending
        return
    group = group_of(f"{path}/" if is_folder else path)
    if group is not None:
        yield from _beginning(pending, group.folder, lambda folder: folder == group.folder)
    if is_folder:
        yield from _beginning(pending, f"{path}/", lambda folder: folder.startswith(f"{path}/"))


def _beginning(pending: tuple[Pending, ...], start: str, belongs: Callable[[str], bool]) -> Iterator[Pending]:
    for index in range(bisect_left(pending, start, key=lambda each: each.folder), len(pending)):
        if not belongs(pending[index].folder):
            return
        yield pending[index]


def _date(time_ns: int) -> str:
    """Return a time as ISO 8601, to the nanosecond where it has any; "@SECONDS" for a year that has not four digits.

    >>> _date(1_700_000_000_123_000_000), _date(1_700_000_000_000_000_000), _date(300_000_000_000 * 10**9)
    ('2023-11-14T22:13:20.123Z', '2023-11-14T22:13:20Z', '@300000000000')
    """
    seconds, rest_ns = divmod(time_ns, 10**9)
    fraction = f".{rest_ns:09d}".rstrip("0") if rest_ns else ""
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}{fraction}Z"
    except (ValueError, OverflowError, OSError):  # a file of this machine may have any date
        return f"@{seconds}"
