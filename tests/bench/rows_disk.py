"""Rows on the cache on disk: what it costs a cold read, and what a restart has of it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench.bench import Bench, Mounter, local
from bench.children import Job, MeasureError, drop_cached
from bench.mounts import Mounted
from bench.rows_read import Jobs, checked, shares
from bench.table import Finding, Measured, median_of, rate_ratio

FILLS_MOST = 5
"""What the disk is too slow to keep is shed, and fetched and kept in a later round."""


def disk_cold(bench: Bench) -> Measured:
    """Read cold, one reader, with an empty cache on the disk and without one."""
    source = bench.big_file()
    size = source.stat().st_size

    with cache_folder(bench) as folder:

        @contextmanager
        def keeping() -> Iterator[Mounted]:
            # removed with the rest at the end: what ext4 has just freed is slow to be had again, for a minute or more
            empty = tempfile.mkdtemp(dir=folder)
            with kept_in(bench, empty, "big", size=size)() as mounted:
                yield mounted

        mounters: dict[str, Mounter] = {"modelfs": bench.modelfs("big"), "modelfs, cache on disk": keeping}
        rounds = bench.take_turns(
            {
                name: bench.cold(name, mounter, shares(size, 1), check=checked(source))
                for name, mounter in mounters.items()
            }
        )
    finding = Finding("with the cache to without", rate_ratio(rounds, "modelfs, cache on disk", "modelfs"), "x", 0.85)
    return Measured(
        "disk-cold", f"one reader, cold, {bench.link_name}, beside an empty cache on disk", rounds, [finding]
    )


def disk_restart(bench: Bench) -> Measured:
    """Read again after a remount, with an empty page cache, beside the cache's own files read as they are."""
    source = bench.big_file()
    size = source.stat().st_size
    with cache_folder(bench) as folder:
        kept = kept_in(bench, folder, "big", size=size)
        fill(bench, kept, shares(size, 1))
        drop = partial(drop_cached, Path(folder))

        @contextmanager
        def restarted() -> Iterator[Mounted]:
            drop()
            with kept() as mounted:
                yield mounted

        subjects = {
            "the cache's files": local("the cache's files", [Job("whole_files", {"root": folder})], before=drop),
            "modelfs": bench.cold("modelfs", restarted, shares(size, 1), check=checked(source)),
        }
        rounds = bench.take_turns(subjects)
    fetched = median_of(rounds["modelfs"], lambda each: (each.fetched_bytes or 0) / size)
    findings = [
        Finding("modelfs to the cache's files", rate_ratio(rounds, "modelfs", "the cache's files"), "x", 0.85),
        Finding("fetched, of each byte read", fetched or 0.0, "", 0.0, "at most"),
    ]
    return Measured("disk-restart", "one reader, after a remount, from the cache on disk", rounds, findings)


@contextmanager
def cache_folder(bench: Bench) -> Iterator[str]:
    """Yield an empty folder on the disk."""
    with tempfile.TemporaryDirectory(prefix="modelfs-bench-cache-", dir=bench.disk) as folder:
        yield folder


def kept_in(bench: Bench, folder: str, prefix: str, *, size: int) -> Mounter:
    """Return what mounts modelfs on a prefix, with a cache in ``folder`` that holds ``size`` bytes with ease."""
    return bench.modelfs(prefix, "--cache-dir", folder, "--cache-size", str(4 * size))


def fill(bench: Bench, mounter: Mounter, jobs: Jobs) -> None:
    """Read by ``jobs`` until all of it comes from the disk."""
    for _ in range(FILLS_MOST):
        with mounter() as mounted:
            if not bench.measured(mounted, jobs(mounted.path)).fetched_bytes:
                return
    raise MeasureError(f"the disk did not keep all of it in {FILLS_MOST} rounds")


ROWS = {"disk-cold": disk_cold, "disk-restart": disk_restart}
