"""``modelfs check``: everything that a mount needs, tried one after another, each told in one line.

Law: nothing is mounted and nothing is written. A line never holds a secret. What is tried is what a mount would do,
through the same functions; what failed hides nothing of what can still be tried. The store of a living mount is tried
by its worker, whose credentials count there and not ours.
"""

import os
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import trio

from modelfs import location as locations
from modelfs import mounting, mounts, runtime, trial
from modelfs.config import Config
from modelfs.errors import ModelfsError
from modelfs.location import Location
from modelfs.opening import open_configured
from modelfs.sources import Entry
from modelfs.store import Facts, RetryPolicy, Store, list_everything
from modelfs.trial import Line

_READ_BYTES = 16 * 1024 * 1024
"""What one large request of a stream brings, twice: enough to see past the start of a connection."""

_THREADS = 2
_RECENT_S = 3600.0
_MOUNTPOINT = "/mnt/models"
_HIDDEN = "?***"


def exit_status(lines: Sequence[Line]) -> int:
    """Return 2 when a mount would fail or has failed, 1 when something is worth a look, else 0."""
    verdicts = {line.verdict for line in lines}
    return 2 if "bad" in verdicts else 1 if "doubtful" in verdicts else 0


def check(target: str, config: Config, *, given: Sequence[str] = (), entries: Sequence[Entry] = ()) -> list[Line]:
    """Check a mount point of modelfs, or else a URL. Raises UsageError for what is neither.

    ``given`` are the flags that a mount would be given too; ``entries`` those of the configuration file.
    """
    if "://" in target:
        return check_url(locations.parse(target), config, given)
    path = mounting.resolve_mount_point(target)
    mounted = mounting.mounted_at(path)
    if mounted is not None and mounted.fstype == mounting.FSTYPE:
        return check_mount(path, config)
    if path in mounts.recorded(runtime.runtime_root(config.runtime_dir)):
        return check_mount(path, config)
    entry = next((each for each in entries if mounting.resolve_mount_point(each.mountpoint) == path), None)
    if entry is not None:
        return _check_entry(entry, path)
    lines = check_url(locations.parse(target), config, given)
    return [_empty(path), *lines] if mounted is None and _is_empty(path) else lines


def _check_entry(entry: Entry, path: str) -> list[Line]:
    """Try what an entry of ``[[mounts]]`` that is not mounted needs."""
    command = f"modelfs mount {shlex.quote(path)}"
    unmounted = f"{entry.name} is to be mounted at {path}, and nothing is: mount it with '{command}'"
    tried = check_url(locations.parse(entry.url), entry.config)
    rest = [line for line in tried if line.topic != "commands"]
    return [Line("mount", "bad", unmounted), *rest, Line("commands", "known", f"{command} && {_triton(path)}")]


def _empty(path: str) -> Line:
    text = f"nothing is mounted at {path}, an empty directory: if it is a mount point, mount a repository there first"
    return Line("mount", "doubtful", text)


def _is_empty(path: str) -> bool:
    try:
        return not os.listdir(path)  # noqa: PTH208  a path that is a string
    except OSError:
        return False


def check_url(location: Location, config: Config, given: Sequence[str] = ()) -> list[Line]:
    """Try what a mount of ``location`` would do."""
    lines = [trial.understood(location)]
    trio.run(_check_store, location, config, lines)
    lines.extend(_check_machine(config))
    if location.scheme == "other":
        lines.append(
            Line("versions", "doubtful", "not pinned: a file replaced while it is read may give bytes of both")
        )
    lines.append(Line("commands", "known", _commands(location, given)))
    return lines


def _commands(location: Location, given: Sequence[str]) -> str:
    """Return what mounts ``location`` as it was checked, and serves it."""
    url, flags, remark = location.display, list(given), ""
    if location.scheme == "as" and url.endswith(_HIDDEN):
        url = url.removesuffix(_HIDDEN)
        if "--sas-file" not in flags:
            flags += ["--sas-file", "FILE"]
            remark = ", where FILE holds what stands behind the '?' of the URL"
    elif "***" in url:
        remark = ", with the URL as it was given in the place of ***"
    if location.scheme == "other":
        flags += [] if "--engine" in flags else ["--engine", "fsspec"]
        flags += [] if "--allow-unpinned" in flags else ["--allow-unpinned"]
    return f"{shlex.join(['modelfs', 'mount', url, _MOUNTPOINT, *flags])} && {_triton(_MOUNTPOINT)}{remark}"


async def _check_store(location: Location, config: Config, lines: list[Line]) -> None:
    try:
        store = await open_configured(location, config)
        facts = await _facts(store)
    except ModelfsError as error:
        lines.append(Line(await _topic(location, config), "bad", str(error)))
        return
    if facts is not None:
        lines.extend(trial.credentials(facts))
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
    lines.append(trial.listed(objects, took_s))
    lines.extend(trial.cost(location, pages, config.refresh_s))
    if facts is not None:
        lines.extend(trial.answering(await _facts(store) or facts))  # the region may be the listing's
    largest = max(objects, key=lambda info: info.size, default=None)
    lines.append(await trial.read(store, largest, policy, most_bytes=_READ_BYTES))


