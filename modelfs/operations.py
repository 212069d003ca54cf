"""Operations: the file system's handlers, as thin as they can be.

Law: the only module that raises FUSEError. Our exceptions become their errno, anything unexpected becomes a logged
EIO, because a handler that lets another exception out ends the pyfuse3 session and leaves the caller hanging.
Everything but ``read`` is answered from memory and never waits, so metadata never waits behind data. There are three
exceptions, all bounded: a lookup in the root outside a poll (``looks``), the open of a file that was replaced in the
store while its successor is not shown yet, and the first requests after a takeover, which wait until the numbers that
another worker has given are found again.

A file handle is the inode's number: a worker that takes over a mount needs no table of handles. pyfuse3 gives the
buffer that ``read`` returns to the kernel before anything else runs.
"""

import errno
import functools
import logging
import os
import stat
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar, cast

import pyfuse3
import trio
from pyfuse3 import FileHandleT, FileNameT, FlagT, InodeT, ModeT, RequestContext, XAttrNameT

from modelfs.announced import Announced
from modelfs.blocks import BLOCK_BYTES, ObjectInfo
from modelfs.errors import ModelfsError, ObjectNotFoundError, VersionGoneError
from modelfs.foresight import Foresight
from modelfs.inherited import Inherited
from modelfs.inodes import ROOT_INODE, Inode, Inodes
from modelfs.invalidations import Invalidations
from modelfs.journal import Journal
from modelfs.looks import Looks
from modelfs.open_files import OpenFiles
from modelfs.streamer import Streamer
from modelfs.tree import Difference, Directory, File, Node
from modelfs.view import View
from modelfs.xattrs import PREFIX, Xattrs

log = logging.getLogger(__name__)

FILE_ATTRIBUTES_TIMEOUT_S = 3600.0
"""An inode is one version, so its attributes never change; an hour only spares the questions."""

ENTRY_TIMEOUT_S = 60.0
"""A changed name is invalidated actively; this bounds how long a lost invalidation can last."""

FOLDER_TIMEOUT_S = 1.0
"""For the attributes of folders, whose times move: asking costs the store nothing."""

ROOT_ENTRY_TIMEOUT_S = 0.05
"""For the entries of the root: what the kernel does not ask for cannot be looked for in the store. A second was too
long: who asked for Triton's index and then loaded was given what there was before."""

REPLACED_LOOK_S = 5.0
"""How long an open waits to hear whether a version that was replaced can still be read."""

STATFS_BLOCK_BYTES = 4096

_XATTR_PREFIX = PREFIX.encode()


@dataclass(frozen=True, slots=True)
class Ownership:
    """Who owns everything that is shown, and with which permission bits."""

    uid: int
    gid: int
    file_mode: int = 0o444
    dir_mode: int = 0o555


Handler = TypeVar("Handler", bound=Callable[..., Awaitable[Any]])


def answers_errno(handler: Handler) -> Handler:
    """Turn what ``handler`` raises into the errno that the kernel is told."""

    @functools.wraps(handler)
    async def guarded(self: "Operations", *args: Any, **kwargs: Any) -> Any:
        try:
            return await handler(self, *args, **kwargs)
        except pyfuse3.FUSEError:
            raise
        except VersionGoneError as error:
            self.view.ask_for_refresh()
            log.warning("a version is gone operation=%s error=%s", handler.__name__, error)
            raise pyfuse3.FUSEError(error.errno) from error
        except ModelfsError as error:
            if not isinstance(error, ObjectNotFoundError):
                log.warning("an operation failed operation=%s errno=%d error=%s", handler.__name__, error.errno, error)
            raise pyfuse3.FUSEError(error.errno) from error
        except Exception as error:  # the root of a request: a bug must not end the mount
            log.exception("unexpected error in a handler operation=%s", handler.__name__)
            raise pyfuse3.FUSEError(errno.EIO) from error

    return cast("Handler", guarded)


