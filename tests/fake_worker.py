"""A worker of one file, for tests of the supervisor: it speaks the real protocol, and misbehaves on demand.

``plan["url"]`` chooses: "fake:ok", or one of the words in the code below. The file /hello holds one line; looking up
/crash kills the process, and /once the first one of a mount. /pushed holds the same; its first reader has the first
worker push what is to be read, which waits for that very read, and then kill itself. Looking up /leave ends the first
thread of the first worker alone: the others live until there is a file "end" beside the mount's other files.
"""

import argparse
import ctypes
import errno
import json
import os
import signal
import socket
import stat
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pyfuse3
import trio

_HELLO_INODE = pyfuse3.InodeT(2)
_PUSHED_INODE = pyfuse3.InodeT(3)
_CONTENT = b"hello\n"
_SYS_EXIT = {"x86_64": 60, "aarch64": 93}  # asm/unistd.h: ends the thread that calls it, and no other


class Hello(pyfuse3.Operations):
    """A root with one file. ``life`` counts the workers of a mount, from 1 on."""

    def __init__(self, life: int, folder: Path) -> None:
        super().__init__()
        self._life = life
        self._folder = folder

    async def getattr(self, inode: pyfuse3.InodeT, ctx: object = None) -> pyfuse3.EntryAttributes:  # noqa: ARG002  pyfuse3's signature
        attributes = pyfuse3.EntryAttributes()
        attributes.st_ino = inode
        is_root = inode == pyfuse3.ROOT_INODE
        attributes.st_mode = pyfuse3.ModeT(stat.S_IFDIR | 0o555 if is_root else stat.S_IFREG | 0o444)
        attributes.st_size = 0 if is_root else len(_CONTENT)
        attributes.st_uid, attributes.st_gid = os.getuid(), os.getgid()
        return attributes

    async def lookup(self, parent_inode: pyfuse3.InodeT, name: bytes, ctx: object) -> pyfuse3.EntryAttributes:  # noqa: ARG002  pyfuse3's signature
        if name == b"crash" or (name == b"once" and self._life == 1):
            sys.stderr.write("crashing as asked\n")
            os.kill(os.getpid(), signal.SIGKILL)
        if name == b"leave" and self._life == 1:
            leave_threads(self._folder / "end")
        if name not in {b"hello", b"once", b"pushed", b"leave"}:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return await self.getattr(_PUSHED_INODE if name == b"pushed" else _HELLO_INODE)

    async def statfs(self, ctx: object) -> pyfuse3.StatvfsData:  # noqa: ARG002  pyfuse3's signature
        return pyfuse3.StatvfsData()

    async def opendir(self, inode: pyfuse3.InodeT, ctx: object) -> pyfuse3.FileHandleT:  # noqa: ARG002  pyfuse3's signature
        return pyfuse3.FileHandleT(inode)

    async def readdir(self, fh: pyfuse3.FileHandleT, start_id: int, token: pyfuse3.ReaddirToken) -> None:  # noqa: ARG002  pyfuse3's signature
        if start_id == 0:
            pyfuse3.readdir_reply(token, pyfuse3.FileNameT(b"hello"), await self.getattr(_HELLO_INODE), 1)

    async def open(self, inode: pyfuse3.InodeT, flags: int, ctx: object) -> pyfuse3.FileInfo:  # noqa: ARG002  pyfuse3's signature
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(inode))

    async def read(self, fh: pyfuse3.FileHandleT, off: int, size: int) -> bytes:
        if fh == _PUSHED_INODE and self._life == 1:
            push_and_die()
        return _CONTENT[off : off + size]


def leave_threads(end: Path) -> None:
    """End the thread that reads requests, and the others when ``end`` is there."""

    def wait() -> None:
        while end.parent.exists() and not end.exists():
            time.sleep(0.01)
        os._exit(0)

    threading.Thread(target=wait).start()
    ctypes.CDLL(None).syscall(_SYS_EXIT[os.uname().machine], 0)


def push_and_die() -> None:
    """Leave a thread behind that waits in the kernel for the page that we were to answer."""
    pusher = threading.Thread(target=pyfuse3.notify_store, args=(_PUSHED_INODE, 0, _CONTENT))
    pusher.start()
    state = Path(f"/proc/self/task/{pusher.native_id}/stat")
    while state.read_text().rpartition(")")[2].split()[0] != "D":
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)


class Reports:
    """Our end of the pair that leads to the supervisor."""

    def __init__(self, descriptor: int) -> None:
        self.socket = socket.socket(fileno=descriptor)

    def send(self, **message: Any) -> None:
        self.socket.send(json.dumps(message).encode())

    def receive(self) -> tuple[str, list[int]]:
        data, descriptors, _, _ = socket.recv_fds(self.socket, 65536, 1)
        return (json.loads(data)["event"] if data else "stop"), descriptors


def misbehave_before_listing(what: str, life: int, reports: Reports) -> None:
    if (what == "second-dies" and life == 2) or (what == "only-one" and life > 1):
        sys.exit(7)
    if what == "second-is-silent" and life == 2:
        signal.pause()
    if what == "fail":
        reports.send(event="failed", message="the bucket is missing. Create it.", exit_status=2)
        sys.exit(0)
    if what == "die":
        sys.stderr.write("dying as asked\n")
        sys.exit(7)
    if what == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "silent":
        signal.pause()
    if what == "slow-listing":
        for _ in range(5):
            time.sleep(1)
            reports.send(event="listing", objects=1)


def count_life(counted: Path) -> int:
    with counted.open("ab") as file:
        file.write(b".")
    return counted.stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("--plan-fd", "--report-fd", "--init-fd"):
        parser.add_argument(name, type=int, required=True)
    options = parser.parse_args()
    with os.fdopen(options.plan_fd) as file:
        plan = json.load(file)
    what = plan["url"].partition(":")[2]
    folder = Path(plan["runtime_folder"])
    life = count_life(folder / "lives")
    reports = Reports(options.report_fd)
    misbehave_before_listing(what, life, reports)
    reports.send(event="listed", objects=1)
    event, descriptors = reports.receive()
    if event != "mounted":
        return
    if what == "die-mounted":
        sys.exit(7)
    if what == "no-answer":
        signal.pause()
    pyfuse3.init(Hello(life, folder), f"/dev/fd/{options.init_fd}", {"fsname=fake"})
    trio.run(serve, reports, options.init_fd, descriptors[0], what == "stubborn")
    pyfuse3.close(unmount=False)


async def serve(reports: Reports, init_fd: int, fuse_fd: int, is_stubborn: bool) -> None:  # noqa: FBT001  one caller
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen, reports, init_fd, fuse_fd, nursery.cancel_scope)
        await pyfuse3.main(min_tasks=2)  # the hand-over ends the task that waits on the old descriptor
        if is_stubborn:
            signal.pause()
        nursery.cancel_scope.cancel()


async def listen(reports: Reports, init_fd: int, fuse_fd: int, scope: trio.CancelScope) -> None:
    while True:
        event, _ = await trio.to_thread.run_sync(reports.receive, abandon_on_cancel=True)
        if event == "go":
            os.dup2(fuse_fd, init_fd, inheritable=False)
            os.close(fuse_fd)
            trio.lowlevel.notify_closing(init_fd)
            reports.send(event="serving")
        elif event == "stop":
            scope.cancel()
            return


if __name__ == "__main__":
    main()
