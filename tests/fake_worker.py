"""A worker of one file, for tests of the supervisor: it speaks the real protocol, and misbehaves on demand.

``plan["url"]`` chooses: "fake:ok", or one of the words in the code below. The file /hello holds one line; looking up
/crash kills the process.
"""

import argparse
import errno
import json
import os
import signal
import socket
import stat
import sys
import time
from typing import Any

import pyfuse3
import trio

_HELLO_INODE = pyfuse3.InodeT(2)
_CONTENT = b"hello\n"


class Hello(pyfuse3.Operations):
    """A root with one file."""

    async def getattr(self, inode: pyfuse3.InodeT, ctx: object = None) -> pyfuse3.EntryAttributes:  # noqa: ARG002  pyfuse3's signature
        attributes = pyfuse3.EntryAttributes()
        attributes.st_ino = inode
        is_root = inode == pyfuse3.ROOT_INODE
        attributes.st_mode = pyfuse3.ModeT(stat.S_IFDIR | 0o555 if is_root else stat.S_IFREG | 0o444)
        attributes.st_size = 0 if is_root else len(_CONTENT)
        attributes.st_uid, attributes.st_gid = os.getuid(), os.getgid()
        return attributes

    async def lookup(self, parent_inode: pyfuse3.InodeT, name: bytes, ctx: object) -> pyfuse3.EntryAttributes:  # noqa: ARG002  pyfuse3's signature
        if name == b"crash":
            sys.stderr.write("crashing as asked\n")
            os.kill(os.getpid(), signal.SIGKILL)
        if name != b"hello":
            raise pyfuse3.FUSEError(errno.ENOENT)
        return await self.getattr(_HELLO_INODE)

    async def opendir(self, inode: pyfuse3.InodeT, ctx: object) -> pyfuse3.FileHandleT:  # noqa: ARG002  pyfuse3's signature
        return pyfuse3.FileHandleT(inode)

    async def readdir(self, fh: pyfuse3.FileHandleT, start_id: int, token: pyfuse3.ReaddirToken) -> None:  # noqa: ARG002  pyfuse3's signature
        if start_id == 0:
            pyfuse3.readdir_reply(token, pyfuse3.FileNameT(b"hello"), await self.getattr(_HELLO_INODE), 1)

    async def open(self, inode: pyfuse3.InodeT, flags: int, ctx: object) -> pyfuse3.FileInfo:  # noqa: ARG002  pyfuse3's signature
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(inode))

    async def read(self, fh: pyfuse3.FileHandleT, off: int, size: int) -> bytes:  # noqa: ARG002  pyfuse3's signature
        return _CONTENT[off : off + size]


class Reports:
    """Our end of the pair that leads to the supervisor."""

    def __init__(self, descriptor: int) -> None:
        self.socket = socket.socket(fileno=descriptor)

    def send(self, **message: Any) -> None:
        self.socket.send(json.dumps(message).encode())

    def receive(self) -> tuple[str, list[int]]:
        data, descriptors, _, _ = socket.recv_fds(self.socket, 65536, 1)
        return (json.loads(data)["event"] if data else "stop"), descriptors


def misbehave_before_listing(what: str, reports: Reports) -> None:
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


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("--plan-fd", "--report-fd", "--init-fd"):
        parser.add_argument(name, type=int, required=True)
    options = parser.parse_args()
    with os.fdopen(options.plan_fd) as file:
        what = json.load(file)["url"].partition(":")[2]
    reports = Reports(options.report_fd)
    misbehave_before_listing(what, reports)
    reports.send(event="listed", objects=1)
    event, descriptors = reports.receive()
    if event != "mounted":
        return
    if what == "die-mounted":
        sys.exit(7)
    if what == "no-answer":
        signal.pause()
    pyfuse3.init(Hello(), f"/dev/fd/{options.init_fd}", {"fsname=fake"})
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
