"""The serving process: puts the parts together for one mount and serves it until it is unmounted or told to stop.

    python -P -m modelfs.worker --plan-fd N --report-fd M --init-fd K

Law: a worker mounts nothing and unmounts nothing while its supervisor lives. It lists the repository first, so that
what is wrong with the store is known before anything is mounted; then it is given the FUSE descriptor. Everything it
needs to know comes through the plan's descriptor, never as an argument that every user of the machine can read.

The hand-over (tried on kernel 6.18 with pyfuse3 3.5): libfuse is told to use our end of a socket pair as its device,
reads the kernel's INIT from it and answers into it; the supervisor forwards the answer to the kernel; then the real
descriptor takes the socket's number. A later worker is given the same mount in the same way; it serves what the one
before it showed, before it asks the store.
"""

import argparse
import ctypes
import json
import logging
import math
import os
import resource
import select
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

import pyfuse3
import trio
from pyfuse3 import InodeT

from modelfs import collector, control, kernel, location, logs, mounting, runtime, unmounting
from modelfs.announced import Announced
from modelfs.buffers import Buffers
from modelfs.config import Config
from modelfs.disk import DiskTier
from modelfs.disk_opening import close_tier, open_tier
from modelfs.errors import ModelfsError, StoreUnavailableError, UsageError
from modelfs.journal import Journal
from modelfs.journal import Shown as Inheritance
from modelfs.listings import Listings
from modelfs.looks import Looks
from modelfs.memory_limit import memory_limit_bytes, part_of_memory
from modelfs.offline import OfflineStore
from modelfs.opening import open_at_once, open_configured
from modelfs.operations import Operations, Ownership
from modelfs.priority import Priority
from modelfs.reading import Reading
from modelfs.remembered import Memory
from modelfs.reports import Reports
from modelfs.sharing import Sharing
from modelfs.store import Levelled, RetryPolicy, Shareable, Store
from modelfs.tree import EMPTY, Difference, File
from modelfs.view import View
from modelfs.xattrs import Xattrs

log = logging.getLogger(__name__)

FUSE_TASKS_MAX = 10_000
"""pyfuse3 starts 99 by default, and with 99 reads waiting a stat hangs (seen). A task costs some KiB."""

FUSE_TASKS_IDLE = 8
"""More than one, because the hand-over of the descriptor ends the task that waits on the old one."""

STILL_HERE_S = 1.0  # how often the supervisor hears that a mount waits for something to settle

UNMOUNTING_S = 5.0

NOT_REMEMBERED = (
    "there is nothing that --offline could show: with these keys, nothing was mounted here before that had a cache on a"
    " disk. Mount it without --offline."
)

_PR_SET_DUMPABLE = 4  # linux/prctl.h

CONNECTION_LOOK_S = 1.0  # how soon the worker ends after its mount; a look is one system call


