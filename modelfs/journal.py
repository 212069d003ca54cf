"""What a worker shows, kept where it outlives the worker: for the next one, which takes the mount over.

Law: a tree is written before it is shown, and nothing is written when a name is looked up: numbers are hashes, so
whoever knows the tree finds each of them again. Of what the tree shows no more, the files stay whose number the kernel
may still know, because they are open or mapped.

Two anonymous files, which the supervisor holds, are used in turn: a whole tree, and behind it what each later tree
changed, so a change costs what changed. When the changes have outgrown the tree, a whole one is written to the other
file, whose head is written last. What follows the last SHOWN record is not believed: a SIGKILL may have cut it off, and
it was never shown. Files on disk were rejected: a container may have none that can be written, and the folder of a
mount lies in a small tmpfs. That the tree is also remembered on disk (``remembered``) is for remounts, slower, bounded
and allowed to fail.

JSON behind zlib. Of 1,000,000 objects (two cores): 45 MB, 2 s to write, 1.6 s to read, which holds other threads for
30 ms at most; of 100,000: 4.5 MB, 0.2 s and 0.15 s. A change of one file: 0.2 ms whatever the size.
"""

import gc
import json
import logging
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from modelfs import identity
from modelfs.blocks import ObjectInfo
from modelfs.tree import Difference, Directory, File, Node, Tree, last_gone

log = logging.getLogger(__name__)

_HEAD = struct.Struct("=8sQ")  # MAGIC and the generation: of two whole files the later one counts
_MAGIC = b"modelfs\x01"  # the last byte is the format's number
_RECORD = struct.Struct("=BII")  # kind, length and CRC-32 of what follows
_ENTRIES, _RETIRED, _SHOWN, _TOLD = range(1, 5)

_ENTRIES_IN_RECORD = 4096
_SLACK_BYTES = 1024 * 1024  # a small tree is not written anew for every few changes
_RETIRED_MOST = 20_000
"""So many replaced files that may still be open take 5 MB. The oldest are dropped; their reads then answer ESTALE."""

_Row = tuple[str, int, dict[str, Any]]
"""A folder, its time, and of some of its children: 0 is gone, 1 a folder, [time, size, version, the store's date]."""


class Shown(NamedTuple):
    """What the worker before this one showed.

    ``listed_at`` is the Unix time of its last listing, 0 when that is not known. ``untold`` is what it may not have
    told the kernel of. ``is_on_open``: it listed models when they were used, so that of a folder of the root that is
    empty only the name is known.
    """

    tree: Tree
    listed_at: float
    untold: list[Difference]
    is_on_open: bool = False


