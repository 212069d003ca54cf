"""What a mount showed last, kept on disk, so that its times go on after a restart.

Law: a time that was shown is never taken back, so a tree is kept before it is shown. The whole tree is kept, names,
versions and times: then a remount is but one more refresh, and what was replaced or deleted meanwhile is told by the
same rules (``tree``). Keeping only the times that differ from the store's would lose a file that was replaced by an
older one between two mounts.

The file is a journal: a line that says whose it is, and then, for each tree that was kept, lines that say what became
different, and one that says that this is all. So a change costs what changed, in a repository of a million files too; a
line holds a thousand names, which are written and read in a millisecond or two. What a crash left behind the last whole
tree does not count. When what was appended outgrows the rest the file is written anew, whole: beside, synced, renamed.

Whatever is wrong with the file or its folder costs one warning and the memory, never the mount. It is one for each
repository and mount point, so that two mounts of a machine never write over each other. Those of two containers that
share the folder may: whoever finds that another one has written writes the file anew, so it always says what one of
them showed.
"""

import hashlib
import json
import logging
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

from modelfs.blocks import ObjectInfo
from modelfs.tree import EMPTY, Directory, File, Node, Tree, counted

log = logging.getLogger(__name__)

FORMAT = 2
NOBODY = "-" * 32
"""Whom the store let in, where that is not known. As long as any other, so that one takes the place of another."""

LINE_NAMES = 1000
BYTES_MAX = 1024 * 1024 * 1024  # of the file: a million files take some 130 MB
APPENDED_LEAST = 1024 * 1024  # bytes, before it is written anew
MOUNTS_MAX = 256  # the memories of the mounts that were not seen for longest are dropped

_END = b"[]\n"  # of what one tree had to say
_LEAST_TOO_LARGE = 2**63 * 10**9
_FOLDER = 0  # what stands for a folder beside its name; what is in it is said by itself


