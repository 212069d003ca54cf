"""``modelfs bench``: how fast a store is, and how much of that arrives through a mount, in bounded bytes and time.

Law: nothing is written but to memory, and a mount made here is gone at the end. What is read is bounded in bytes and
what is waited for in time, so that a stuck mount or a slow link ends in a line that says so. Reads of a mount are made
in a thread of their own, which nothing waits for longer than that.

Every figure is one run on a machine that does other things too: ``tests/bench`` compares with care, this at a glance.
"""

import math
import os
import random
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import NoReturn

import trio

from modelfs import launch, mounting, mounts
from modelfs import location as locations
from modelfs.blocks import ObjectInfo
from modelfs.config import Config
from modelfs.config_values import KIB, MIB
from modelfs.errors import ModelfsError
from modelfs.opening import open_configured
from modelfs.store import RetryPolicy, Store, in_thread_with_retries, list_everything

SIZE_BYTES = 256 * MIB
SECONDS = 60.0
AT_ONCE = (1, 4, 8, 16, 32, 64)

_FIRST_BYTES = 4 * MIB
_LEAST_PIECE_BYTES, _MOST_PIECE_BYTES = MIB // 4, 8 * MIB
_TRIPS = 16
_SMALL_BYTES = 4096  # the read that databases and page faults make, and others publish figures for
_SMALL_READS = 64
_BUFFER_BYTES = 4 * MIB
_PARTS = len(AT_ONCE) + 6  # what shares the time


