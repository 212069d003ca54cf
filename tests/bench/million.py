"""``python -m bench.million SHAPE FILES FOLDER``: a view of a repository of so many files, listed again and again.

Law: no network and no kernel: what is measured is what a listing costs behind its last byte. A task beside the refresh
wakes every 5 ms, as the thread that answers the kernel does: how late it wakes is how long a stat would have waited.
Prints JSON: one entry for each step.
"""

import json
import sys
import time
from collections.abc import Awaitable, Callable
from itertools import islice
from pathlib import Path

import trio

from modelfs import collector
from modelfs.blocks import ObjectInfo
from modelfs.remembered import Memory
from modelfs.store import Page, RetryPolicy
from modelfs.tree import Directory
from modelfs.view import View

SHAPES = ("models", "flat")
_PAGE = 1000
_WAKE_S = 0.005
_SETTLE_S = 2.0


class _Store:
    """Tells FILES objects, a thousand a page: a thousand models of three versions, or one folder."""

    def __init__(self, shape: str, files: int) -> None:
        self._is_flat = shape == "flat"
        self._files = files
        self.changed = -1

    def key(self, number: int) -> str:
        """Return the name of an object."""
        if self._is_flat:
            return f"flat/1/part-{number:07d}.bin"
        each = max(1, self._files // 1000)
        model, rest = divmod(number, each)
        return f"model_{model:04d}/{rest % 3 + 1}/{'model.onnx' if rest < 3 else f'file_{rest:04d}.bin'}"

    def list_page(self, token: str | None, folder: str = "") -> Page:
        """Make the objects of a page anew, as a parser does."""
        del folder
        first = int(token or 0)
        stop = min(first + _PAGE, self._files)
        objects = [
            ObjectInfo(
                self.key(number),
                1000 + number,
                f'"{number:032x}-{1 + (number == self.changed)}"',
                10**18 + number * 10**6,
            )
            for number in range(first, stop)
        ]
        return Page(objects, str(stop) if stop < self._files else None)

    def read(self, info: ObjectInfo, offset: int, length: int) -> memoryview:
        """Have nothing to read: no config is there."""
        raise NotImplementedError


class _Watch:
    """How late a task wakes that sleeps for 5 ms again and again."""

    def __init__(self) -> None:
        self.worst_s = 0.0
        self._last_s = time.perf_counter()

    async def run(self) -> None:
        """Watch, for ever."""
        while True:
            await trio.sleep(_WAKE_S)
            now_s = time.perf_counter()
            self.worst_s = max(self.worst_s, now_s - self._last_s - _WAKE_S)
            self._last_s = now_s

    def reset(self) -> None:
        """Begin anew."""
        self.worst_s, self._last_s = 0.0, time.perf_counter()


async def measure(shape: str, files: int, folder: Path) -> list[dict[str, object]]:
    """Return the steps, with what each took."""
    collector.tame()
    store = _Store(shape, files)
    view = View(
        store,
        policy=RetryPolicy(10),
        limiter=trio.CapacityLimiter(2),
        show_hidden=False,
        settle_s=_SETTLE_S,
        memory=Memory(str(folder), repository=shape, mountpoint="/"),
    )
    watch = _Watch()
    steps: list[dict[str, object]] = []
    empty = _resident_bytes()

    async def step(what: str, work: Callable[[], Awaitable[object]]) -> None:
        watch.reset()
        began_s, cpu_s = time.perf_counter(), time.process_time()
        await work()
        took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
        await trio.sleep(4 * _WAKE_S)
        resident = _resident_bytes()
        steps.append(
            {
                "what": what,
                "seconds": took_s,
                "cpu_s": cpu_s,
                "late_ms": watch.worst_s * 1e3,
                "resident_bytes": resident,
                "bytes_each": (resident - empty) / files,
            }
        )

    async def look_up() -> None:
        paths = [store.key(number) for number in range(0, files, max(1, files // 1000))]
        assert all(view.tree.find(path) is not None for path in paths)
        await trio.lowlevel.checkpoint()

    async def list_largest() -> None:
        folder = view.tree.find("flat/1" if shape == "flat" else "")
        assert isinstance(folder, Directory)
        assert len(list(islice(folder.entries(), 500))) == min(500, len(folder.children))
        await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.run)
        await step("first listing", view.refresh)
        assert view.tree.files == files, (view.tree.files, view.pending[:3])
        await step("500 entries of the largest folder", list_largest)
        await step("1,000 lookups", look_up)
        await step("listing without a change", view.refresh)
        store.changed = files // 2 - files // 2 % 3000
        await step("listing with one change", view.refresh)
        await trio.sleep(_SETTLE_S)
        await step("listing that shows the change", view.refresh)
        await step("500 entries of the largest folder, again", list_largest)
        nursery.cancel_scope.cancel()
    return steps


def _resident_bytes() -> int:
    return next(
        int(line.split()[1]) * 1024
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmRSS:")
    )


def main() -> None:
    """Measure, and print."""
    shape, files, folder = sys.argv[1:]
    print(json.dumps(trio.run(measure, shape, int(files), Path(folder))))


if __name__ == "__main__":
    main()