class Memory:
    """The file of one mount in ``folder``. ``repository`` is a URL without secrets. One call at a time; all block."""

    def __init__(self, folder: str, *, repository: str, mountpoint: str) -> None:
        self._folder = Path(folder)
        self._mount = {"format": FORMAT, "repository": repository, "mountpoint": mountpoint}
        name = hashlib.blake2b(f"{repository}\n{mountpoint}".encode(errors="surrogatepass"), digest_size=16).hexdigest()
        self._path = self._folder / f"{name}.json"
        self.who = NOBODY
        """Whom the store let in to see the trees that are kept from now on. Said in the file with the next one."""
        self._kept: Directory | None = None  # what the file says now
        self._kept_who = NOBODY
        self._whole_bytes = self._bytes = 0  # of the file: when it was written anew, and now
        self._seen = _Seen(0, 0, 0)  # of the file, when it was read or written last
        self._warned: set[str] = set()

    def recall(self, *, who: str | None = None) -> Tree:
        """Return the tree that was kept last, or EMPTY; also when it was somebody else than ``who`` who was let in."""
        try:
            with os.fdopen(self._opened(), "rb") as file:
                tree = self._read(file)
        except (FileNotFoundError, NotADirectoryError):
            return EMPTY
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            self._warn(
                "the times that were shown here before are not known, and the store's count",
                f"{self._path} cannot be used ({error or type(error).__name__}) and is written anew",
            )
            return EMPTY
        self._kept = tree.root
        return tree if who in {None, self._kept_who} else EMPTY

    def kept_at_s(self) -> float:
        """Return the Unix time at which what is kept was changed last; 0 where there is none."""
        with suppress(OSError):
            return self._path.stat().st_mtime
        return 0.0

    def keep(self, tree: Tree) -> None:
        """Keep ``tree``, unless it is the one that is kept."""
        if tree.root is self._kept and self.who == self._kept_who:
            return
        try:
            has_room = self._bytes - self._whole_bytes <= max(self._whole_bytes, APPENDED_LEAST)
            if self._kept is None or not has_room or not self._append(self._kept, tree.root):
                self._write(tree)
        except OSError as error:
            self._kept = None  # nobody knows what the file says now
            self._warn(
                "the times of this mount are not remembered beyond its end",
                f"{self._folder} cannot be written ({error.strerror}); choose another --state-dir",
            )
            return
        self._kept = tree.root

    # reading

    def _opened(self) -> int:
        descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            os.close(descriptor)
            raise ValueError("others can write it")
        if found.st_size > BYTES_MAX:
            os.close(descriptor)
            raise ValueError("it is too large")
        self._seen = _Seen.of(found)
        return descriptor

    def _read(self, file: IO[bytes]) -> Tree:
        head = json.loads(file.readline())
        who = head.pop("who", None)
        if head != self._mount or not isinstance(who, str) or len(who) != len(NOBODY):
            raise ValueError("it is of another mount or another release")
        self._kept_who = who
        whole_bytes = position = file.tell()
        for line in file:
            position += len(line)
            if line == _END:
                whole_bytes = position
        file.seek(0)
        file.readline()
        root = _Folder()
        position = file.tell()
        while position < whole_bytes:
            line = file.readline()
            position += len(line)
            if line != _END:
                root.apply(json.loads(line))
        if not root.is_told:
            raise ValueError("it holds no tree")
        self._whole_bytes = self._bytes = whole_bytes
        return counted(root.frozen(""), root.gone)

    # writing

    def _append(self, before: Directory, after: Directory) -> bool:
        """Say at the end of the file what is different. What a crash left there is written over.

        Before that it says whose it is, so that nobody is ever said to have been let in to what another was shown.
        Returns False, and writes nothing, where somebody else has written the file, or removed it.
        """
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return False
        with os.fdopen(descriptor, "wb") as file:
            if _Seen.of(os.fstat(descriptor)) != self._seen:
                return False
            os.ftruncate(descriptor, self._bytes)
            if self.who != self._kept_who:
                os.pwrite(descriptor, self._head(), 0)
                os.fsync(descriptor)
                self._kept_who = self.who
            if after is not before:
                file.seek(self._bytes)
                self._say(file, _differences(before, after))
                self._bytes = file.tell()
            self._seen = _Seen.of(os.fstat(descriptor))
        return True

    def _write(self, tree: Tree) -> None:
        """Write the file anew."""
        if self._kept is None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._drop_oldest()
        beside = self._path.with_suffix(".new")
        with suppress(FileNotFoundError):
            beside.unlink()  # a crash left it
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(self._head())
            self._say(file, chain(_gone(tree), _differences(None, tree.root)))
            self._whole_bytes = self._bytes = file.tell()
            self._kept_who = self.who
            self._seen = _Seen.of(os.fstat(descriptor))
        beside.replace(self._path)
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _head(self) -> bytes:
        return _line({**self._mount, "who": self.who})

    def _say(self, file: IO[bytes], records: Iterator[list[object]]) -> None:
        for record in records:
            file.write(_line(record))
        file.write(_END)
        file.flush()
        os.fsync(file.fileno())

    def _drop_oldest(self) -> None:
        kept = sorted(self._folder.glob("*.json"), key=lambda path: path.lstat().st_mtime_ns, reverse=True)
        for path in kept[MOUNTS_MAX:]:
            path.unlink(missing_ok=True)

    def _warn(self, what: str, why: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            log.warning("%s because=%r", what, why)


class _Seen(NamedTuple):
    """By what a file is known that nobody else has written."""

    device: int
    inode: int
    bytes: int

    @classmethod
    def of(cls, found: os.stat_result) -> Self:
        return cls(found.st_dev, found.st_ino, found.st_size)


def _line(what: object) -> bytes:
    return json.dumps(what, separators=(",", ":")).encode() + b"\n"


def _differences(before: Directory | None, after: Directory) -> Iterator[list[object]]:
    """Yield what makes one tree of another, parents first: [path, time, names that are new or otherwise, names gone].

    A name is told with [time, size, version, the store's date] for a file. A folder's time is told with each of its
    lines.
    """
    waiting: list[tuple[str, Directory | None, Directory]] = [("", before, after)]
    while waiting:
        path, old, new = waiting.pop()
        known: Mapping[str, Node] = old.children if old is not None else {}
        gone = (name for name in known if name not in new.children)
        while some := list(islice(gone, LINE_NAMES)):
            yield [path, new.mtime_ns, {}, some]
        told: dict[str, object] = {}
        is_told = False
        for name, node in new.children.items():
            one = known.get(name)
            if one is node:
                continue
            if isinstance(node, Directory):
                same = one if isinstance(one, Directory) else None
                waiting.append((f"{path}/{name}" if path else name, same, node))
                if same is not None:
                    continue
            told[name] = _FOLDER if isinstance(node, Directory) else _said(node)
            if len(told) == LINE_NAMES:
                yield [path, new.mtime_ns, told, []]
                told, is_told = {}, True
        if told or not is_told:
            yield [path, new.mtime_ns, told, []]


def _gone(tree: Tree) -> Iterator[list[object]]:
    """Yield that the folders which the root had before came and went: so their times are known to who reads it."""
    names = iter(tree.gone.items())
    while some := dict(islice(names, LINE_NAMES)):
        yield ["", 0, dict.fromkeys(some, _FOLDER), []]
        for name, mtime_ns in some.items():
            yield [name, mtime_ns, {}, []]
        yield ["", 0, {}, list(some)]


def _said(file: File) -> list[object]:
    return [file.mtime_ns, file.info.size, file.info.version, file.info.mtime_ns]


class _Folder:
    """A folder while the file is read."""

    def __init__(self) -> None:
        self.children: dict[str, _Folder | list[Any]] = {}
        self.mtime_ns = 0
        self.is_told = False
        self.gone: dict[str, int] = {}  # the folders that were in it, and their times

    def apply(self, record: Any) -> None:
        """Take a line. ``self`` is the root."""
        path, mtime_ns, told, gone = record
        folder = self
        for name in path.split("/") if path else ():
            child = folder.children[name]
            if not isinstance(child, _Folder):
                raise TypeError(f"{path!r} is no folder")
            folder = child
        folder.mtime_ns, folder.is_told = _number(mtime_ns), True
        for name in gone:
            folder.take_out(name)
        for name, what in told.items():
            if name in folder.children:
                folder.take_out(name)
            folder.children[name] = _Folder() if what == _FOLDER else what
            if what == _FOLDER:
                folder.gone.pop(name, None)

    def take_out(self, name: str) -> None:
        """Take what stands under a name away, and note the time of a folder."""
        child = self.children.pop(name)
        if isinstance(child, _Folder) and child.mtime_ns:
            self.gone[name] = child.mtime_ns

    def frozen(self, path: str) -> Directory:
        """Return the folder as one of a tree."""
        prefix = f"{path}/" if path else ""
        children: dict[str, Node] = {}
        for name, child in self.children.items():
            below = prefix + name
            children[name] = child.frozen(below) if isinstance(child, _Folder) else _file(below, child)
        return Directory.of(children, self.mtime_ns)


def _file(path: str, said: Any) -> File:
    mtime_ns, size, version, date_ns = said
    if not isinstance(version, str):
        raise TypeError("a version is no text")
    if _number(size) < 0:
        raise ValueError("a size is below 0")
    return File(ObjectInfo(path, size, version, _number(date_ns)), _number(mtime_ns))


def _number(found: Any) -> int:
    """Return a number that can be a size, or a time in nanoseconds, which has 64 bits of seconds."""
    if type(found) is not int or not -_LEAST_TOO_LARGE < found < _LEAST_TOO_LARGE:
        raise TypeError("a number is none")
    return found
