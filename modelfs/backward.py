"""Readers that go towards the beginning of a file.

Law: pure. Each read that leads no stream forward may go on with one that goes back: it ends where that one has come to,
or what lies between was given to the page cache and so read unseen.

Why: a C library copies out of a mapping from the end to the beginning where source and target lie alike within their
pages, and nothing that the caller does decides it: of 16 tensors that safetensors copied one came backward. The kernel
reads ahead of nobody who goes back, so each half megabyte cost a round trip: 13 MB/s at 30 ms, and 5.6 s for a GiB that
was there in 1.9 s forward.
"""

from dataclasses import dataclass

STEPS_LEAST = 3
"""So many reads, each right before the one ahead of it, go back. The kernel swaps two requests of a forward reader."""

RUNS_MAX = 16
"""Runs remembered for each inode: as many as streams."""


@dataclass(slots=True)
class _Run:
    tail: int  # the beginning of the last read
    used: int  # when it was last fed, in reads
    steps: int = 0
    run_bytes: int = 0  # what was read in sequence


class Backward:
    """The backward runs of one inode."""

    def __init__(self) -> None:
        self._runs: list[_Run] = []
        self._reads = 0

    def on_read(self, offset: int, stop: int, *, near_bytes: int, unseen_bytes: int) -> int:
        """Take note of a read of ``[offset, stop)``; return how much was read in sequence if it goes back, else 0.

        ``near_bytes`` is how far from its run it may end, and ``unseen_bytes`` how much right behind it may have been
        read unseen.

        >>> backward = Backward()
        >>> [backward.on_read(at, at + 10, near_bytes=2, unseen_bytes=0) for at in (90, 80, 70, 60, 50, 90)]
        [0, 0, 0, 30, 40, 0]
        """
        self._reads += 1
        run = self._ended_by(offset, stop, near_bytes, unseen_bytes)
        if run is None:
            self._begin(offset)
            return 0
        run.steps += 1
        run.run_bytes += min(run.tail - offset, stop - offset + unseen_bytes)
        run.tail = offset
        run.used = self._reads
        return run.run_bytes if run.steps >= STEPS_LEAST else 0

    def _ended_by(self, offset: int, stop: int, near_bytes: int, unseen_bytes: int) -> _Run | None:
        near = [
            run
            for run in self._runs
            if offset < run.tail and -near_bytes <= run.tail - stop <= max(near_bytes, unseen_bytes)
        ]
        return min(near, key=lambda run: abs(run.tail - stop), default=None)

    def _begin(self, tail: int) -> None:
        if len(self._runs) == RUNS_MAX:
            self._runs.remove(min(self._runs, key=lambda run: run.used))
        self._runs.append(_Run(tail, self._reads))
