"""``modelfs check``: everything that a mount needs, tried one after another, each told in one line.

Law: nothing is mounted and nothing is written. A line never holds a secret. What is tried is what a mount would do,
through the same functions; what failed hides nothing of what can still be tried.
"""

import os
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import trio

from modelfs import location as locations
from modelfs import mounting, mounts, runtime
from modelfs.blocks import ObjectInfo
from modelfs.config import Config
from modelfs.errors import ModelfsError
from modelfs.location import Location
from modelfs.opening import open_configured
from modelfs.store import Facts, RetryPolicy, Store, Telling, in_thread_with_retries, list_everything

Verdict = Literal["good", "doubtful", "bad", "known"]
"""What a line is: as it must be, worth a look, in the way of a mount, or simply a fact."""

_READ_BYTES = 16 * 1024 * 1024
"""What one large request of a stream brings, twice: enough to see past the start of a connection."""

_SOON_S = 24 * 3600.0
_DAY_S = 86_400
_EMPTY = "the mount will be empty; is the path right?"
_THREADS = 2


@dataclass(frozen=True, slots=True)
class Line:
    """One finding: ``topic`` in a word or two, ``text`` in a sentence."""

    topic: str
    verdict: Verdict
    text: str


def exit_status(lines: Sequence[Line]) -> int:
    """Return 2 when a mount would fail or has failed, 1 when something is worth a look, else 0."""
    verdicts = {line.verdict for line in lines}
    return 2 if "bad" in verdicts else 1 if "doubtful" in verdicts else 0


def check(target: str, config: Config) -> list[Line]:
    """Check a mount point of modelfs, or else a URL. Raises UsageError for what is neither."""
    entry = mounting.mounted_at(os.path.abspath(target)) if target.startswith("/") else None  # noqa: PTH100  no I/O
    if entry is not None and entry.fstype == mounting.FSTYPE:
        return check_mount(entry.mountpoint, config)
    return check_url(locations.parse(target), config)


def check_url(location: Location, config: Config) -> list[Line]:
    """Try what a mount of ``location`` would do."""
    lines = [Line("location", "good", _understood(location))]
    trio.run(_check_store, location, config, lines)
    lines.extend(_check_machine(config))
    url = shlex.quote(location.display)
    flags = ""
    if location.scheme == "other":
        flags = " --engine fsspec --allow-unpinned"
        lines.append(
            Line("versions", "doubtful", "not pinned: a file replaced while it is read may give bytes of both")
        )
    lines.append(Line("commands", "known", f"modelfs mount {url} /mnt/models{flags} && {_triton('/mnt/models')}"))
    return lines


async def _check_store(location: Location, config: Config, lines: list[Line]) -> None:
    try:
        store = await open_configured(location, config)
        facts = await _facts(store)
    except ModelfsError as error:
        lines.append(Line("credentials", "bad", str(error)))
        return
    if facts is not None:
        lines.extend(_credentials(facts))
    policy = RetryPolicy(deadline_s=config.mount_timeout_s)
    pages = 0

    async def count(_objects: int) -> None:
        nonlocal pages
        pages += 1

    try:
        began_s = time.monotonic()
        objects = await list_everything(store, policy=policy, limiter=trio.CapacityLimiter(_THREADS), on_page=count)
        took_s = time.monotonic() - began_s
    except ModelfsError as error:
        lines.append(Line("list", "bad", str(error)))
        return
    lines.append(_listed(objects, took_s))
    if location.scheme != "file":
        lines.append(_cost(None if location.scheme == "other" else pages, config))
    if facts is not None:
        facts = await _facts(store) or facts  # the region may be the listing's
        where = f" in region {facts.region}" if facts.region else ""
        lines.append(Line("endpoint", "good", f"{facts.endpoint} answers{where}"))
        if facts.engine:
            lines.append(Line("engine", "known", f"{facts.engine} fetches the bytes"))
    lines.append(await _read(store, objects, policy))


async def _facts(store: Store) -> Facts | None:
    return await trio.to_thread.run_sync(store.facts) if isinstance(store, Telling) else None


def _credentials(facts: Facts) -> list[Line]:
    lines = [Line("credentials", "good", facts.identity)]
    if facts.expires_at_s is not None:
        left_s = facts.expires_at_s - time.time()
        when = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(facts.expires_at_s))
        verdict: Verdict = "bad" if left_s <= 0 else "doubtful" if left_s < _SOON_S and not facts.renews else "good"
        lines.append(
            Line(
                "expiry",
                verdict,
                f"{'expired' if left_s <= 0 else 'valid until'} {when}{', then renewed' * facts.renews}",
            )
        )
    return lines


def _listed(objects: Sequence[ObjectInfo], took_s: float) -> Line:
    size = sum(info.size for info in objects)
    found = f"{len(objects)} objects, {size / 1e9:.2f} GB, in {took_s:.2f} s"
    return Line("list", "good", found) if objects else Line("list", "doubtful", f"{found}: {_EMPTY}")