class Operations(pyfuse3.Operations):
    """Serves ``view`` to the kernel. ``open_streamer`` makes the Streamer of a file when it is first opened.

    Without ``xattrs`` nothing has an extended attribute. Without ``looks``, which take this object's ``invalidate``,
    every name is answered from the tree alone. ``takes_over`` is the journal of the worker before this one: the kernel
    may know inodes that it was told of by that.
    """

    def __init__(
        self,
        view: View,
        *,
        ownership: Ownership,
        open_streamer: Callable[[ObjectInfo, int], Streamer],
        foresight: Foresight | None = None,
        xattrs: Xattrs | None = None,
        takes_over: Journal | None = None,
    ) -> None:
        super().__init__()
        self._foresight = foresight
        self._xattrs = xattrs
        self.looks: Looks | None = None
        self._invalidations = Invalidations()
        self.view = view
        self.inodes = Inodes()
        self.inherited = Inherited(view, self.inodes, takes_over) if takes_over is not None else None
        self._ownership = ownership
        self.files = OpenFiles(open_streamer)
        self.announced: Announced | None = None
        self._gone: set[int] = set()  # inodes of which a read has found the version gone
        self.reads = self.read_bytes = 0

    @property
    def open_files(self) -> int:
        """The number of handles that are open."""
        return self.files.handles

    # names

    @answers_errno
    async def lookup(
        self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext | None = None
    ) -> pyfuse3.EntryAttributes:
        """Answer one name from the tree. In the root it is looked for in the store first, unless a poll asks."""
        parent = await self._inode(parent_inode)
        child = _decoded(name)
        if parent.number == ROOT_INODE and self.looks is not None:
            await self.looks.before_lookup(child, _thread(ctx))
        else:
            await self._before_use(parent, ctx)
        node = self._directory(parent).children.get(child)
        if node is None and parent.number == ROOT_INODE:
            node = self._withdrawn(child, ctx)
        if node is None:
            raise ObjectNotFoundError(f"{child!r} is not in {parent.path!r}")
        inode = self.inodes.look_up(_join(parent.path, child), node)
        return self._attributes(inode.number, node, in_root=parent.number == ROOT_INODE)

    async def forget(self, inode_list: list[tuple[InodeT, int]]) -> None:  # type: ignore[override]  # a Sequence of pairs
        """Take back lookups. Nothing may be raised here."""
        for number, lookups in inode_list:
            if self.inodes.forget(number, lookups):
                self._gone.discard(number)
                if self.inherited is not None:
                    self.inherited.forget(number)

    @answers_errno
    async def getattr(self, inode: InodeT, ctx: RequestContext | None = None) -> pyfuse3.EntryAttributes:
        """Answer from the inode's own version, or for a folder from the current tree."""
        self._note_request(ctx)
        known = await self._inode(inode)
        node = known.file or self._directory(known)
        return self._attributes(known.number, node, in_root=False)

    @answers_errno
    async def access(self, inode: InodeT, mode: ModeT, ctx: RequestContext) -> bool:
        """Say yes: the kernel checks the modes itself (default_permissions)."""
        await self._inode(inode)
        return True

    # folders

    @answers_errno
    async def opendir(self, inode: InodeT, ctx: RequestContext) -> FileHandleT:
        """Open a folder; the handle is its number."""
        known = await self._inode(inode)
        if inode == ROOT_INODE and self.looks is not None:
            names = len(self._directory(known).children)
            self.looks.visits.note_reading(_thread(ctx), trio.current_time(), names=names)
        else:
            await self._before_use(known, ctx)
        self._directory(known)
        self._note_opening(known)
        return FileHandleT(inode)

    @answers_errno
    async def readdir(self, fh: FileHandleT, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """List with attributes (READDIRPLUS). Cookies hash the names, so a tree swapped in between is no harm."""
        parent = await self._inode(InodeT(fh))
        in_root = parent.number == ROOT_INODE
        if in_root and self.looks is not None:
            self.looks.visits.note_more(trio.current_time())
        for cookie, name, node in self._directory(parent).entries(start_id):
            path = _join(parent.path, name)
            attributes = self._attributes(self.inodes.number_of(path, node), node, in_root=in_root)
            # True means that the entry fitted, and that the kernel now counts a lookup of it
            if not pyfuse3.readdir_reply(token, FileNameT(name.encode()), attributes, cookie + 1):
                return
            self.inodes.look_up(path, node)

    async def releasedir(self, fh: FileHandleT) -> None:
        """Have nothing to release: the handle is a number."""

    # files

    @answers_errno
    async def open(self, inode: InodeT, flags: FlagT, ctx: RequestContext) -> pyfuse3.FileInfo:
        """Open a version for reading; ESTALE when it is no longer shown, so that the kernel looks the name up again."""
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise pyfuse3.FUSEError(errno.EROFS)
        self._note_request(ctx)
        known = await self._inode(inode)
        if known.file is None:
            raise pyfuse3.FUSEError(errno.EISDIR)
        shown = self.view.find(known.path)
        if not (isinstance(shown, File) and shown.info.version == known.version):
            raise VersionGoneError(f"{known.path!r}: this version is no longer shown")
        self._note_opening(known)
        self.files.open(inode, known.file.info)
        if self.announced is not None:
            self.announced.opened(inode)
        if known.number in self._gone or self.view.is_replaced(known.file.info):
            await self._check_readable(known.number, known.file.info)
        if self._foresight is not None:
            self._foresight.on_open(known.path, known.file.info)
        # the inode is one version, so what the page cache holds of it is always right
        return pyfuse3.FileInfo(fh=FileHandleT(inode), keep_cache=True)

    @answers_errno
    async def read(self, fh: FileHandleT, off: int, size: int) -> bytes:
        """Answer exactly these bytes of one version, cut to its size, or an errno."""
        known = await self._inode(InodeT(fh))
        if known.file is None:
            raise pyfuse3.FUSEError(errno.EISDIR)
        if off == 0 and self._foresight is not None:
            self._foresight.on_missed(known.path, known.file.info)
        try:
            answer = await self.files.streamer(known.number, known.file.info).read(off, size)
        except VersionGoneError:
            self._gone.add(known.number)
            raise
        self.reads += 1
        self.read_bytes += len(answer)
        return cast("bytes", answer)  # pyfuse3 takes any buffer; its annotation is narrower

    async def _check_readable(self, number: int, info: ObjectInfo) -> None:
        """Fail here and not in the middle of a read, which Triton would take for the end of the file.

        What is shown was replaced in the store, and its successor is not shown yet. Where the bucket keeps versions,
        or all of it is in memory, it can still be read. A store that does not answer says nothing about it.
        """
        try:
            with trio.move_on_after(REPLACED_LOOK_S) as patience:
                await self.files.streamer(number, info).check_readable()
        except BaseException:
            self.files.close(number)
            raise
        if not patience.cancelled_caught:
            self._gone.discard(number)

    @answers_errno
    async def release(self, fh: FileHandleT) -> None:
        """Close one handle; the last one lets the cache know that nobody reads on."""
        self.files.close(fh)

    # extended attributes

    @answers_errno
    async def getxattr(self, inode: InodeT, name: XAttrNameT, ctx: RequestContext) -> bytes:
        """Answer what the mount tells of a file or folder.

        Other kinds than ``user.*``, which the system and ``ls -l`` ask for by themselves, are not supported: said so
        once, ls asks for no other file's. ENOSYS would spare the kernel all questions, and answer none.
        """
        if not name.startswith(b"user."):
            raise pyfuse3.FUSEError(errno.EOPNOTSUPP)
        if self._xattrs is None or not name.startswith(_XATTR_PREFIX):
            raise pyfuse3.FUSEError(pyfuse3.ENOATTR)
        known = await self._inode(inode)
        node = known.file or self._directory(known)
        value = await self._xattrs.value(known.path, node, name.decode(errors="replace"))
        if value is None:
            raise pyfuse3.FUSEError(pyfuse3.ENOATTR)
        return value

    @answers_errno
    async def listxattr(self, inode: InodeT, ctx: RequestContext) -> Sequence[XAttrNameT]:
        """Answer the names of what ``getxattr`` tells."""
        if self._xattrs is None:
            return []
        known = await self._inode(inode)
        names = self._xattrs.names(known.path, known.file or self._directory(known))
        return [XAttrNameT(name.encode()) for name in names]

    # writes, should the kernel ever pass one on although the mount is read-only

    async def _refuse(self, *_arguments: Any) -> NoReturn:
        raise pyfuse3.FUSEError(errno.EROFS)

    setattr = mknod = mkdir = unlink = rmdir = symlink = rename = link = create = write = _refuse  # type: ignore[assignment]  # one for all signatures
    setxattr = removexattr = _refuse  # type: ignore[assignment]  # one for all signatures

    # the file system

    @answers_errno
    async def statfs(self, ctx: RequestContext) -> pyfuse3.StatvfsData:
        """Tell the size of the repository; nothing is free."""
        data = pyfuse3.StatvfsData()
        data.f_bsize = data.f_frsize = STATFS_BLOCK_BYTES
        data.f_blocks = -(-self.view.tree.total_bytes // STATFS_BLOCK_BYTES)
        data.f_bfree = data.f_bavail = 0
        data.f_files = self.view.tree.files
        data.f_ffree = data.f_favail = 0
        data.f_namemax = 255
        return data

    async def invalidate(self, differences: list[Difference]) -> None:
        """Have the kernel ask again for what differs between two trees. Never called from inside a handler.

        When this returns the kernel has forgotten it.
        """
        for path, names in differences:
            folder = self._folder_number(path)
            if folder is None:
                continue  # the kernel holds nothing of it
            if names and not path and self.looks is not None:
                await self.looks.until_nobody_waits()
            await self._invalidations.forget(folder, names)

    # inside

    async def _before_use(self, folder: Inode, ctx: RequestContext | None) -> None:
        """Have a folder below the root listed before it is looked into, where that has not happened yet."""
        self._note_request(ctx)
        if self.looks is not None and folder.path:
            await self.looks.before_use(folder.path)

    def _withdrawn(self, name: str, ctx: RequestContext | None) -> Node | None:
        """Return what was withdrawn from the root a moment ago, to a thread that may have read the name before."""
        gone = self.view.withdrawn(name)
        if gone is None or self.looks is None or not self.looks.visits.has_read_before(_thread(ctx), gone.when_s):
            return None
        return gone.node

    def _note_request(self, ctx: RequestContext | None) -> None:
        if self.looks is not None:
            self.looks.visits.note_request(_thread(ctx), trio.current_time())

    def _note_opening(self, inode: Inode) -> None:
        if self.looks is not None:
            self.looks.note_opening(inode.path)

    def _folder_number(self, path: str) -> int | None:
        """Return the number of a folder that the kernel may know; None when it does not."""
        if self.inherited is not None and path:
            return self.inodes.number_of(path, _ANY_FOLDER)
        folder = self.inodes.known(path, _ANY_FOLDER)
        return folder.number if folder is not None else None

    async def _inode(self, number: InodeT) -> Inode:
        inode = self.inodes.get(number)
        if inode is None and self.inherited is not None:
            inode = await self.inherited.find(number)
        if inode is None:
            raise pyfuse3.FUSEError(errno.ESTALE)  # the kernel then looks its path up again
        return inode

    def _directory(self, inode: Inode) -> Directory:
        if inode.file is not None:
            raise pyfuse3.FUSEError(errno.ENOTDIR)
        node = self.view.find(inode.path)
        if not isinstance(node, Directory):
            raise ObjectNotFoundError(f"{inode.path!r} is no longer a folder")
        return node

    def _attributes(self, number: int, node: Node, *, in_root: bool) -> pyfuse3.EntryAttributes:
        is_file = isinstance(node, File)
        attributes = pyfuse3.EntryAttributes()
        attributes.st_ino = InodeT(number)
        attributes.st_mode = ModeT(
            stat.S_IFREG | self._ownership.file_mode if is_file else stat.S_IFDIR | self._ownership.dir_mode
        )
        attributes.st_nlink = 1
        attributes.st_uid = self._ownership.uid
        attributes.st_gid = self._ownership.gid
        attributes.st_size = node.info.size if isinstance(node, File) else 0
        attributes.st_blksize = BLOCK_BYTES  # what cp and cat then read at a time
        attributes.st_blocks = -(-attributes.st_size // 512)
        attributes.st_mtime_ns = attributes.st_ctime_ns = attributes.st_atime_ns = node.mtime_ns
        attributes.entry_timeout = ROOT_ENTRY_TIMEOUT_S if in_root else ENTRY_TIMEOUT_S
        attributes.attr_timeout = FILE_ATTRIBUTES_TIMEOUT_S if is_file else FOLDER_TIMEOUT_S
        return attributes


_ANY_FOLDER = Directory({}, 0)  # a folder's number depends on its path alone


def _thread(ctx: RequestContext | None) -> int:
    """Return the thread that a request is of; 0 is one that has no number here."""
    return int(ctx.pid) if ctx is not None else 0


def _decoded(name: bytes) -> str:
    """Return a name as the tree spells it; bytes that are not UTF-8 match nothing there."""
    return name.decode(errors="surrogateescape")


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name