async def _facts(store: Store) -> Facts | None:
    return await trio.to_thread.run_sync(trial.known_facts, store)


async def _topic(location: Location, config: Config) -> str:
    """Return what is wrong where a store cannot be opened: what opens without credentials, fails because of them."""
    try:
        await open_configured(location, config.model_copy(update={"sign_requests": False, "sas_file": None}))
    except ModelfsError:
        return "settings"
    return "credentials"


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
    """Look at a living mount, or what is left of one, and have its worker try the store."""
    root = runtime.runtime_root(config.runtime_dir)
    found = [mount for mount in mounts.survey(root) if mount.mountpoint == mountpoint]
    if not found:
        return [Line("mount", "bad", f"nobody serves {mountpoint}: unmount it with 'modelfs unmount {mountpoint}'")]
    mount = found[0]
    good = mount.state == "healthy"
    words = mount.state + (f": {mount.reason}" if mount.reason else "")
    lines = [Line("mount", "good" if good else "bad", f"{mount.source} at {mountpoint} is {words}")]
    if mount.restarts:
        lines.append(_restarted(mount))
    if mount.details:
        lines.extend(_tried(runtime.folder_of(root, mountpoint)))
        lines.extend(_served(mount.details, config))
    if good:
        lines.append(Line("FUSE", "good", "the kernel's file operations are answered"))
    lines.append(_read_ahead(mountpoint))
    lines.append(Line("commands", "known", _triton(mountpoint)))
    return lines


def _restarted(mount: mounts.Mount) -> Line:
    """Tell how often a worker has died; of the last hour somebody should look why."""
    age_s = max(0.0, time.time() - mount.restarted_at_s)
    times = "once" if mount.restarts == 1 else f"{mount.restarts} times"
    text = f"its worker was replaced {times}, last {age_s:.0f} s ago, when it ended with {mount.restart_reason}"
    look = f"; look into {mount.log}" if mount.log else ""
    return Line("worker", "doubtful", text + look) if age_s < _RECENT_S else Line("worker", "known", text)


def _tried(folder: str) -> list[Line]:
    try:
        found = mounts.ask(folder, "check", timeout_s=trial.LIVING_S + 5)
    except mounts.ControlError as error:
        return [Line("store", "doubtful", f"its store was not tried: {error}")]
    return [Line(**line) for line in found["lines"]]


def _served(details: dict[str, Any], config: Config) -> list[Line]:
    """Tell what the worker says of itself; one that is older than this command says less."""
    listed = f"{details['files']} files, {details['bytes'] / 1e9:.2f} GB"
    age_s = max(0.0, time.time() - float(details["listed_at_s"]))
    is_old = age_s > 4 * float(details.get("refresh_s", config.refresh_s)) + config.mount_timeout_s
    lines = [Line("shown", "doubtful" if is_old else "good", f"{listed}, listed {age_s:.0f} s ago")]
    if waiting := int(details["folders_pending"]):
        what = f"{waiting} folders are not shown as they are stored, such as {details['pending'][0]['folder']}"
        lines.append(Line("settling", "doubtful", f"{what}: {details['pending'][0]['reason']}"))
    if left_out := int(details["objects_not_shown"]):
        hidden = f"{left_out} objects are not shown: 'modelfs ls URL' tells which and why"
        lines.append(Line("names", "doubtful", hidden))
    lines.extend(_kept(details.get("disk")))
    reads = int(details.get("reads_failing", 0))
    failing = f"{reads} reads fail, and are tried again: {details['read_error']}"
    lines.append(Line("reads", "doubtful", failing) if reads else Line("reads", "good", "none fails now"))
    return lines


def _kept(disk: dict[str, Any] | None) -> list[Line]:
    """Tell of the cache on disk; a mount that has none says nothing."""
    if disk is None:
        return []
    if disk["trouble"]:
        return [Line("cache", "doubtful", f"the cache at {disk['path']} is not used: {disk['trouble']}")]
    used = f"{disk['used_bytes'] / 1e9:.2f} of at most {disk['quota_bytes'] / 1e9:.2f} GB at {disk['path']}"
    text = f"{used}; {disk['hit_bytes'] / 1e9:.2f} GB were read from there"
    if damaged := int(disk["damaged_chunks"]):
        what = f"{text}; {damaged} damaged chunks were fetched again: run 'modelfs cache verify', and look at the disk"
        return [Line("cache", "doubtful", what)]
    return [Line("cache", "good", text)]


def _read_ahead(mountpoint: str) -> Line:
    entry = mounting.mounted_at(mountpoint)
    try:
        kib = int(Path(f"/sys/class/bdi/{entry.device if entry else ''}/read_ahead_kb").read_text())
    except (OSError, ValueError):
        return Line("sysfs", "doubtful", "the kernel's read-ahead cannot be seen here")
    return Line("sysfs", "good", f"the kernel reads {kib} KiB ahead")


def _triton(mountpoint: str) -> str:
    return f"tritonserver --model-repository={shlex.quote(mountpoint)}"