class Journal:
    """What is shown, in ``descriptors``, two files of the supervisor's. One thread at a time calls what blocks.

    ``is_known`` tells whether the kernel may know an inode. By default each, so that every replaced file is kept.
    """

    def __init__(self, descriptors: Sequence[int], *, is_known: Callable[[int], bool] = lambda _number: True) -> None:
        self.retired: dict[int, tuple[str, File]] = {}
        """Files that the tree shows no more, by inode number, each with its path. The last replaced stand behind."""
        self._files = list(descriptors)  # the one in use comes first
        self.is_known = is_known
        self._generation = 0
        self._stop = self._whole = 0  # where the next record goes, and what the whole tree takes
        self._is_given_up = False

    def recall(self) -> Shown | None:
        """Return what is kept; None where there is nothing that can be understood. Blocks."""
        for generation, file in sorted(((_generation(file), file) for file in self._files), reverse=True):
            if generation:
                loading = _Loading()
                was_enabled = gc.isenabled()
                gc.disable()  # it would walk over a million objects, which all stay, again and again
                try:
                    self._stop = loading.load(file)
                    shown = loading.shown()
                except (OSError, ValueError, KeyError, TypeError, zlib.error) as error:
                    log.warning("what the last worker showed cannot be understood error=%r", str(error))
                    continue
                finally:
                    gc.freeze()  # nor later, at once: that held all other threads for 0.3 s
                    if was_enabled:
                        gc.enable()
                if shown is not None:
                    self._generation, self._whole = generation, loading.whole_bytes
                    self._files.sort(key=lambda each: each != file)
                    os.ftruncate(file, self._stop)
                    self.retired = loading.retired
                    return shown
        return None

    def keep(self, before: Tree, now: Tree, changed: Iterable[Difference]) -> None:
        """Keep ``now``, which is about to be shown, and differs from ``before`` in ``changed``. Blocks."""
        if self._is_given_up or (self._stop and now.root is before.root):
            return
        try:
            if not self._stop:
                self._write_whole(now)
                return
            changes = list(changed)
            self._retire(before, now, changes)
            if self._stop > 2 * self._whole + _SLACK_BYTES:
                self._write_whole(now)
            # also behind a whole one, where they change nothing: they say what the kernel must be told
            self._write(_changed_rows(now, changes))
            self._append(_SHOWN, b"")
        except OSError as error:
            self._give_up(error)

    def told(self, listed_at: float, *, is_on_open: bool = False) -> None:
        """Keep that the kernel was told of all that is shown, which was listed at ``listed_at``. Blocks."""
        if self._stop and not self._is_given_up:
            try:
                self._append(_TOLD, json.dumps([listed_at, is_on_open]).encode())
            except OSError as error:
                self._give_up(error)

    def _retire(self, before: Tree, now: Tree, changes: Iterable[Difference]) -> None:
        for number in [number for number in self.retired if not self.is_known(number)]:
            self.retired.pop(number, None)  # it was replaced before, so nobody can have come to know it since
        for path, names in changes:
            old, new = before.find(path), now.find(path)
            if isinstance(old, Directory):
                for name in names:
                    self._retire_below(_join(path, name), old.children.get(name))
                    node = new.children.get(name) if isinstance(new, Directory) else None
                    if isinstance(node, File):
                        self.retired.pop(_number(_join(path, name), node), None)
        while len(self.retired) > _RETIRED_MOST:
            self.retired.pop(next(iter(self.retired)))

    def _retire_below(self, path: str, node: Node | None) -> None:
        for below, file in _files_below(path, node):
            self.retired[_number(below, file)] = (below, file)

    def _write_whole(self, tree: Tree) -> None:
        """Write ``tree`` and what is retired to the other file, and use that from now on."""
        old, self._files = self._files[0], self._files[::-1]
        os.ftruncate(self._files[0], 0)
        self._stop = _HEAD.size
        self._write(_gone_rows(tree))
        self._write(_whole_rows("", tree.root))
        retired = [(path, _entry(file)) for path, file in self.retired.values()]
        for start in range(0, len(retired), _ENTRIES_IN_RECORD):
            self._append(_RETIRED, _packed(retired[start : start + _ENTRIES_IN_RECORD]))
        self._append(_SHOWN, b"")
        self._generation += 1
        os.pwrite(self._files[0], _HEAD.pack(_MAGIC, self._generation), 0)
        os.ftruncate(old, 0)
        self._whole = self._stop

    def _write(self, rows: Iterable[_Row]) -> None:
        record: list[_Row] = []
        entries = 0
        for row in rows:
            record.append(row)
            entries += 1 + len(row[2])
            if entries >= _ENTRIES_IN_RECORD:
                self._append(_ENTRIES, _packed(record))
                record, entries = [], 0
        if record:
            self._append(_ENTRIES, _packed(record))

    def _append(self, kind: int, data: bytes) -> None:
        record = memoryview(_RECORD.pack(kind, len(data), zlib.crc32(data)) + data)
        while record:
            written = os.pwrite(self._files[0], record, self._stop)
            self._stop += written
            record = record[written:]

    def _give_up(self, error: OSError) -> None:
        """Keep nothing rather than what is no longer true."""
        self._is_given_up = True
        for file in self._files:
            os.ftruncate(file, 0)
        log.warning(
            "what is shown cannot be kept for the next worker, which will list before it serves error=%s",
            error.strerror,
        )


class _Loading:
    """One file, read into a tree."""

    def __init__(self) -> None:
        self.retired: dict[int, tuple[str, File]] = {}
        self.whole_bytes = 0
        self._folders: dict[str, dict[str, Any]] = {"": {}}  # a folder in one is None, and has its own here
        self._times: dict[str, int] = {"": 0}
        self._gone: dict[str, int] = {}  # the folders that were in the root, and their times
        self._untold: list[Difference] = []
        self._listed_at = 0.0
        self._is_on_open = False

    def load(self, file: int) -> int:
        """Take all that was shown, and return where that ends in ``file``."""
        position = stop = _HEAD.size
        waiting: list[tuple[int, Any]] = []
        while (record := _read_record(file, position)) is not None:
            kind, data = record
            position += _RECORD.size + len(data)
            if kind in {_ENTRIES, _RETIRED}:
                waiting.append((kind, data))
            elif kind == _SHOWN:
                self._take(waiting)
                waiting, stop = [], position
                self.whole_bytes = self.whole_bytes or position
            elif kind == _TOLD:
                self._untold, stop = [], position
                self._listed_at, self._is_on_open = json.loads(data)
        return stop

    def shown(self) -> Shown | None:
        """Return what was loaded, None when that was nothing."""
        if not self.whole_bytes:
            return None
        files = total_bytes = 0
        root = Directory({}, 0)
        # a folder's name stands behind those of the folders around it
        for path in sorted(self._folders, reverse=True):
            children = self._folders.pop(path)
            for node in children.values():
                if isinstance(node, File):
                    files += 1
                    total_bytes += node.info.size
            root = Directory(children, self._times[path])
            if path:
                around, _, name = path.rpartition("/")
                self._folders[around][name] = root
        tree = Tree(root, (), files, total_bytes, last_gone(self._gone))
        return Shown(tree, self._listed_at, self._untold, self._is_on_open)

    def _take(self, records: Iterable[tuple[int, bytes]]) -> None:
        for kind, data in records:
            for row in json.loads(zlib.decompress(data)):
                if kind == _RETIRED:
                    path, entry = row
                    file = _file(path, entry)
                    self.retired[_number(path, file)] = (path, file)
                else:
                    self._take_row(*row)

    def _take_row(self, path: str, mtime_ns: int, entries: Mapping[str, Any]) -> None:
        folder = self._folders[path]
        self._times[path] = mtime_ns
        if self.whole_bytes:
            self._untold.append(Difference(path, tuple(entries)))
        prefix = f"{path}/" if path else ""
        for name, entry in entries.items():
            below = prefix + name
            if entry == 1:
                if name not in folder or folder[name] is not None:
                    self._drop(below, folder.pop(name, None))
                    folder[name], self._folders[below] = None, {}
                    self._gone.pop(below, None)
                continue
            if name in folder:
                if not path and folder[name] is None and self._times[name]:
                    self._gone[name] = self._times[name]
                self._drop(below, folder.pop(name))
            if entry:
                file = folder[name] = _file(below, entry)
                if self.whole_bytes:
                    self.retired.pop(_number(below, file), None)

    def _drop(self, path: str, node: File | None) -> None:
        """Retire what stood at ``path``, or below it."""
        if node is not None:
            self.retired[_number(path, node)] = (path, node)
        elif path in self._folders:
            for name, child in self._folders.pop(path).items():
                self._drop(f"{path}/{name}", child)


