"""Inode numbers, and how often the kernel has looked each of them up.

Law: an inode is one version of one file, or one folder. Its number is a hash of (path, version), so it is the same
in every process and after every restart, and the page cache of one version can never be taken for another's. The
kernel holds a number from the first reply that carries it until it has forgotten as many lookups as it was given.
All synchronous, hence atomic. FORGET tolerates numbers it does not know: a worker that takes over a mount has lost
the counts of the one before it.
"""

from dataclasses import dataclass

from modelfs import identity
from modelfs.tree import File, Node

ROOT_INODE = 1
"""What FUSE calls the root."""


@dataclass(slots=True)
class Inode:
    """What a number stands for. ``file`` is None for a folder, which is found in the current tree by its path."""

    number: int
    path: str
    file: File | None
    lookups: int = 0

    @property
    def version(self) -> str:
        """The version of a file, or "" for a folder."""
        return self.file.info.version if self.file else ""


class Inodes:
    """The table of the inodes that the kernel knows. The root is always in it."""

    def __init__(self) -> None:
        self._by_number: dict[int, Inode] = {ROOT_INODE: Inode(ROOT_INODE, "", None)}

    def __len__(self) -> int:
        return len(self._by_number)

    def get(self, number: int) -> Inode | None:
        """Return what ``number`` stands for, or None when the kernel should not know it."""
        return self._by_number.get(number)

    def number_of(self, path: str, node: Node) -> int:
        """Return the number of a node, without counting a lookup."""
        version = node.info.version if isinstance(node, File) else ""
        number = identity.number_of(path, version)
        while (known := self._by_number.get(number)) and (known.path, known.version) != (path, version):
            number = number + 1 if number < identity.LAST else identity.FIRST  # two of 2**63 hashes met
        return number

    def known(self, path: str, node: Node) -> Inode | None:
        """Return the inode of a node if the kernel holds it."""
        return self._by_number.get(ROOT_INODE if not path else self.number_of(path, node))

    def look_up(self, path: str, node: Node) -> Inode:
        """Count one lookup of a node, which a reply is about to tell the kernel, and return its inode."""
        number = self.number_of(path, node)
        file = node if isinstance(node, File) else None
        inode = self._by_number.setdefault(number, Inode(number, path, file))
        inode.file = file
        inode.lookups += 1
        return inode

    def adopt(self, number: int, path: str, file: File | None) -> Inode:
        """Know a number that the kernel has from another process, which alone knows how often it was looked up."""
        return self._by_number.setdefault(number, Inode(number, path, file))

    def forget(self, number: int, lookups: int) -> bool:
        """Take back ``lookups``; at none the number is dropped. The root stays. Returns whether it is unknown now."""
        inode = self._by_number.get(number)
        if inode is None or number == ROOT_INODE:
            return inode is None
        inode.lookups -= lookups
        if inode.lookups <= 0:
            del self._by_number[number]
        return inode.lookups <= 0
