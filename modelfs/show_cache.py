"""What ``modelfs cache`` and ``modelfs warm`` print: tables and a bar for people, JSON for programs.

Law: as ``show``.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from modelfs.show import print_json, printable

if TYPE_CHECKING:  # SQLite and trio come with them
    from modelfs.disk_inventory import Share, Space, Thrown, Verified
    from modelfs.warming import Warmth

_WIDE = 1000
_LINE_S = 5.0
_UNITS = (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


def shares(found: "Sequence[Share]", *, as_json: bool) -> None:
    """Print what is kept of each model and version."""
    if as_json:
        print_json([asdict(each) for each in found])
        return
    if not found:
        sys.stdout.write("nothing is kept\n")
        return
    table = Table(box=None, pad_edge=False)
    for heading, justify in (("REPOSITORY", "left"), ("MODEL", "left"), ("VERSION", "right"), ("KEPT", "right")):
        table.add_column(heading, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for heading in ("OF", "USED", ""):
        table.add_column(heading, justify="right" if heading == "OF" else "left", overflow="fold")
    for each in found:
        words = " ".join(word for word, holds in (("pinned", each.is_pinned), ("gone", each.gone)) if holds)
        names = (each.source, each.model, each.version)
        table.add_row(*map(printable, names), size(each.kept_bytes), size(each.bytes), _ago(each.used_s), words)
    Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else _WIDE).print(table)


def space(found: "Space | None", *, as_json: bool) -> None:
    """Print how much there is, and may be."""
    if as_json:
        print_json(None if found is None else asdict(found))
        return
    if found is None:
        sys.stdout.write("nothing is kept\n")
        return
    lines = {
        "folder": printable(found.path),
        "kept": f"{size(found.used_bytes)} of at most {size(found.quota_bytes)}",
        "disk": f"{size(found.free_bytes)} of {size(found.disk_bytes)} are free; {size(found.kept_free_bytes)} stay so",
        "objects": f"{found.objects} in {found.chunks} files",
        "pinned": ", ".join(map(printable, found.pins)) or "nothing",
    }
    for name, text in lines.items():
        sys.stdout.write(f"{name:<8} {text}\n")


def pinned(name: str, objects: int, *, is_on: bool, as_json: bool) -> None:
    """Print that something is pinned, or is not any more."""
    if as_json:
        print_json({"name": name, "is_pinned": is_on, "objects": objects})
        return
    state = "is pinned" if is_on else "is not pinned any more"
    sys.stdout.write(f"{printable(name)} {state}; objects that are kept of it: {objects}\n")


def thrown(done: "Thrown", *, as_json: bool) -> None:
    """Print what was thrown away."""
    if as_json:
        print_json(asdict(done))
        return
    stays = f"; {done.in_use} files are in use, and stay" if done.in_use else ""
    sys.stdout.write(f"{size(done.bytes)} thrown away, in {done.chunks} files{stays}\n")


def verified(done: "Verified", *, as_json: bool) -> None:
    """Print what was damaged, and how much was looked at."""
    if as_json:
        print_json(asdict(done))
        return
    for each in done.damaged:
        sys.stdout.write(f"damaged: {printable(each)}\n")
    sys.stdout.write(f"{size(done.bytes)} in {done.chunks} files verified; damaged: {len(done.damaged)}\n")


def warmth(done: "Warmth", *, as_json: bool) -> None:
    """Print how much of what was asked for is there."""
    if as_json:
        print_json(asdict(done))
        return
    for each in done.failures:
        sys.stderr.write(f"modelfs: {printable(each)}\n")
    fetched = f", of which {size(done.fetched_bytes)} were fetched now" if done.fetched_bytes else ""
    there = f"{size(done.kept_bytes)} of {size(done.bytes)}"
    sys.stdout.write(f"{done.files} files: {there} are on the disk{fetched}\n")


@contextmanager
def progress(what: str, total_bytes: int) -> Iterator[Callable[[int], None]]:
    """Show how a work of so many bytes goes on: a bar where somebody sees it, else a line once in a while.

    What is yielded takes how many bytes more are done.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(what, total_bytes)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, redirect_stdout=False, redirect_stderr=False
    ) as bar:
        task = bar.add_task(what, total=total_bytes)
        yield lambda done_bytes: bar.advance(task, done_bytes)


class _Lines:
    """Writes a line every few seconds."""

    def __init__(self, what: str, total_bytes: int) -> None:
        self._what = what
        self._total_bytes = total_bytes
        self._done_bytes = 0
        self._began_s = self._told_s = time.monotonic()

    def __call__(self, done_bytes: int) -> None:
        self._done_bytes += done_bytes
        now_s = time.monotonic()
        if now_s < self._told_s + _LINE_S:
            return
        self._told_s = now_s
        rate = self._done_bytes / max(now_s - self._began_s, 1e-9)
        left_s = max(0, self._total_bytes - self._done_bytes) / rate if rate else 0.0
        done = f"{size(self._done_bytes)} of {size(self._total_bytes)}"
        sys.stderr.write(f"{self._what}: {done}, {size(int(rate))}/s, {left_s:.0f} s left\n")


def size(of_bytes: int) -> str:
    """Return a number of bytes for people.

    >>> size(1_234_567_890), size(999), size(0)
    ('1.23 GB', '999 B', '0 B')
    """
    for unit, factor in _UNITS:
        if of_bytes >= factor:
            return f"{of_bytes / factor:.3g} {unit}" if of_bytes < 1000 * factor else f"{of_bytes / factor:.0f} {unit}"
    return f"{of_bytes} B"


def _ago(used_s: float) -> str:
    past_s = max(0.0, time.time() - used_s)
    for unit, factor in (("d", 86400), ("h", 3600), ("min", 60)):
        if past_s >= factor:
            return f"{past_s / factor:.0f} {unit} ago"
    return "just now"
