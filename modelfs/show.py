"""What the command line prints: tables for people, JSON for programs.

Law: nothing is decided here. JSON goes to standard output alone, remarks to standard error.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:  # trio and a store's library come with a tree, and status must not load them
    from modelfs.bench import Figure
    from modelfs.findings import Finding
    from modelfs.held_back import Held
    from modelfs.refreshing import Refreshed
    from modelfs.sealing import Report
    from modelfs.tree import Tree
    from modelfs.trial import Line
from modelfs.mounts import Mount

_OMISSIONS_SHOWN = 5
_WIDE = 1000  # where nobody looks, a row is a line, for grep


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show that something is going on, where somebody can see it."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(what):
        yield


@contextmanager
def mounting(sources: Mapping[str, str]) -> Iterator[Callable[[str, Callable[[], None]], None]]:
    """Show a line for each mount that is under way, where somebody can see it. ``sources`` are by mount point.

    What is yielded takes a mount point whose line ends, and what prints how it went.
    """
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    # without the redirection, which would send standard output to the console of standard error
    progress = Progress(
        *columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False,
        disable=not console.is_terminal,
    )  # fmt: skip
    tasks = {
        path: progress.add_task(f"mounting {printable(source)} at {printable(path)}")
        for path, source in sources.items()
    }

    def end(path: str, tell: Callable[[], None]) -> None:
        progress.remove_task(tasks[path])
        progress.stop()  # takes its lines away, so that nothing is printed between them
        tell()
        progress.start()

    with progress:
        yield end


def mounts(found: Sequence[Mount], *, as_json: bool) -> None:
    """Print mounts."""
    if as_json:
        print_json([asdict(mount) for mount in found])
        return
    if not found:
        sys.stdout.write("nothing is mounted\n")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("MOUNTPOINT", "SOURCE", "SINCE", "STATE"):
        table.add_column(heading, overflow="fold")
    for mount in found:
        since = _time(mount.since_s) if mount.since_s is not None else ""
        # any user may have made a mount point, of any name
        table.add_row(printable(mount.mountpoint), printable(mount.source), since, printable(_words(mount)))
    width = None if sys.stdout.isatty() else _WIDE
    Console(markup=False, highlight=False, width=width).print(table)


def tree(shown: "Tree", *, recursive: bool, long: bool, as_json: bool) -> None:
    """Print what a mount would show: folders with a slash behind, sorted by path."""
    rows = list(_walk(shown, recursive=recursive))
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            size = "" if row["size"] is None else row["size"]
            facts = f"{size:>14} {_time(row['mtime_ns'] // 10**9)} " if long else ""
            sys.stdout.write(f"{facts}{printable(row['path'])}\n")
    for omission in shown.omissions[:_OMISSIONS_SHOWN]:
        sys.stderr.write(f"modelfs: not shown: {printable(omission.key)}: {omission.reason}\n")
    if len(shown.omissions) > _OMISSIONS_SHOWN:
        sys.stderr.write(f"modelfs: {len(shown.omissions) - _OMISSIONS_SHOWN} more keys are not shown\n")


def check(lines: "Sequence[Line]", *, as_json: bool) -> None:
    """Print what a check found: a tick, a cross or a question mark, then the sentence."""
    if as_json:
        print_json([asdict(line) for line in lines])
        return
    marks = {"good": "\u2713", "bad": "\u2717", "doubtful": "?", "known": " "}
    if (sys.stdout.encoding or "").lower().replace("-", "") != "utf8":
        marks |= {"good": "+", "bad": "x"}
    for line in lines:
        sys.stdout.write(f"{marks[line.verdict]} {line.topic:<12} {printable(' '.join(line.text.split()))}\n")


def findings(found: "Sequence[Finding]", *, as_json: bool) -> None:
    """Print what is wrong with a repository, a line each: what, and behind a semicolon what to do."""
    if as_json:
        print_json([asdict(each) for each in found])
        return
    for each in found:
        text = f"{each.path or '/'}: {each.what}; {each.advice}"
        sys.stdout.write(f"{each.severity:<7} {printable(text)}\n")


def sealed(report: "Report", *, as_json: bool) -> None:
    """Print what was found, and then how each version came out."""
    if as_json:
        print_json(asdict(report))
        return
    findings(report.findings, as_json=False)
    for outcome in report.outcomes:
        size = f" ({outcome.files} files, {outcome.bytes} bytes)" if outcome.state != "refused" else ""
        words = {"sealed": "is sealed", "was sealed": "is sealed already", "refused": "is not sealed"}[outcome.state]
        sys.stdout.write(f"{printable(outcome.version)} {words}{size}\n")


def refreshed(mountpoint: str, done: "Refreshed | None", *, as_json: bool) -> None:
    """Print what a refresh changed, or that it was asked for where nobody waits."""
    if as_json:
        print_json({"mountpoint": mountpoint, "listed": done is not None, **(asdict(done) if done else {})})
        return
    if done is None:
        sys.stdout.write(f"{printable(mountpoint)} will be listed now\n")
        return
    sys.stdout.write(f"{printable(mountpoint)} is listed; paths that changed: {done.changes or 'none'}\n")
    for path in done.changed:
        sys.stdout.write(f"{printable(path)}\n")
    for each in done.pending:
        sys.stdout.write(f"{printable(each['folder'])} is not shown as it is stored: {printable(each['reason'])}\n")


def held_back(found: "Sequence[Held]", *, as_json: bool) -> None:
    """Print what a mount does not show as it is stored, and why."""
    if as_json:
        print_json([asdict(each) for each in found])
        return
    if not found:
        sys.stdout.write("all is shown as it is stored\n")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("FOLDER", "SHOWN NOW", "WHY NOT AS IT IS STORED"):
        table.add_column(heading, overflow="fold")
    for each in found:
        shown = "as it was before" if each.is_shown else "no"
        table.add_row(printable(each.folder), shown, printable(each.reason))
    Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else _WIDE).print(table)


def figures(found: "Sequence[Figure]", *, as_json: bool) -> None:
    """Print what a benchmark found: a table."""
    if as_json:
        print_json([asdict(figure) for figure in found])
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    for justify in ("left", "right", "left", "left"):
        table.add_column(justify=justify, overflow="fold")
    for figure in found:
        value = "-" if figure.value is None else f"{figure.value:,.{0 if figure.value >= 100 else 2}f}"  # noqa: PLR2004
        table.add_row(figure.what, value, figure.unit, printable(" ".join(figure.remark.split())))
    Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else _WIDE).print(table)


def _walk(shown: "Tree", *, recursive: bool) -> Iterator[dict[str, Any]]:
    from modelfs.tree import Directory  # noqa: PLC0415  see above

    waiting_nodes = [("", shown.root)]
    rows = []
    while waiting_nodes:
        prefix, directory = waiting_nodes.pop()
        for name, node in directory.children.items():
            is_folder = isinstance(node, Directory)
            path = f"{prefix}{name}/" if is_folder else f"{prefix}{name}"
            size = None if isinstance(node, Directory) else node.info.size
            rows.append({"path": path, "size": size, "mtime_ns": node.mtime_ns})
            if isinstance(node, Directory) and recursive:
                waiting_nodes.append((path, node))
    yield from sorted(rows, key=lambda row: str(row["path"]))


def _words(mount: Mount) -> str:
    words = f"{mount.state}: {mount.reason}" if mount.reason else mount.state
    if trouble := (mount.details.get("disk") or {}).get("trouble"):
        words += f"; its disk cache is not used: {trouble}"
    if mount.restarts:
        times = "once" if mount.restarts == 1 else f"{mount.restarts} times"
        words += f" (worker restarted {times}, last {_time(mount.restarted_at_s)} after {mount.restart_reason})"
    return f"{words} (log: {mount.log})" if mount.log and mount.state in {"crashed", "unhealthy"} else words


def _time(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (ValueError, OverflowError, OSError):  # a file of this machine may have any date
        return f"@{seconds:.0f}"


def printable(text: str) -> str:
    """Return ``text`` on one line and without escape sequences: a key may hold anything."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def print_json(value: object) -> None:
    """Print what JSON can hold."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")
