"""The engine for a folder of this machine: our own walk, and pread.

Law: a page is what is there, or an error: a folder that cannot be read is never shown as an empty one. A version is a
file's inode number, modification time and size, compared before and after each read.

Not obstore's LocalStore, which lists no empty folders (Triton's ensembles have empty version folders) and fails as a
whole on names that are no object keys. Symbolic links are followed, as Triton does, also out of the folder: Kubernetes
mounts are made of them. Left out, with a warning: names that are no UTF-8, links that lead nowhere or back to a folder
above them, and what is neither file nor folder. An empty folder is a marker, a key with "/" at its end.

What vanishes during a walk is gone, as it would be in a listing begun later, and is left out; only the root's own
disappearance is an error, since everything below would seem gone with it. A file that is rewritten in place, at the
same size, within one tick of the file system's clock (4 ms; finer from Linux 6.13) after it was listed or read keeps
its version, and so does one whose time is set back by hand: put new versions there by rename, as any upload does.

The page cache of the kernel holds local files already, and a read from a dead network mount blocks until that returns:
no time-out can end it.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress

from modelfs.blocks import ObjectInfo
from modelfs.errors import (
    AccessRefusedError,
    ModelfsError,
    ObjectNotFoundError,
    StoreRefusedError,
    StoreUnavailableError,
    VersionGoneError,
)
from modelfs.store import Omissions, Page

_PAGE_ENTRIES = 1000
"""As many as S3 gives. A folder is not split, so that a page may be longer."""

_GONE = {errno.ENOENT, errno.ENOTDIR}
_NOWHERE = {*_GONE, errno.ELOOP, errno.ENAMETOOLONG}


class LocalStore:
    """The files below one folder, behind the Store protocol. Thread-safe."""

    def __init__(self, root: str) -> None:
        """Take the absolute path of the folder, and look at nothing yet."""
        self._root = root
        self._omissions = Omissions()

    def list_page(self, token: str | None, folder: str = "") -> Page:
        """Walk on until there are enough entries; see ``Store.list_page``.

        The token is the root's identity and the folders still to be walked, with NUL between, which no name can hold.
        """
        root = self._identity()
        began, *pending = token.split("\0") if token is not None else (root, *self._begin(folder))
        objects: list[ObjectInfo] = []
        while pending and len(objects) < _PAGE_ENTRIES:
            folders: list[str] = []
            objects += self._folder(pending.pop(), folders)
            pending += folders
        if not root == began == self._identity():
            raise StoreRefusedError(f"{self._root}: the folder was replaced while it was listed; list it again")
        return Page(objects, "\0".join([began, *pending]) if pending else None)

    def list_level_page(self, token: str | None, folder: str = "") -> Page:
        """Return all of a folder; see ``Levelled``."""
        del token  # there is one page
        folders: list[str] = []
        objects = [info for each in self._begin(folder) for info in self._folder(each, folders)]
        return Page(objects, None, tuple(folders))

    def read(self, info: ObjectInfo, offset: int, length: int) -> memoryview:
        """Return exactly ``[offset, offset + length)`` of this version; see ``Store.read``."""
        path = os.path.join(self._root, info.key)  # noqa: PTH118  a Path would normalise the key
        try:
            # NONBLOCK: should a fifo be there now, opening it must not wait for its writer
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError as error:
            if error.errno in {*_NOWHERE, errno.ENXIO}:
                raise VersionGoneError(f"cannot read {path!r}: it was deleted") from error
            raise _translated(error, path) from error
        try:
            self._check(fd, info, path)
            data = _pread(fd, length, offset)
            self._check(fd, info, path)
        except OSError as error:
            raise _translated(error, path) from error
        finally:
            os.close(fd)
        if len(data) != length:
            raise VersionGoneError(f"cannot read {path!r}: it was cut while it was read")
        return memoryview(data)

    def write_small(self, key: str, data: bytes) -> None:
        """Write one file beside its place and rename it; see ``Writable``. Its folder must be there."""
        path = os.path.join(self._root, key)  # noqa: PTH118  as in ``read``
        folder, _, name = path.rpartition("/")
        temporary = f"{folder}/.{name.lstrip('.')}.{os.urandom(6).hex()}"  # hidden by rule, should it be left
        try:
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)  # less the umask
            try:
                with os.fdopen(fd, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(fd)
                os.rename(temporary, path)  # noqa: PTH104  os, as everywhere here
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary)  # noqa: PTH108  os, as everywhere here
                raise
        except OSError as error:
            what = f"cannot write {path!r}: {error.strerror}"
            if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
                advice = (
                    "write where the folder comes from" if error.errno == errno.EROFS else "let this user write there"
                )
                raise AccessRefusedError(f"{what}; {advice}") from error
            kind = ObjectNotFoundError if error.errno in _GONE else StoreUnavailableError
            raise kind(what) from error

    def _check(self, fd: int, info: ObjectInfo, path: str) -> None:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or _version(found) != info.version:
            raise VersionGoneError(f"cannot read {path!r}: it was replaced")

    def _identity(self) -> str:
        try:
            found = os.stat(self._root)  # noqa: PTH116  as everywhere here
        except OSError as error:
            raise _translated(error, self._root) from error
        if not stat.S_ISDIR(found.st_mode):
            raise ObjectNotFoundError(f"{self._root}: this is no folder; name the folder that holds the models")
        return f"{found.st_dev}:{found.st_ino}"

    def _begin(self, folder: str) -> list[str]:
        """Return the folder to begin with, unless a walk from the root would not come there."""
        names = folder.split("/")
        for depth in range(1, len(names)):
            path = self._path("/".join(names[:depth]))
            above = "".join(f"{name}/" for name in names[: depth - 1])
            try:
                if os.path.islink(path) and self._is_above(os.stat(path), above):  # noqa: PTH114, PTH116  os, as everywhere here
                    return []
            except OSError as error:
                if error.errno not in _NOWHERE:
                    raise _translated(error, path) from error
                return []
        return [folder]

    def _folder(self, folder: str, folders: list[str]) -> Iterator[ObjectInfo]:
        """Yield a folder's files, or its marker when it is empty, and add its folders to ``folders``.

        ``folder`` is relative, with "/" at its end, and empty for the root.
        """
        path = self._path(folder)
        try:
            with os.scandir(path) as entries:
                empty = True
                for entry in entries:
                    found = self._look(folder, entry)
                    if found is None:
                        continue
                    empty = False
                    if stat.S_ISDIR(found.st_mode):
                        folders.append(f"{folder}{entry.name}/")
                    else:
                        yield ObjectInfo(folder + entry.name, found.st_size, _version(found), found.st_mtime_ns)
            if empty and folder:
                found = os.stat(path)  # noqa: PTH116  os, as everywhere here
                yield ObjectInfo(folder, 0, _version(found), found.st_mtime_ns)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                self._omissions.tell(folder, "its path is too long")
            elif not folder or error.errno not in _GONE:
                raise _translated(error, path) from error

    def _look(self, folder: str, entry: os.DirEntry[str]) -> os.stat_result | None:
        """Return what an entry is, its links followed, or None where there is nothing to show."""
        key = folder + entry.name
        if not _is_utf8(entry.name):
            self._omissions.tell(key, "its name is not valid UTF-8")
            return None
        try:
            found = entry.stat()
        except OSError as error:
            if error.errno not in _NOWHERE:
                raise
            if entry.is_symlink():
                self._omissions.tell(key, "the link leads nowhere")
            elif error.errno not in _GONE:
                self._omissions.tell(key, "its path is too long")
            return None
        if stat.S_ISDIR(found.st_mode):
            if entry.is_symlink() and self._is_above(found, folder):
                self._omissions.tell(key, "the link leads back to a folder above it")
                return None
        elif not stat.S_ISREG(found.st_mode):
            self._omissions.tell(key, "it is neither a file nor a folder")
            return None
        return found

    def _is_above(self, found: os.stat_result, folder: str) -> bool:
        """Tell whether a link's target is one of the folders on the way to it. Without a link there is no loop."""
        parts = folder.split("/")
        above = (self._path("/".join(parts[:count])) for count in range(len(parts)))
        return any(os.path.samestat(found, os.stat(path)) for path in above)  # noqa: PTH116  os, as everywhere here

    def _path(self, folder: str) -> str:
        return os.path.join(self._root, folder)  # noqa: PTH118  os, as everywhere here


def _version(found: os.stat_result) -> str:
    return f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _pread(fd: int, length: int, offset: int) -> bytes:
    """Read until all is there or the file ends. One call gives it all, as a rule, and then nothing is copied."""
    data = os.pread(fd, length, offset)
    while 0 < len(data) < length:
        more = os.pread(fd, length - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data


def _translated(error: OSError, path: str) -> ModelfsError:
    what = f"cannot read {path!r}: {error.strerror}"
    if error.errno in _GONE:
        return ObjectNotFoundError(f"{what}; check the path")
    if error.errno in {errno.EACCES, errno.EPERM}:
        return AccessRefusedError(f"{what}; let the user that modelfs runs as read it")
    return StoreUnavailableError(what)
