"""Objects become an immutable directory tree, and two trees become the list of what differs.

Law: pure; no I/O, no clock. A tree is made from one complete listing and, for its times, from the tree before it;
the order of the listing does not matter. Unchanged directories are shared between trees, so the difference of two
trees costs what changed.

Names. A key is shown at its own path, except (each has a test, docs/semantics.md has the table):

- a key that ends in "/" is a folder marker: the folder exists, also when it is empty;
- of a key `a` beside `a/b`, the folder wins;
- a key with an empty segment, `.`, `..`, a NUL, a name over 255 bytes, more than 255 folders, or text that is not
  UTF-8 cannot be a path, and is not shown;
- names that begin with ".", `__pycache__` and `*_$folder$` placeholders are not shown (`show_hidden`), but the
  folder that such an object lies in exists.

Times are Triton's input: it reloads a model when the greatest mtime or ctime below its folder *grows*. So a file
keeps the time with which its version was first seen; a replaced file is strictly newer than everything its model (the
root's child) ever showed; a folder's time is the maximum of its subtree, never shrinks while mounted, and moves to a
tick beyond its model's greatest time when an entry of its own is added, replaced or removed. A tick beyond the folder's
own time would be lost on Triton where another version is newer.
"""

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from modelfs.blocks import ObjectInfo

TICK_NS = 1_000_000
"""The smallest step of a time that every reader sees: Python's float seconds resolve 0.2 us, `find -printf` more."""

ARCHIVE_TICK_NS = 1_000_000_000
"""For archives: Triton's Python backend compares the times of an environment in whole seconds before it unpacks it."""

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".zip")

NAME_BYTES_MAX = 255  # NAME_MAX of Linux
DEPTH_MAX = 255  # Azure allows 254 segments; bounds the recursion below

PLACEHOLDER_SUFFIX = "_$folder$"  # what Hadoop's S3 connectors leave for a folder


@dataclass(frozen=True, slots=True)
class File:
    """One version of one object, with the time it is shown with."""

    info: ObjectInfo
    mtime_ns: int


class Entry(NamedTuple):
    """A child in readdir order. ``cookie`` is in [1, 2**62), and rises strictly within a directory."""

    cookie: int
    name: str
    node: "Node"


@dataclass(frozen=True, slots=True, eq=False)
class Directory:
    """A folder. Two directories are equal only when they are the same one."""

    children: Mapping[str, "Node"]
    mtime_ns: int
    _listing: list[Entry] = field(default_factory=list, repr=False)

    def entries(self, start: int = 0) -> Iterator[Entry]:
        """Yield the children whose cookie is at least ``start``, by rising cookie.

        A cookie is a hash of the name, as in ext4: it does not depend on the other children, so a readdir that goes
        on after the tree was swapped, or in another process, neither repeats nor loses a child that stayed.

        >>> file = File(ObjectInfo("k", 0, "v", 0), 0)
        >>> directory = Directory({"b": file, "a": file}, 0)
        >>> everything = list(directory.entries())
        >>> list(directory.entries(everything[0].cookie + 1)) == everything[1:]
        True
        """
        if len(self._listing) != len(self.children):
            self._listing[:] = _in_cookie_order(self.children)
        position = bisect_left(self._listing, start, key=lambda entry: entry.cookie)
        for index in range(position, len(self._listing)):
            yield self._listing[index]


Node = File | Directory