@dataclass(frozen=True, slots=True)
class Figure:
    """One result. ``value`` is None where it could not be had, and ``remark`` then tells why."""

    what: str
    value: float | None
    unit: str
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may be read in each pass, and how long all passes together may take."""

    size_bytes: int = SIZE_BYTES
    seconds: float = SECONDS
    patience_s: float = 10.0
    """How much longer a mount may take before it counts as stuck."""

    @property
    def part_s(self) -> float:
        """The time of one pass."""
        return self.seconds / _PARTS


@dataclass(slots=True)
class _Results:
    figures: list[Figure] = field(default_factory=list)

    def add(self, what: str, value: float | None, unit: str, remark: str = "") -> None:
        self.figures.append(Figure(what, value, unit, remark))


def exit_status(figures: Sequence[Figure]) -> int:
    """Return 1 when something could not be measured, else 0."""
    return 1 if any(figure.value is None for figure in figures) else 0


def bench(target: str, config: Config, limits: Limits) -> list[Figure]:
    """Measure a living mount of modelfs, or else a URL: its store, then a mount of it that is made for this.

    Raises a ModelfsError for what is neither, and for a store that cannot be listed.
    """
    entry = mounting.mounted_at(os.path.abspath(target)) if target.startswith("/") else None  # noqa: PTH100  no I/O
    results = _Results()
    if entry is not None and entry.fstype == mounting.FSTYPE:
        _measure_mount(Path(entry.mountpoint), limits, results)
        return results.figures
    location = locations.parse(target)
    # the connections of all passes, so that each finds as many as it asks for
    wide = config.model_copy(update={"max_connections": max(AT_ONCE)})
    best = trio.run(_measure_store, location, wide, limits, results)
    try:
        with _mounted(target, config, results) as path:
            _measure_mount(path, limits, results, store_rate=best)
    except ModelfsError as error:
        results.add("mount", None, "", str(error))
    return results.figures


async def _measure_store(location: locations.Location, config: Config, limits: Limits, results: _Results) -> float:
    """Measure listing, round trip, and rates; return the best rate in bytes a second, 0 where nothing can be read."""
    store = await open_configured(location, config)
    policy = RetryPolicy(deadline_s=config.mount_timeout_s)
    began_s = time.monotonic()
    objects = await list_everything(store, policy=policy, limiter=trio.CapacityLimiter(1))
    size = sum(info.size for info in objects)
    took_s = time.monotonic() - began_s
    results.add("store: listing", took_s, "s", f"{len(objects)} objects, {size / 1e9:.2f} GB")
    largest = max(objects, key=lambda info: info.size, default=None)
    if largest is None or not largest.size:
        results.add("store: read", None, "", "there is no object with content to read")
        return 0.0
    try:
        trips = await _round_trips(store, largest, policy, limits.part_s)
        results.add(
            "store: first byte", statistics.median(trips) * 1000, "ms", f"median of {len(trips)} reads of a byte"
        )
        return await _rates(store, objects, limits, results)
    except ModelfsError as error:
        results.add("store: read", None, "", str(error))
        return 0.0


async def _round_trips(store: Store, info: ObjectInfo, policy: RetryPolicy, limit_s: float) -> list[float]:
    """Return how long a read of one byte takes, one after another on a connection that is there."""
    took = []
    until_s = time.monotonic() + limit_s
    for _ in range(_TRIPS + 1):
        began_s = time.monotonic()
        await _read(store, (info, 0, 1), policy, trio.CapacityLimiter(1))
        took.append(time.monotonic() - began_s)
        if time.monotonic() > until_s:
            break
    return took[1:] or took  # the first one connects


async def _rates(store: Store, objects: Sequence[ObjectInfo], limits: Limits, results: _Results) -> float:
    """Read with more and more requests at once, and return the best rate."""
    first = min(limits.size_bytes, _FIRST_BYTES)
    best = rate = await _rate(store, pieces(objects, first, _LEAST_PIECE_BYTES), 1, limits.part_s)
    if not rate:
        results.add(
            "store: read", None, "", f"not even {_LEAST_PIECE_BYTES // KIB} KiB came within {limits.part_s:.0f} s"
        )
    for at_once in AT_ONCE:
        # so small that each reader ends several in time also on a slow link, else of a size that makes them few
        fitting = int(rate * limits.part_s / 4 / at_once)
        if fitting < _LEAST_PIECE_BYTES:
            break  # what is given up at the end of a pass would burden the next one
        piece = min(fitting, _MOST_PIECE_BYTES)
        rate = await _rate(store, pieces(objects, limits.size_bytes, piece), at_once, limits.part_s)
        best = max(best, rate)
        results.add(f"store: {at_once} read{'s' * (at_once > 1)} at once", rate / 1e6, "MB/s")
    return best


async def _rate(store: Store, waiting: Iterator[tuple[ObjectInfo, int, int]], at_once: int, limit_s: float) -> float:
    """Return the bytes a second of ``at_once`` readers that share the pieces, for at most ``limit_s``."""
    got = 0
    ended_s = began_s = time.monotonic()
    errors: list[ModelfsError] = []
    limiter = trio.CapacityLimiter(at_once)
    policy = RetryPolicy(deadline_s=limit_s)

    async def read_on(nursery: trio.Nursery) -> None:
        nonlocal got, ended_s
        try:
            for piece in waiting:
                await _read(store, piece, policy, limiter)
                got += piece[2]
                ended_s = time.monotonic()
        except ModelfsError as error:
            errors.append(error)
            nursery.cancel_scope.cancel()

    with trio.move_on_after(limit_s):
        async with trio.open_nursery() as nursery:
            for _ in range(at_once):
                nursery.start_soon(read_on, nursery)
    if errors and not got:
        raise errors[0]
    return got / (ended_s - began_s) if got else 0.0


async def _read(
    store: Store, piece: tuple[ObjectInfo, int, int], policy: RetryPolicy, limiter: trio.CapacityLimiter
) -> None:
    info, offset, length = piece
    request = partial(store.read, info, offset, length)
    await in_thread_with_retries(request, what=f"read {info.key!r}", policy=policy, limiter=limiter)


def pieces(objects: Sequence[ObjectInfo], size_bytes: int, piece_bytes: int) -> Iterator[tuple[ObjectInfo, int, int]]:
    """Yield object, offset and length of at most ``piece_bytes``, of the largest objects, ``size_bytes`` in all.

    >>> found = pieces([ObjectInfo("a", 3, "", 0), ObjectInfo("b", 5, "", 0)], 7, 4)
    >>> [(info.key, offset, length) for info, offset, length in found]
    [('b', 0, 4), ('b', 4, 1), ('a', 0, 2)]
    """
    left = size_bytes
    for info in sorted(objects, key=lambda each: -each.size):
        for offset in range(0, info.size, piece_bytes):
            length = min(piece_bytes, info.size - offset, left)
            if length <= 0:
                return
            yield info, offset, length
            left -= length


@contextmanager
def _mounted(url: str, config: Config, results: _Results) -> Iterator[Path]:
    """Mount ``url`` in a folder of its own while the context lasts."""
    with tempfile.TemporaryDirectory(prefix="modelfs-bench-") as folder:
        path = Path(folder) / "mnt"
        path.mkdir()
        # nothing is left of it, and what is measured need be no model
        own = config.model_copy(
            update={"state_dir": str(Path(folder) / "state"), "settle_s": 0.0, "cache_size_bytes": 0}
        )
        plan = launch.plan_mount(url, str(path), own, foreground=False)
        began_s = time.monotonic()
        previous = signal.signal(signal.SIGTERM, _end)  # 'timeout' sends it, and the mount must not outlive us
        try:
            launch.mount_in_background(plan)
            results.add("mount: start", time.monotonic() - began_s, "s", "until it answers")
            yield path
        finally:
            if mounting.mounted_at(plan["mountpoint"]) is not None:  # also one whose start was interrupted
                mounts.unmount(plan["runtime_dir"], plan["mountpoint"], lazy=True)
            signal.signal(signal.SIGTERM, previous)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _measure_mount(path: Path, limits: Limits, results: _Results, *, store_rate: float = 0.0) -> None:
    """Walk and read a mount in a thread, and wait for it no longer than the passes may take."""
    own = _Results()
    failures: list[OSError] = []

    def work() -> None:
        try:
            _walk_and_read(path, limits, own, store_rate)
        except OSError as error:
            failures.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(5 * limits.part_s + limits.patience_s)
    results.figures.extend(list(own.figures))
    if failures:
        results.add("mount: read", None, "", f"a read failed: {failures[0].strerror}")
    elif thread.is_alive():
        results.add("mount: read", None, "", "it does not answer in time")


def _walk_and_read(path: Path, limits: Limits, results: _Results, store_rate: float) -> None:
    began_s = time.monotonic()
    sizes = _walk(path, until_s=began_s + limits.part_s)
    results.add("mount: walk with stat", time.monotonic() - began_s, "s", f"{len(sizes)} files")
    chosen = _largest(sizes, limits.size_bytes)
    if not chosen:
        results.add("mount: read", None, "", "there is no file with content to read")
        return
    for file, _ in chosen:
        _forget(file)
    took = _scattered_reads(*max(((file, sizes[file]) for file, _ in chosen), key=lambda each: each[1]), limits.part_s)
    worst = f"median of {len(took)}; {max(took) * 1000:.1f} ms at most"
    results.add("mount: 4 KiB at random", statistics.median(took) * 1000, "ms", worst)
    for file, _ in chosen:
        _forget(file)
    got, took_s = _stream(chosen, limits.part_s)
    share = f", {got / took_s / store_rate:.2f} of the store's best" if store_rate else ""
    results.add("mount: sequential, cold", got / took_s / 1e6, "MB/s", f"{got / MIB:.0f} MiB{share}")
    got, took_s = _stream(_largest(sizes, got), limits.part_s)
    results.add("mount: sequential, again", got / took_s / 1e6, "MB/s", f"{got / MIB:.0f} MiB")


def _walk(path: Path, *, until_s: float) -> dict[str, int]:
    """Return the size of each file, of those that can be looked at in time."""

    def refuse(error: OSError) -> None:
        raise error

    sizes: dict[str, int] = {}
    for folder, _, names in os.walk(path, onerror=refuse):
        for name in names:
            file = os.path.join(folder, name)  # noqa: PTH118  10,000 of them, timed
            sizes[file] = os.stat(file).st_size  # noqa: PTH116  as above
        if time.monotonic() > until_s:
            break
    return sizes


def _largest(sizes: dict[str, int], size_bytes: int) -> list[tuple[str, int]]:
    """Return the largest files, and how much to read of each: ``size_bytes`` in all."""
    chosen, left = [], size_bytes
    for file, size in sorted(sizes.items(), key=lambda each: -each[1]):
        length = min(size, left)
        if length <= 0:
            break
        chosen.append((file, length))
        left -= length
    return chosen


def _forget(file: str) -> None:
    """Have the kernel drop what it holds of a file. The daemon may hold some of it too."""
    with _opened(file) as descriptor:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def _scattered_reads(file: str, size: int, limit_s: float) -> list[float]:
    """Return how long reads of 4 KiB here and there take."""
    took: list[float] = []
    chance = random.Random(size)  # noqa: S311  any places will do
    until_s = time.monotonic() + limit_s
    with _opened(file) as descriptor:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        while len(took) < _SMALL_READS and (not took or time.monotonic() < until_s):
            offset = chance.randrange(math.ceil(size / _SMALL_BYTES)) * _SMALL_BYTES
            began_s = time.monotonic()
            os.pread(descriptor, _SMALL_BYTES, offset)
            took.append(time.monotonic() - began_s)
    return took


def _stream(chosen: Sequence[tuple[str, int]], limit_s: float) -> tuple[int, float]:
    """Read files one after another; return the bytes and the seconds."""
    buffer = memoryview(bytearray(_BUFFER_BYTES))
    got = 0
    began_s = time.monotonic()
    for file, length in chosen:
        with _opened(file) as descriptor:
            position = 0
            while position < length and time.monotonic() - began_s < limit_s:
                count = os.preadv(descriptor, [buffer[: length - position]], position)
                if not count:
                    break  # it has become shorter meanwhile
                position += count
            got += position
    return got, max(time.monotonic() - began_s, 1e-9)


@contextmanager
def _opened(file: str) -> Iterator[int]:
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
