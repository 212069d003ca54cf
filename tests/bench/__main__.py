"""``python -m bench [ROW...]``: measures the rows, prints a table for each, and tells whether the bars hold.

Exit status: 0 when every bar holds, 1 when one is missed, 2 when something cannot be measured or a byte was wrong.
"""

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from bench import mounts, rows_disk, rows_limits, rows_read, rows_scale, rows_tree, rows_triton, sources, table
from bench.bench import MIB, SHORT, Bench, Scale
from bench.children import MeasureError
from bench.store import LINKS, Store

ROWS: dict[str, Callable[[Bench], table.Measured]] = {
    **rows_read.ROWS,
    **rows_disk.ROWS,
    **rows_tree.ROWS,
    **rows_scale.ROWS,
    **rows_limits.ROWS,
    **rows_triton.ROWS,
}
REPOSITORY = Path(__file__).resolve().parents[2]


def main() -> int:
    """Measure what is asked for."""
    told = _arguments()
    unknown = [name for name in told.rows if name not in ROWS]
    if unknown:
        print(f"bench: there is no row {unknown[0]!r}; the rows are: {', '.join(ROWS)}", file=sys.stderr)
        return 2
    peers = [name for name in told.peers.split(",") if name]
    measured: list[table.Measured] = []
    interrupted = False
    try:
        for name in peers:
            mounts.known_peer(name)
        _measure(told, peers, measured)
    except MeasureError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        interrupted = True  # what was measured until here is told
    if told.json:
        print(json.dumps({"machine": _machine(), "rows": [table.as_json(each) for each in measured]}, indent=2))
    missed = [f"{each.row}: {found.what}" for each in measured for found in each.findings if found.holds is False]
    for line in missed:
        print(f"bench: bar missed: {line}", file=sys.stderr)
    troubles = [each for each in measured if each.trouble]
    for row in troubles:
        print(f"bench: not measured: {row.row}: {row.trouble}", file=sys.stderr)
    return 130 if interrupted else 2 if troubles else 1 if missed else 0


def _measure(told: argparse.Namespace, peers: list[str], measured: list[table.Measured]) -> None:
    """Measure row by row, adding each to ``measured`` and telling it at once: on standard error beside JSON."""
    shown = sys.stderr if told.json else sys.stdout
    with ExitStack() as stack:
        store = stack.enter_context(Store())
        folder = stack.enter_context(sources.folder_in_memory())
        disk = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="modelfs-bench-disk-", dir=told.disk)))
        scale = SHORT if told.short else Scale()
        bench = Bench(
            store=store,
            folder=folder,
            disk=disk,
            triton=Path(told.triton_cache),
            scale=scale,
            rounds=told.rounds or (3 if told.short else 5),
            peers=peers,
            options=told.options.split(),
            link_name=told.link,
        )
        store.shape(bench.link)
        print(f"{_machine()}; the store by {told.link}", file=shown)
        for name in told.rows or ROWS:
            bench.say(f"{name}: {(ROWS[name].__doc__ or '').splitlines()[0]}")
            try:
                found = ROWS[name](bench)
            except MeasureError as error:
                # a row whose daemon dies is a result too, and the others are still to come
                found = table.Measured(name, (ROWS[name].__doc__ or "").splitlines()[0], {}, (), str(error))
                store.shape(bench.link)
            measured.append(found)
            print(table.text_of(found), file=shown, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/bench/run.sh", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"all unless named: {', '.join(ROWS)}")
    parser.add_argument("--rounds", type=int, default=0, help="paired rounds; 5, or 3 in the short mode")
    parser.add_argument("--short", action="store_true", help="less data: shows that it runs, in minutes")
    parser.add_argument(
        "--link", choices=LINKS, default="loopback", help="the way to the store, where no row says more"
    )
    parser.add_argument("--peers", default="", help=f"comma-separated, of {', '.join([*mounts.PEERS, 'triton'])}")
    parser.add_argument("--json", action="store_true", help="print JSON, with every sample")
    parser.add_argument("--options", default="", help="more options for 'modelfs mount', in one word: '--memory 512M'")
    parser.add_argument("--disk", default=tempfile.gettempdir(), help="a folder on a disk, for the local copies")
    parser.add_argument("--triton-cache", default=str(REPOSITORY / ".cache"), help="where tritonserver is, or is put")
    return parser.parse_args()


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // MIB
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores, {memory} MiB, kernel {platform.release()}, Python {platform.python_version()}"


if __name__ == "__main__":
    for ends in (signal.SIGINT, signal.SIGTERM):  # a shell starts what is in the background with SIGINT ignored
        signal.signal(ends, signal.default_int_handler)
    sys.exit(main())