def _cost(pages: int | None, config: Config) -> Line:
    """Tell what refreshing asks of a store. ``pages`` is None where a page is no request, nor any known number."""
    daily = "a request for each folder, and over HTTP for each file"
    if pages is not None:
        daily = f"{round(pages * _DAY_S / config.refresh_s)} LIST requests a day ({pages} for each listing)"
    return Line("cost", "known", f"{daily}, at a refresh every {config.refresh_s:g} s (--refresh)")


async def _read(store: Store, objects: Sequence[ObjectInfo], policy: RetryPolicy) -> Line:
    """Read one byte, which is a round trip, then a piece of the largest object, which is what a connection brings."""
    largest = max(objects, key=lambda info: info.size, default=None)
    if largest is None or not largest.size:
        return Line("read", "doubtful", "there is no object with content to read")

    async def timed(length: int) -> float:
        request = partial(store.read, largest, 0, length)
        began_s = time.monotonic()
        limiter = trio.CapacityLimiter(1)
        await in_thread_with_retries(request, what=f"read {largest.key!r}", policy=policy, limiter=limiter)
        return time.monotonic() - began_s

    try:
        await timed(1)  # connects
        trip_s = await timed(1)
        length = min(_READ_BYTES, largest.size)
        rate = length / max(await timed(length), 1e-6)
    except ModelfsError as error:
        return Line("read", "bad", str(error))
    return Line("read", "good", f"{trip_s * 1000:.1f} ms for a byte, then {rate / 1e6:.0f} MB/s on one connection")


def _check_machine(config: Config) -> list[Line]:
    lines = []
    try:
        mounting.check_machine()
        lines.append(Line("FUSE", "good", f"{mounting.DEVICE} can be used"))
    except mounting.MountRefusedError as error:
        lines.append(Line("FUSE", "bad", str(error)))
    if config.read_ahead_kib:
        writable = os.access("/sys/class/bdi", os.W_OK)
        text = f"read-ahead can be set to {config.read_ahead_kib} KiB"
        refused = "read-ahead cannot be set here, so cold reads are slower: needs root and a writable /sys"
        lines.append(Line("sysfs", "good" if writable else "doubtful", text if writable else refused))
    return lines


def check_mount(mountpoint: str, config: Config) -> list[Line]:
    """Look at a living mount, or what is left of one."""
    found = [
        mount for mount in mounts.survey(runtime.runtime_root(config.runtime_dir)) if mount.mountpoint == mountpoint
    ]
    if not found:
        return [Line("mount", "bad", f"nobody serves {mountpoint}: unmount it with 'modelfs unmount {mountpoint}'")]
    mount = found[0]
    good = mount.state == "healthy"
    words = mount.state + (f": {mount.reason}" if mount.reason else "")
    lines = [Line("mount", "good" if good else "bad", f"{mount.source} at {mountpoint} is {words}")]
    if mount.details:
        lines.extend(_served(mount.details, config))
    lines.append(_read_ahead(mountpoint))
    lines.append(Line("commands", "known", _triton(mountpoint)))
    return lines


def _served(details: dict[str, Any], config: Config) -> list[Line]:
    listed = f"{details['files']} files, {details['bytes'] / 1e9:.2f} GB"
    age_s = max(0.0, time.time() - float(details["listed_at_s"]))
    is_old = age_s > 4 * config.refresh_s + config.mount_timeout_s
    shown = Line("list", "doubtful" if is_old else "good", f"{listed}, listed {age_s:.0f} s ago")
    lines = [shown]
    waiting = int(details["folders_pending"])
    if waiting:
        what = f"{waiting} folders are not shown as they are stored, such as {details['pending'][0]['folder']}"
        lines.append(Line("settling", "doubtful", f"{what}: {details['pending'][0]['reason']}"))
    left_out = int(details["objects_not_shown"])
    if not left_out:
        return lines
    return [
        *lines,
        Line("names", "doubtful", f"{left_out} objects are not shown: 'modelfs ls URL' tells which and why"),
    ]


def _read_ahead(mountpoint: str) -> Line:
    entry = mounting.mounted_at(mountpoint)
    try:
        kib = int(Path(f"/sys/class/bdi/{entry.device if entry else ''}/read_ahead_kb").read_text())
    except (OSError, ValueError):
        return Line("sysfs", "doubtful", "the kernel's read-ahead cannot be seen here")
    return Line("sysfs", "good", f"the kernel reads {kib} KiB ahead")


def _understood(location: Location) -> str:
    kinds = {"file": "a local folder", "s3": "S3", "gs": "Google Cloud Storage", "as": "Azure Blob Storage"}
    kinds["other"] = f"what fsspec's driver for {location.protocol}:// makes of it"
    return f"{location.display} is {kinds[location.scheme]}" + (
        f", bucket {location.bucket}, prefix {location.prefix or '(all)'}" if location.bucket else ""
    )


def _triton(mountpoint: str) -> str:
    return f"tritonserver --model-repository={shlex.quote(mountpoint)}"
