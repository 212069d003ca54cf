"""What a mount showed last, kept on disk, so that its times go on after a restart.

Law: a time that was shown is never taken back, so a tree is kept before it is shown. The whole tree is kept, names,
versions and times: then a remount is but one more refresh, and what was replaced or deleted meanwhile is told by the
same rules (``tree``). Keeping only the times that differ from the store's would lose a file that was replaced by an
older one between two mounts.

Whatever is wrong with the file or its folder costs one warning and the memory, never the mount. The file is replaced
whole: written beside, synced, renamed, and its folder synced; it is one for each repository and mount point, so that
two mounts never write over each other.
"""

import hashlib
import json
import logging
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from modelfs.blocks import ObjectInfo
from modelfs.tree import EMPTY, Directory, File, Node, Tree

log = logging.getLogger(__name__)

FORMAT = 1
FILES_MAX = 200_000
"""Of a larger repository nothing is kept. So many take 13 MB on disk, and 0.4 s to write."""

BYTES_MAX = 256 * 1024 * 1024  # of a file that is read; a path may have 4,096 bytes
MOUNTS_MAX = 256  # the memories of the mounts that were not seen for longest are dropped


class Memory:
    """The file of one mount in ``folder``. ``repository`` is a URL without secrets."""

    def __init__(self, folder: str, *, repository: str, mountpoint: str) -> None:
        self._folder = Path(folder)
        self._mount = {"format": FORMAT, "repository": repository, "mountpoint": mountpoint}
        name = hashlib.blake2b(f"{repository}\n{mountpoint}".encode(errors="surrogatepass"), digest_size=16).hexdigest()
        self._path = self._folder / f"{name}.json"
        self._kept: Directory | None = None
        self._has_warned = False

    def recall(self) -> Tree:
        """Return the tree that was kept last, or EMPTY. Blocks."""
        try:
            text = self._read()
            if text is None:
                return EMPTY
            tree = Tree(self._directory(json.loads(text)))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            self._warn(f"{self._path} cannot be used ({error or type(error).__name__}); remove it")
            return EMPTY
        self._kept = tree.root
        return tree

    def keep(self, tree: Tree) -> None:
        """Keep ``tree``, unless it is the one that is kept. Blocks."""
        if tree.root is self._kept:
            return
        try:
            if tree.files > FILES_MAX:
                self._path.unlink(missing_ok=True)  # what it holds grows wrong
                self._warn(f"the repository has more than {FILES_MAX} files")
                return
            self._write(json.dumps({**self._mount, "root": _as_json(tree.root)}, separators=(",", ":")).encode())
        except OSError as error:
            self._warn(f"{self._folder} cannot be written ({error.strerror}); choose another --state-dir")
            return
        self._kept = tree.root

    def _read(self) -> bytes | None:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
                raise ValueError("others can write it")
            if found.st_size > BYTES_MAX:
                raise ValueError("it is too large")
            return file.read()

    def _directory(self, found: Any) -> Directory:
        if {name: found.get(name) for name in self._mount} != self._mount:
            raise ValueError("it is of another mount or another release")
        root = _as_node(found["root"], "")
        if not isinstance(root, Directory):
            raise TypeError("it holds no tree")
        return root

    def _write(self, text: bytes) -> None:
        if self._kept is None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._drop_oldest()
        beside = self._path.with_suffix(".new")
        with suppress(FileNotFoundError):
            beside.unlink()  # a crash left it
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        beside.replace(self._path)
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _drop_oldest(self) -> None:
        kept = sorted(self._folder.glob("*.json"), key=lambda path: path.lstat().st_mtime_ns, reverse=True)
        for path in kept[MOUNTS_MAX:]:
            path.unlink(missing_ok=True)

    def _warn(self, why: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            log.warning("the times of this mount are not remembered beyond its end because=%r", why)


def _as_json(node: Node) -> list[object]:
    """Return [time, children] of a folder, [time, size, version, the store's date] of a file."""
    if isinstance(node, File):
        return [node.mtime_ns, node.info.size, node.info.version, node.info.mtime_ns]
    return [node.mtime_ns, {name: _as_json(child) for name, child in node.children.items()}]


def _as_node(found: Any, path: str) -> Node:
    if len(found) == 2:  # noqa: PLR2004  a folder, see above
        mtime_ns, children = found
        below: Mapping[str, Any] = children
        prefix = f"{path}/" if path else ""
        return Directory({name: _as_node(child, prefix + name) for name, child in below.items()}, _number(mtime_ns))
    mtime_ns, size, version, date_ns = found
    if not isinstance(version, str):
        raise TypeError("a version is no text")
    return File(ObjectInfo(path, _number(size), version, _number(date_ns)), _number(mtime_ns))


def _number(found: Any) -> int:
    if type(found) is not int:
        raise TypeError(f"{found!r} is no number")
    return found