def _generation(file: int) -> int:
    """Return the number of a file that was written whole, else 0."""
    head = os.pread(file, _HEAD.size, 0)
    if len(head) < _HEAD.size:
        return 0
    magic, generation = _HEAD.unpack(head)
    return int(generation) if magic == _MAGIC else 0


def _read_record(file: int, position: int) -> tuple[int, bytes] | None:
    """Return kind and content, None at the end and where a record was cut off."""
    head = os.pread(file, _RECORD.size, position)
    if len(head) < _RECORD.size:
        return None
    kind, length, crc = _RECORD.unpack(head)
    data = os.pread(file, length, position + _RECORD.size)
    return (kind, data) if len(data) == length and zlib.crc32(data) == crc else None


def _changed_rows(now: Tree, changes: Iterable[Difference]) -> Iterator[_Row]:
    for path, names in changes:
        folder = now.find(path)
        if isinstance(folder, Directory):
            yield from _split(path, folder, names)
            for name in names:
                child = folder.children.get(name)
                if isinstance(child, Directory):
                    yield from _whole_rows(_join(path, name), child)


def _gone_rows(tree: Tree) -> Iterator[_Row]:
    """Yield the rows by which the folders that the root had before came and went."""
    names = iter(tree.gone.items())
    while some := dict(islice(names, _ENTRIES_IN_RECORD)):
        yield "", 0, dict.fromkeys(some, 1)
        yield from ((name, mtime_ns, {}) for name, mtime_ns in some.items())
        yield "", 0, dict.fromkeys(some, 0)


def _whole_rows(path: str, folder: Directory) -> Iterator[_Row]:
    """Yield the rows of a folder and of all below it, each behind that of the folder around it."""
    waiting = [(path, folder)]
    while waiting:
        path, folder = waiting.pop()
        yield from _split(path, folder, folder.children)
        waiting += [(_join(path, name), node) for name, node in folder.children.items() if isinstance(node, Directory)]


def _split(path: str, folder: Directory, names: Iterable[str]) -> Iterator[_Row]:
    """Yield the rows of these children, and at least one, for the time of the folder."""
    left = iter(names)
    chosen = list(islice(left, _ENTRIES_IN_RECORD))
    while True:
        entries = {name: _entry(folder.children[name]) if name in folder.children else 0 for name in chosen}
        yield path, folder.mtime_ns, entries
        chosen = list(islice(left, _ENTRIES_IN_RECORD))
        if not chosen:
            return


def _entry(node: Node) -> Any:
    if isinstance(node, Directory):
        return 1
    info = node.info
    return [node.mtime_ns, info.size, info.version, info.mtime_ns]


def _file(path: str, entry: Sequence[Any]) -> File:
    mtime_ns, size, version, date_ns = entry
    return File(ObjectInfo(path, size, version, date_ns), mtime_ns)


def _files_below(path: str, node: Node | None) -> Iterator[tuple[str, File]]:
    if isinstance(node, File):
        yield path, node
    elif node is not None:
        for name, child in node.children.items():
            yield from _files_below(f"{path}/{name}", child)


def _packed(value: object) -> bytes:
    return zlib.compress(json.dumps(value, separators=(",", ":")).encode(), 1)


def _number(path: str, file: File) -> int:
    return identity.number_of(path, file.info.version)


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name