class Worker:
    """One mount's parts. ``report`` is our end of the pair to the supervisor."""

    def __init__(self, plan: Mapping[str, Any], *, report: trio.socket.SocketType, init_fd: int) -> None:
        self._plan = plan
        self._config = Config.model_validate(plan["config"])
        self._report = report
        self._init_fd = init_fd
        self._buffers = Buffers()
        self._priority = Priority()
        self._fastest_page_s = math.inf  # of the first listing
        self._location: location.Location
        self._store: Store
        self._listings: Listings
        descriptors = plan.get("journal_fds")
        self._journal = Journal(descriptors) if descriptors else None
        self._takes_over = self._journal is not None and bool(plan.get("takes_over"))
        self._memory: Memory
        self._view: View
        self._operations: Operations
        self._reading: Reading
        self._disk: DiskTier | None = None
        self._looks: Looks

    async def run(self) -> int:
        """Serve, and return the exit status."""
        try:
            self._location = location.parse(self._plan["url"])
            if not await self._take_over():
                await self._list_first()
            await self._tell(event="listed", objects=self._view.tree.files)
        except ModelfsError as error:
            await self._tell(event="failed", message=str(error), exit_status=2)
            return 2
        async with trio.open_nursery() as nursery:
            self._assemble(nursery)
            if self._disk is None and self._takes_over:
                nursery.start_soon(self._open_disk_later)
            fuse_fd = await self._hear_mounted()
            if fuse_fd is not None:
                await self._serve(fuse_fd, nursery)
            await close_tier(self._disk)
            nursery.cancel_scope.cancel()
        await self._listings.leave()
        return 0

    async def _take_over(self) -> bool:
        """Show what the worker before this one showed, without a word from the store; False where there was none."""
        if self._journal is None or not self._takes_over:
            return False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._open_at_once)
            shown = await trio.to_thread.run_sync(self._journal.recall)
        if shown is None:
            return False
        self._make_view(most_objects=None)  # it was had as a whole, or says of itself that it was not
        self._view.take_over(shown)
        return True

    async def _open_disk(self) -> None:
        """Open what this machine keeps on a disk. A store that refuses has ended the mount before."""
        self._disk = await open_tier(
            self._plan["cache_dir"],
            self._store,
            source=self._plan["source"],
            group=self._config.cache_group,
            quota_bytes=self._config.cache_size_bytes,
            memory_bytes=self._config.memory_bytes,
            buffers=self._buffers,
            before=self._priority.work,
        )

    async def _open_disk_later(self) -> None:
        """Open it for a mount that is served already: who takes over asks no store first."""
        await self._open_disk()
        if self._disk is None:
            return
        self._reading.use_disk(self._disk)
        while not self._view.health().listings:  # noqa: ASYNC110  a look each second, and in most lives but one
            await trio.sleep(STILL_HERE_S)
        self._memory.who = self._disk.who

    async def _open_at_once(self) -> None:
        self._store = await open_at_once(self._location, self._config, self._buffers)

    async def _list_first(self) -> None:
        """Build the first tree. The time-out is for each page, so that a large repository may take its time."""
        if not self._takes_over:
            self._store = await open_configured(self._location, self._config, self._buffers)
        self._make_view(most_objects=self._config.list_limit)
        began_s = trio.current_time()

        async def time_page(objects: int) -> None:
            nonlocal began_s
            self._fastest_page_s = min(self._fastest_page_s, trio.current_time() - began_s)
            await self._tell_page(objects)
            began_s = trio.current_time()

        if self._config.offline:
            await self._show_remembered(UsageError(NOT_REMEMBERED))
            return
        try:
            await self._view.refresh(time_page)
        except StoreUnavailableError as error:
            await self._show_remembered(error)
            return
        await self._open_disk()
        if self._disk is not None:
            self._memory.who = self._disk.who
            await trio.to_thread.run_sync(self._memory.keep, self._view.tree)
        await self._wait_for_the_young()

    async def _show_remembered(self, why: ModelfsError) -> None:
        """Show what was shown last here, for what of it is on the disk. Raises ``why`` where that cannot be.

        Only to those whom the store let in last: what others were shown is not for us.
        """
        await self._open_disk()
        disk, shown = self._disk, EMPTY
        if disk is not None:
            shown = await trio.to_thread.run_sync(partial(self._memory.recall, who=disk.who))
            self._memory.who = disk.who
        if shown is EMPTY:
            raise why
        because = "the mount is --offline" if self._config.offline else str(why)
        log.warning(
            "what was shown here last is shown, and read from the disk files=%d because=%r", shown.files, because
        )
        self._view.take_over(Inheritance(shown, self._memory.kept_at_s(), []))

    def _make_view(self, *, most_objects: int | None) -> None:
        config = self._config
        store = self._asked()
        self._memory = memory = Memory(
            self._plan["state_dir"],
            repository=f"{self._plan['source']} {config.endpoint_url or ''}".strip(),
            mountpoint=self._plan["mountpoint"],
        )
        policy = RetryPolicy(deadline_s=config.mount_timeout_s)
        limiter = trio.CapacityLimiter(2)
        sharing = None
        if config.share_listings and isinstance(store, Shareable):
            identify = partial(_identity, store, str(config.refresh_s))
            sharing = Sharing(str(Path(self._plan["runtime_folder"]).parent), identify)
        if config.list_mode == "on-open" and not config.offline and not isinstance(store, Levelled):
            raise UsageError(f"{self._plan['source']} cannot be listed model by model. Leave --list on-open out.")
        self._listings = Listings(
            store,
            policy=policy,
            limiter=limiter,
            period_s=config.refresh_s,
            sharing=sharing,
            is_on_open=config.list_mode == "on-open",
            most_objects=most_objects,
        )
        self._view = View(
            store,
            policy=policy,
            limiter=limiter,
            show_hidden=config.show_hidden,
            settle_s=config.settle_s,
            memory=memory,
            listings=self._listings,
            journal=self._journal,
        )

    def _asked(self) -> Store:
        """Return what is asked for listings and bytes: the store, or nobody."""
        return OfflineStore() if self._config.offline else self._store

    async def _wait_for_the_young(self) -> None:
        """List again when what was stored just now has settled: a Triton that reads once must see it."""
        settles_s = self._view.settles_s
        if settles_s is None:
            return
        log.info("waiting for what was stored just now folders=%d", len(self._view.pending))
        while trio.current_time() < settles_s:
            await self._tell_page(self._view.tree.files)
            await trio.sleep(min(STILL_HERE_S, max(0.0, settles_s - trio.current_time())))
        try:
            await self._view.refresh(self._tell_page, is_early=True)
        except ModelfsError as error:
            log.warning("the second listing failed; what has settled is shown after the next error=%s", error)

    async def _tell_page(self, objects: int) -> None:
        """Let the supervisor know that the listing goes on, so that it keeps waiting."""
        await self._tell(event="listing", objects=objects)

    def _assemble(self, nursery: trio.Nursery) -> None:
        config = self._config
        self._reading = Reading(
            self._asked(),
            self._view,
            buffers=self._buffers,
            nursery=nursery,
            notify=_notify_store,
            priority=self._priority,
            memory_bytes=config.memory_bytes,
            memory_limit_bytes=memory_limit_bytes(),
            max_connections=config.max_connections,
            max_bytes_per_s=config.max_rate_bytes_per_s,
            fastest_answer_s=self._fastest_page_s,
            deadline_s=config.read_deadline_s,
            stall_timeout_s=config.stall_timeout_s,
            disk=self._disk,
        )
        ownership = Ownership(
            uid=os.getuid() if config.uid is None else config.uid,
            gid=os.getgid() if config.gid is None else config.gid,
            file_mode=config.file_mode,
            dir_mode=config.dir_mode,
        )
        self._operations = Operations(
            self._view,
            ownership=ownership,
            open_streamer=self._reading.open_streamer,
            foresight=self._reading.foresight,
            xattrs=Xattrs(self._view, url=self._location.display, count_cached=self._reading.count_cached),
            takes_over=self._journal if self._takes_over else None,
        )
        if config.load_ahead_bytes:
            announced = Announced(
                self._operations.inodes,
                self._operations.files,
                nursery=nursery,
                most_bytes=partial(part_of_memory, config.load_ahead_bytes),
            )
            self._operations.announced = announced
            self._reading.foresight.announce = announced.announce
        look_s = 0.0 if config.offline else config.look_s
        self._looks = Looks(self._view, wait_s=look_s, nursery=nursery, tell=self._operations.invalidate)
        self._operations.looks = self._looks
        if self._journal is not None and not self._takes_over:
            self._journal.is_known = lambda number: self._operations.inodes.get(number) is not None

    async def _serve(self, fuse_fd: int, nursery: trio.Nursery) -> None:
        """Take the mount over and serve it until it is unmounted, or the supervisor says stop or is gone."""
        pyfuse3.init(self._operations, f"/dev/fd/{self._init_fd}", {"fsname=modelfs"})
        ended = trio.Event()
        nursery.start_soon(self._run_fuse, ended)
        device = self._device()
        event = await self._hear()
        if event is None:
            await self._unmount_alone(device)
        if event != "go":
            return
        # the socket must be known as closing while it still is the socket; no await until it is not
        trio.lowlevel.notify_closing(self._init_fd)
        os.dup2(fuse_fd, self._init_fd)
        os.close(fuse_fd)
        if self._config.read_ahead_kib:
            await trio.to_thread.run_sync(kernel.tune, self._plan["mountpoint"], self._config.read_ahead_kib)
        socket_path = runtime.control_socket(self._plan["runtime_folder"])
        await nursery.start(partial(control.serve, socket_path, self._reports().commands))
        self._priority.answer_first()
        nursery.start_soon(self._reading.keep_lean, lambda: self._operations.reads)
        nursery.start_soon(collector.keep_sweeping)
        if self._operations.inherited is not None:
            nursery.start_soon(self._operations.inherited.keep_lean)
        if not self._config.offline:
            nursery.start_soon(self._view.keep_fresh, self._config.refresh_s, self._tell_changes)
        await self._tell(event="serving")
        if not self._config.offline:
            nursery.start_soon(self._give_up_gone)
        nursery.start_soon(self._obey, ended, device)
        nursery.start_soon(_watch_connection, self._init_fd, ended)
        await ended.wait()

    async def _tell_changes(self, differences: list[Difference]) -> None:
        """Tell the kernel what has changed, and the disk what will not be read any more."""
        await self._operations.invalidate(differences)
        await self._give_up_gone()

    async def _give_up_gone(self) -> None:
        if self._disk is not None:
            # with a limiter of its own: it waits for the writers, and is never waited for
            mark = partial(self._disk.mark_gone, self._is_shown)
            await trio.to_thread.run_sync(mark, limiter=trio.CapacityLimiter(1))

    def _is_shown(self, key: str, version: str) -> bool:
        """Tell whether the repository shows this object, or has not been asked."""
        node = self._view.tree.find(key)
        is_it = isinstance(node, File) and node.info.version == version
        return is_it or self._view.is_bare(key.partition("/")[0])

    async def _run_fuse(self, ended: trio.Event) -> None:
        try:
            await pyfuse3.main(min_tasks=FUSE_TASKS_IDLE, max_tasks=FUSE_TASKS_MAX)
        finally:
            ended.set()

    async def _obey(self, ended: trio.Event, device: str | None) -> None:
        """Wait for the supervisor to say stop, or to be gone."""
        if await self._hear() is None:
            await self._unmount_alone(device)
        ended.set()

    async def _unmount_alone(self, device: str | None) -> None:
        """Take our own mount away, and no other that came to lie there, rather than leave it dead."""
        mountpoint = self._plan["mountpoint"]
        log.error("the supervisor is gone; unmounting mountpoint=%s", mountpoint)
        if device is not None and device == self._device():
            unmount = partial(unmounting.unmount, mountpoint, lazy=True, within_s=UNMOUNTING_S)
            with suppress(OSError):
                # in a thread: it may ask the very mount that we answer for
                await trio.to_thread.run_sync(unmount)

    def _device(self) -> str | None:
        """Return the device number of what is mounted at our mount point, from the mount table."""
        entry = mounting.mounted_at(self._plan["mountpoint"])
        return entry.device if entry else None

    def _reports(self) -> Reports:
        return Reports(
            self._store,
            self._location,
            self._view,
            self._operations,
            looks=self._looks,
            reading=self._reading,
            disk=lambda: self._disk,
            refresh_s=self._config.refresh_s,
            is_offline=self._config.offline,
        )

    async def _hear_mounted(self) -> int | None:
        """Return the FUSE descriptor, or None when there will be none."""
        data, ancillary, _, _ = await self._report.recvmsg(65536, socket.CMSG_SPACE(4))
        if _event(data) != "mounted" or not ancillary:
            return None
        return int.from_bytes(ancillary[0][2][:4], sys.byteorder)

    async def _hear(self) -> str | None:
        """Return the next event; None when the supervisor is gone."""
        try:
            return _event(await self._report.recv(65536))
        except ConnectionError:
            return None  # it was killed before it had read all that we said

    async def _tell(self, **message: Any) -> None:
        await self._report.send(json.dumps(message).encode())


