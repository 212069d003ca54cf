"""``modelfs warm MOUNTPOINT``: the files are read through the mount, and its own worker keeps them.

Law: what is on the disk is what the worker says; nothing here opens its cache.
"""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from modelfs import mounts
from modelfs.errors import UsageError
from modelfs.version_policy import CONFIG_NAME, GUESSED_BYTES_MAX
from modelfs.warming import FAILURES_TOLD, Progress, Warmth, choose, refuse_absent

AT_ONCE = 4
_ROUNDS = 3  # what the worker had no time to keep is read again
_IDLE_S = 11.0
"""After which a worker that nobody reads from holds nothing in memory: what it has there, it does not keep again."""

_READ_BYTES = 1024 * 1024
_ASKED_BYTES = 32 * 1024  # of paths, in one request
_WRITTEN_S, _LOOK_S = 60.0, 0.05


def warm_mount(
    root: str, mountpoint: str, wanted: list[str], progress: Progress, *, all_versions: bool, only_look: bool
) -> Warmth:
    """Have files kept by the mount at ``mountpoint`` (resolved), or look how much of them is.

    ``root`` is where mounts are recorded. Raises UsageError and ControlError.
    """
    folder = mounts.living(root, mountpoint)
    disk = mounts.ask(folder, "status").get("disk")
    if disk is None or disk["trouble"]:
        why = f": {disk['trouble']}" if disk is not None else ""
        raise UsageError(f"the mount at {mountpoint} keeps nothing on a disk{why}. Its log tells more.")
    sizes = {path: (Path(mountpoint) / path).stat().st_size for path in _chosen(mountpoint, wanted, all_versions)}
    lacking = _lacking(folder, sizes)
    fetched_bytes = 0
    failures: list[str] = []
    for round_ in range(0 if only_look else _ROUNDS):
        if not lacking or failures:
            break
        if round_:
            time.sleep(_IDLE_S)
        with progress(sum(sizes[path] for path in lacking)) as on_bytes:
            failures = _read_all(mountpoint, lacking, on_bytes)
        _wait_until_written(folder)
        before, lacking = lacking, _lacking(folder, sizes)
        fetched_bytes += sum(before.values()) - sum(lacking.values())
    if lacking and not failures and not only_look:
        failures.append("the cache has no room for all; raise --cache-size")
    total_bytes = sum(sizes.values())
    return Warmth(len(sizes), total_bytes, total_bytes - sum(lacking.values()), fetched_bytes, failures)


def _chosen(mountpoint: str, wanted: list[str], all_versions: bool) -> list[str]:  # noqa: FBT001  one caller
    files = [
        os.path.relpath(os.path.join(folder, name), mountpoint)  # noqa: PTH118  strings, as os.walk gives them
        for folder, _, names in os.walk(mountpoint)
        for name in names
    ]
    configs = {path.partition("/")[0]: Path(mountpoint) / path for path in files if path.endswith(f"/{CONFIG_NAME}")}
    texts = {}
    for model, path in configs.items():
        if path.parent.name == model and path.stat().st_size <= GUESSED_BYTES_MAX:
            texts[model] = path.read_text("utf-8", "replace")
    chosen, absent = choose(files, wanted, texts, all_versions=all_versions)
    refuse_absent(absent)
    return chosen


def _lacking(folder: str, sizes: dict[str, int]) -> dict[str, int]:
    """Return how many bytes are not on the disk, of each file that lacks some."""
    found = {}
    for paths in _batches(sizes):
        kept = mounts.ask(folder, "kept", timeout_s=30.0, paths=paths)["bytes"]
        found.update({path: sizes[path] - there for path, there in zip(paths, kept, strict=True)})
    return {path: lacking for path, lacking in found.items() if lacking > 0}


def _batches(paths: dict[str, int]) -> Iterator[list[str]]:
    batch: list[str] = []
    length = 0
    for path in paths:
        if batch and length + len(path) > _ASKED_BYTES // 4:  # JSON may take several octets for a letter
            yield batch
            batch, length = [], 0
        batch.append(path)
        length += len(path) + 4
    if batch:
        yield batch


def _read_all(mountpoint: str, paths: dict[str, int], on_bytes: Callable[[int], None]) -> list[str]:
    """Read whole files, some at a time, past what the kernel has of them; return why some could not be."""

    def read(path: str) -> str:
        try:
            descriptor = os.open(Path(mountpoint) / path, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                while got := os.read(descriptor, _READ_BYTES):
                    on_bytes(len(got))
            finally:
                os.close(descriptor)
        except OSError as error:
            return f"{path}: {error.strerror}"
        return ""

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [said for said in pool.map(read, paths) if said][:FAILURES_TOLD]


def _wait_until_written(folder: str) -> None:
    deadline = time.monotonic() + _WRITTEN_S
    while mounts.ask(folder, "status")["disk"]["waiting_bytes"] and time.monotonic() < deadline:
        time.sleep(_LOOK_S)
