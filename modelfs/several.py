"""Several mounts together: the entries of ``[[mounts]]`` as plans, and the end of all that is mounted.

Law: all entries are held against each other, and against what is mounted, before the first of them is mounted: what is
wrong is one UsageError that names the entry. After that, one that fails stops no other.
"""

import itertools
import os
import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

from modelfs import launch, location, mounting, mounts, runtime
from modelfs.errors import ModelfsError, UsageError
from modelfs.sources import Entry

_UNMOUNTS_AT_ONCE = 8  # each only waits: for a mount in use, or for processes that end

Plan = dict[str, Any]


def plan_all(entries: Sequence[Entry], *, foreground: bool) -> list[Plan]:
    """Return the plan of each entry, in their order. Raises UsageError for what cannot be mounted side by side."""
    plans = []
    for entry in entries:
        try:
            plans.append(launch.plan_mount(entry.url, entry.mountpoint, entry.config, foreground=foreground))
        except UsageError as error:
            raise UsageError(f"{entry.name}: {error}") from error
    places = [_place(entry, plan) for entry, plan in zip(entries, plans, strict=True)]
    for place, other in itertools.permutations(places, 2):
        _refuse_overlap(place, other)
    _refuse_shared_endpoint(entries)
    _refuse_shared_sas(entries)
    return plans


def plan_one(entries: Sequence[Entry], mountpoint: str, *, foreground: bool) -> Plan | None:
    """Return the plan of the entry with this mount point; None when there is none. All entries must be right."""
    wanted = mounting.resolve_mount_point(mountpoint)
    return next((plan for plan in plan_all(entries, foreground=foreground) if plan["mountpoint"] == wanted), None)


def refuse_taken(entries: Sequence[Entry], plans: Sequence[Plan]) -> None:
    """Raise UsageError when another repository is mounted where an entry would be."""
    for entry, plan in zip(entries, plans, strict=True):
        path = plan["mountpoint"]
        source = _mounted_source(plan)
        if source not in (None, plan["source"]):
            raise UsageError(
                f"{entry.name}: {source} is mounted at {path}, not {plan['source']}. Unmount it with 'modelfs unmount"
                f" {shlex.quote(path)}', or choose another mountpoint."
            )


def is_mounted(plan: Plan) -> bool:
    """Return whether the plan's repository is mounted at its place, by a mount that is not dead."""
    source: str = plan["source"]
    return _mounted_source(plan) == source


def unmount_all(root: str, *, lazy: bool, tell: Callable[[str, ModelfsError | None], None]) -> None:
    """Unmount everything that is recorded below ``root``, side by side, and ``tell`` of each how it went."""
    with ThreadPoolExecutor(_UNMOUNTS_AT_ONCE) as pool:
        tasks = {pool.submit(mounts.unmount, root, path, lazy=lazy): path for path in mounts.recorded(root)}
        for task in as_completed(tasks):
            error = task.exception()
            if error is not None and not isinstance(error, ModelfsError):
                raise error
            tell(tasks[task], error)


def _mounted_source(plan: Plan) -> str | None:
    """Return what modelfs has mounted at the plan's place; None where there is nothing, or only a dead mount."""
    entry = mounting.mounted_at(plan["mountpoint"])
    if entry is None or entry.fstype != mounting.FSTYPE:
        return None
    folder = runtime.folder_of(plan["runtime_dir"], plan["mountpoint"])
    is_dead = not runtime.is_alive(folder) and mounting.probe(plan["mountpoint"]) == "dead"
    return None if is_dead else entry.source


class _Place(NamedTuple):
    """Where an entry mounts and logs, and what it shows if that is local."""

    name: str
    path: Path
    log_file: str | None
    repository: Path | None


def _place(entry: Entry, plan: Plan) -> _Place:
    parsed = location.parse(entry.url)
    repository = Path(os.path.realpath(parsed.prefix)) if parsed.scheme == "file" else None
    return _Place(entry.name, Path(plan["mountpoint"]), plan["log_file"], repository)


def _refuse_overlap(place: _Place, other: _Place) -> None:
    """Refuse two entries of which one would hide, feed or garble the other."""
    path, name = place.path, place.name
    if path == other.path:
        raise UsageError(f"{other.name} has the same mountpoint {path} as {name}. Give each its own.")
    if path.is_relative_to(other.path):
        raise UsageError(f"{name}: mountpoint {path} lies inside {other.path} of {other.name}. Put them side by side.")
    if other.repository is not None and path.is_relative_to(other.repository):
        raise UsageError(
            f"{name}: mountpoint {path} lies inside the repository of {other.name}. Choose a directory outside of it."
        )
    if other.repository is not None and other.repository.is_relative_to(path):
        raise UsageError(f"{other.name}: the repository lies inside mountpoint {path} of {name}. Name its own URL.")
    if place.log_file is not None and place.log_file == other.log_file:
        raise UsageError(f"{name} and {other.name} have the same log_file. Give each its own, or none.")


def _refuse_shared_endpoint(entries: Sequence[Entry]) -> None:
    """Refuse an endpoint for all when they are of several clouds: one's credentials would go to another's store."""
    clouds: Counter[str] = Counter()
    for entry in entries:
        parsed = location.parse(entry.url)
        takes_it = parsed.scheme in {"s3", "gs", "as"} and parsed.endpoint is None
        if takes_it and entry.config.endpoint_url is not None and "endpoint_url" not in entry.own:
            clouds[f"{parsed.scheme}://"] += 1
    if len(clouds) > 1:
        raise UsageError(
            f"endpoint_url is given for all entries, and they are of several clouds ({', '.join(sorted(clouds))}):"
            " the credentials of one would go to the store of another. Write it in the entries that it is for."
        )


def _refuse_shared_sas(entries: Sequence[Entry]) -> None:
    """Refuse one SAS file for several accounts: a SAS is one account's, and would be shown to the others' servers."""
    accounts = set()
    for entry in entries:
        parsed = location.parse(entry.url)
        if parsed.scheme == "as" and not parsed.sas and entry.config.sas_file and "sas_file" not in entry.own:
            accounts.add((parsed.endpoint, parsed.account))
    if len(accounts) > 1:
        raise UsageError(
            "sas_file is given for all entries, and they are of several Azure accounts, of which a SAS opens one. Write"
            " it in the entries that it is for."
        )