async def _watch_connection(fuse_fd: int, ended: trio.Event) -> None:
    """Notice the end of the connection also while requests wait for the store, which pyfuse3.main waits for.

    After a lazy unmount the kernel drops the connection with the last reader; its reads would be retried for as long
    as the read deadline.
    """
    poll = select.poll()
    poll.register(fuse_fd, 0)  # nothing but errors
    while not poll.poll(0):  # noqa: ASYNC110  the kernel sets no trio.Event, and epoll would wake for each request
        await trio.sleep(CONNECTION_LOOK_S)
    ended.set()


def _identity(store: Shareable, refresh: str) -> list[str]:
    """Return what the listings of mounts that share them have in common."""
    return [refresh, *store.identify()]


def _event(data: bytes) -> str | None:
    return str(json.loads(data)["event"]) if data else None


def _notify_store(inode: int, offset: int, data: memoryview) -> None:
    pyfuse3.notify_store(InodeT(inode), offset, cast("bytes", data))  # any buffer; its annotation is narrower


async def _main(plan: Mapping[str, Any], report_fd: int, init_fd: int) -> int:
    report = trio.socket.fromfd(report_fd, socket.AF_UNIX, socket.SOCK_SEQPACKET)
    os.close(report_fd)
    return await Worker(plan, report=report, init_fd=init_fd).run()


def main() -> None:
    """Serve the mount that the supervisor's descriptors tell of."""
    parser = argparse.ArgumentParser(prog="modelfs.worker")
    for name in ("--plan-fd", "--report-fd", "--init-fd"):
        parser.add_argument(name, type=int, required=True)
    options = parser.parse_args()
    with os.fdopen(options.plan_fd, "rb") as file:
        plan = json.load(file)
    collector.tame()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold the credentials
    # nor begin one: the kernel has that wait for all threads first, and one that pushes may wait for what only the
    # next worker answers, which is not started before (seen)
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0)
    # before a store's library reads it; /proc/PID/environ shows only what a process was started with
    os.environ.update(plan.pop("environment", {}))
    config = plan["config"]
    logs.configure(level=config["log_level"], form=config["log_format"], mountpoint=logs.shared_by(plan))
    status = 1
    try:
        status = trio.run(_main, plan, options.report_fd, options.init_fd)
    except Exception:
        log.exception("the worker met an unexpected error")
    # requests that were abandoned may still sit in threads, and nothing needs them to end first
    logging.shutdown()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
