"""The immutable directory tree that a mount shows, and what differs between two of them.

Law: pure; no I/O, no clock. Unchanged directories are shared between trees, so the difference of two trees costs what
changed. How a tree is made is ``growing``'s.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from modelfs.blocks import ObjectInfo
from modelfs.cookies import Cookies

ORDERED_LATER = 2000
"""Entries of a folder whose order is made when it is first listed, which takes 3 ms: most folders never are."""

GONE_MOST = 10_000
"""Folders of the root that went, of which the time is known: a megabyte. The last are kept."""

_FEW = 500  # names, of which each costs a move of all behind it in the order of a folder


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
    _order: list[Cookies] = field(default_factory=list, repr=False)  # empty until it is asked for

    @classmethod
    def of(cls, children: Mapping[str, "Node"], mtime_ns: int) -> Self:
        """Return a directory. The order of a large one is made here and now, not by the thread that answers."""
        return cls(children, mtime_ns, [Cookies(children)] if len(children) > ORDERED_LATER else [])

    def followed_by(
        self, children: Mapping[str, "Node"], mtime_ns: int, *, added: Sequence[str], removed: Sequence[str]
    ) -> Self:
        """Return the directory as it is later, which has ``added`` and lacks ``removed`` of the names of this one."""
        order = None
        if self._order and len(added) + len(removed) <= _FEW:
            order = self._order[0].changed(added=added, removed=removed)
        return self.of(children, mtime_ns) if order is None else type(self)(children, mtime_ns, [order])

    def entries(self, start: int = 0) -> Iterator[Entry]:
        """Yield the children whose cookie is at least ``start``, by rising cookie; see ``cookies``.

        >>> file = File(ObjectInfo("k", 0, "v", 0), 0)
        >>> directory = Directory({"b": file, "a": file}, 0)
        >>> everything = list(directory.entries())
        >>> list(directory.entries(everything[0].cookie + 1)) == everything[1:]
        True
        """
        if not self._order:
            self._order.append(Cookies(self.children))
        for cookie, name in self._order[0].since(start):
            yield Entry(cookie, name, self.children[name])


Node = File | Directory


class Omission(NamedTuple):
    """A key that is not shown, and why, in words for an operator."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """What a mount shows. ``omissions`` are keys that an operator would miss, not the ones hidden by rule.

    ``gone`` are the times of the folders that the root had in trees before, the last that went behind.
    """

    root: Directory
    omissions: tuple[Omission, ...] = ()
    files: int = 0
    total_bytes: int = 0
    gone: Mapping[str, int] = field(default_factory=dict)

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
        return find_below(self.root, path)


EMPTY = Tree(Directory({}, 0))


def counted(root: Directory, gone: Mapping[str, int]) -> Tree:
    """Return the tree of ``root``, of which nothing is omitted. Walks it."""
    return Tree(root, (), *count(root), last_gone(gone))


def last_gone(gone: Mapping[str, int]) -> Mapping[str, int]:
    """Return the folders that went last, of more than GONE_MOST."""
    return dict(list(gone.items())[-GONE_MOST:]) if len(gone) > GONE_MOST else gone


def find_below(node: Node, path: str) -> Node | None:
    """Return the node at ``path`` below ``node``, which is "" itself, or None."""
    for name in path.split("/") if path else ():
        child = node.children.get(name) if isinstance(node, Directory) else None
        if child is None:
            return None
        node = child
    return node


class Difference(NamedTuple):
    """A directory in which something differs: ``path`` of it, and the names to look up again.

    ``names`` are the children that were added, removed or replaced; it can be empty, when only the directory's time
    moved.
    """

    path: str
    names: tuple[str, ...]


def differences(old: Tree, new: Tree) -> list[Difference]:
    """Return every directory of ``old`` that differs in ``new``, parents first. Shared directories cost nothing."""
    found: list[Difference] = []
    waiting: list[tuple[str, Directory, Directory]] = [("", old.root, new.root)]
    while waiting:
        path, before, after = waiting.pop()
        if before is after:
            continue
        # not by operations on whole sets: of a million names each would hold the interpreter's lock for long
        names = [name for name in before.children if name not in after.children]
        for name, other in after.children.items():
            one = before.children.get(name)
            if one is other:
                continue
            if isinstance(one, Directory) and isinstance(other, Directory):
                waiting.append((f"{path}/{name}" if path else name, one, other))
            else:
                names.append(name)
        found.append(Difference(path, tuple(sorted(names))))
    return found


def files(tree: Tree) -> dict[str, ObjectInfo]:
    """Return all the files by their paths.

    >>> from modelfs.growing import build
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

    >>> from modelfs.growing import build
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


def files_below(node: Node) -> Iterator[ObjectInfo]:
    """Yield the objects of all the files in and below ``node``, or of the file that it is.

    >>> from modelfs.growing import build
    >>> [info.key for info in files_below(build([ObjectInfo("m/1/a", 7, "v", 5)]).root)]
    ['m/1/a']
    """
    waiting = [node]
    while waiting:
        each = waiting.pop()
        if isinstance(each, File):
            yield each.info
        else:
            waiting.extend(each.children.values())


def count(node: Node | None) -> tuple[int, int]:
    """Return the number of files and the sum of their sizes in bytes."""
    if not isinstance(node, Directory):
        return (1, node.info.size) if node is not None else (0, 0)
    files = total_bytes = 0
    waiting = [node]
    while waiting:
        for child in waiting.pop().children.values():
            if isinstance(child, File):
                files += 1
                total_bytes += child.info.size
            else:
                waiting.append(child)
    return files, total_bytes