class Omission(NamedTuple):
    """A key that is not shown, and why, in words for an operator."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """What a mount shows. ``omissions`` are keys that an operator would miss, not the ones hidden by rule."""

    root: Directory
    omissions: tuple[Omission, ...] = ()
    files: int = 0
    total_bytes: int = 0

    def largest(self) -> ObjectInfo | None:
        """Return the largest object that is shown; None where there is none. Walks the whole tree."""
        found, folders = None, [self.root]
        while folders:
            for node in folders.pop().children.values():
                if isinstance(node, Directory):
                    folders.append(node)
                elif found is None or node.info.size > found.size:
                    found = node.info
        return found

    def find(self, path: str) -> Node | None:
        """Return the node at ``path`` ("" is the root, "a/b" a child of a child), or None."""
        node: Node = self.root
        for name in path.split("/") if path else ():
            if not isinstance(node, Directory):
                return None
            child = node.children.get(name)
            if child is None:
                return None
            node = child
        return node


EMPTY = Tree(Directory({}, 0))


class Difference(NamedTuple):
    """A directory in which something differs: ``path`` of it, and the names to look up again.

    ``names`` are the children that were added, removed or replaced; it can be empty, when only the directory's time
    moved.
    """

    path: str
    names: tuple[str, ...]


def build(objects: Iterable[ObjectInfo], *, previous: Tree = EMPTY, show_hidden: bool = False) -> Tree:
    """Return the tree of a complete listing. ``previous`` gives the times and the unchanged directories.

    >>> tree = build([ObjectInfo("m/1/model.onnx", 7, "v", 5)])
    >>> tree.find("m/1/model.onnx")
    File(info=ObjectInfo(key='m/1/model.onnx', size=7, version='v', mtime_ns=5), mtime_ns=5)
    """
    growing = _Growing()
    for info in objects:
        growing.add(info, show_hidden=show_hidden)
    first = previous is EMPTY
    root = _freeze(growing.root, None if first else previous.root)
    files, total_bytes = _count(root)
    return Tree(root, tuple(growing.omissions), files, total_bytes)


def differences(old: Tree, new: Tree) -> list[Difference]:
    """Return every directory of ``old`` that differs in ``new``, parents first. Shared directories cost nothing."""
    found: list[Difference] = []
    waiting: list[tuple[str, Directory, Directory]] = [("", old.root, new.root)]
    while waiting:
        path, before, after = waiting.pop()
        if before is after:
            continue
        names = []
        for name in before.children.keys() | after.children.keys():
            one, other = before.children.get(name), after.children.get(name)
            if one is other:
                continue
            if isinstance(one, Directory) and isinstance(other, Directory):
                waiting.append((f"{path}/{name}" if path else name, one, other))
            else:
                names.append(name)
        found.append(Difference(path, tuple(sorted(names))))
    return found


class _Folder(dict[str, "ObjectInfo | _Folder"]):
    """A directory while it grows; the time of its marker and hidden objects counts while it shows nothing."""

    placeholder_mtime_ns = 0


class _Growing:
    """The mutable tree of one ``build``."""

    def __init__(self) -> None:
        self.root = _Folder()
        self.omissions: list[Omission] = []

    def add(self, info: ObjectInfo, *, show_hidden: bool) -> None:
        """Put one object where it belongs, or note why it cannot be shown."""
        names = info.key.split("/")
        is_marker = names[-1] == ""
        if is_marker:
            names.pop()
        reason = _why_no_path(names)
        if reason:
            self.omissions.append(Omission(info.key, reason))
            return
        visible = len(names) if show_hidden else _visible_depth(names)
        folders = names[: visible if is_marker or visible < len(names) else -1]
        folder = self.root
        for name in folders:
            child = folder.get(name)
            if not isinstance(child, _Folder):
                if child is not None:
                    self._note_shadowed(child)
                child = folder[name] = _Folder()
            folder = child
        if is_marker or visible < len(names):
            folder.placeholder_mtime_ns = max(folder.placeholder_mtime_ns, info.mtime_ns)
        else:
            self._add_file(folder, names[-1], info)

    def _add_file(self, folder: _Folder, name: str, info: ObjectInfo) -> None:
        if isinstance(folder.get(name), _Folder):
            self._note_shadowed(info)
        else:
            folder[name] = info

    def _note_shadowed(self, info: ObjectInfo) -> None:
        if info.size:  # an empty one is a console's way of making a folder
            self.omissions.append(Omission(info.key, "a folder of the same name is shown instead"))


def _why_no_path(names: list[str]) -> str:
    """Return why these segments cannot be a path, or "" when they can."""
    if len(names) > DEPTH_MAX:
        return f"it lies more than {DEPTH_MAX} folders deep"
    for name in names:
        if name in {"", ".", ".."}:
            return f"it holds the segment {name!r}"
        if "\0" in name:
            return "it holds a NUL"
        try:
            too_long = len(name.encode()) > NAME_BYTES_MAX
        except UnicodeEncodeError:
            return "it is not UTF-8"
        if too_long:
            return f"it holds a name of over {NAME_BYTES_MAX} bytes"
    return ""


def is_hidden(name: str) -> bool:
    """Tell whether a name is hidden by rule.

    >>> [is_hidden(name) for name in (".git", "__pycache__", "1_$folder$", "model.onnx")]
    [True, True, True, False]
    """
    return name.startswith(".") or name == "__pycache__" or name.endswith(PLACEHOLDER_SUFFIX)


def _visible_depth(names: list[str]) -> int:
    """Return how many leading segments come before the first hidden one."""
    for depth, name in enumerate(names):
        if is_hidden(name):
            return depth
    return len(names)


def _freeze(folder: _Folder, previous: Directory | None, model_ns: int | None = None) -> Directory:
    """Return the immutable directory, sharing what did not change with ``previous``.

    ``model_ns`` is the greatest time that the model (the root's child) around it showed before, or None for the root.
    """
    floor_ns = model_ns if model_ns is not None else previous.mtime_ns if previous else 0
    children: dict[str, Node] = {}
    changed = previous is None or folder.keys() != previous.children.keys()
    shared = not changed
    newest_ns = 0
    for name, child in folder.items():
        before = previous.children.get(name) if previous else None
        node: Node
        if isinstance(child, _Folder):
            directory_before = before if isinstance(before, Directory) else None
            around_ns = model_ns if model_ns is not None else directory_before.mtime_ns if directory_before else 0
            node = _freeze(child, directory_before, around_ns)
            changed = changed or directory_before is None
        else:
            node = _file(child, before, floor_ns)
            changed = changed or node is not before
        shared = shared and node is before
        newest_ns = max(newest_ns, node.mtime_ns)
        children[name] = node
    if previous is None:
        return Directory(children, newest_ns if children else folder.placeholder_mtime_ns)
    if shared:
        return previous
    return Directory(children, max(newest_ns, previous.mtime_ns, floor_ns + TICK_NS if changed else 0))


def _file(info: ObjectInfo, before: Node | None, floor_ns: int) -> File:
    """Return the file as shown: the one from before when its version is the same, else one newer than ``floor_ns``."""
    if not isinstance(before, File):
        return File(info, info.mtime_ns)
    if before.info.version == info.version and before.info.size == info.size:
        return before
    tick_ns = ARCHIVE_TICK_NS if info.key.endswith(ARCHIVE_SUFFIXES) else TICK_NS
    return File(info, max(info.mtime_ns, floor_ns + tick_ns))


def files(tree: Tree) -> dict[str, ObjectInfo]:
    """Return all the files by their paths.

    >>> list(files(build([ObjectInfo("m/1/a", 7, "v", 5), ObjectInfo("m/1/.b", 7, "v", 5)])))
    ['m/1/a']
    """
    found: dict[str, ObjectInfo] = {}
    waiting = [("", tree.root)]
    while waiting:
        path, folder = waiting.pop()
        for name, node in folder.children.items():
            if isinstance(node, File):
                found[path + name] = node.info
            else:
                waiting.append((f"{path}{name}/", node))
    return found


def listing_of(tree: Tree) -> dict[str, ObjectInfo]:
    """Return, by key, objects that would show ``tree``: its files, and a marker for each folder that is empty.

    >>> list(listing_of(build([ObjectInfo(key, 7, "v", 5) for key in ("m/1/a", "m/1/", "m/2/")])))
    ['m/1/a', 'm/2/']
    """
    found = files(tree)
    waiting = [("", tree.root)]
    while waiting:
        path, folder = waiting.pop()
        if path and not folder.children:
            found[path] = ObjectInfo(path, 0, "", folder.mtime_ns)
        for name, node in folder.children.items():
            if isinstance(node, Directory):
                waiting.append((f"{path}{name}/", node))
    return found


def _count(root: Directory) -> tuple[int, int]:
    """Return the number of files and the sum of their sizes in bytes."""
    files = total_bytes = 0
    waiting = [root]
    while waiting:
        for node in waiting.pop().children.values():
            if isinstance(node, File):
                files += 1
                total_bytes += node.info.size
            else:
                waiting.append(node)
    return files, total_bytes


def _in_cookie_order(children: Mapping[str, Node]) -> list[Entry]:
    hashed = sorted((_name_hash(name), name) for name in children)
    entries: list[Entry] = []
    last = 0
    for cookie, name in hashed:
        last = max(cookie, last + 1)  # two names with one 61-bit hash: the later one moves up
        entries.append(Entry(last, name, children[name]))
    return entries


def _name_hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest()) >> 3
