"""What tests of takeovers share: the worker of a mount, its end, and readers that must see nothing of that."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mount.mounting_for_tests import PATIENCE_S, Mount, wait_until
from supervised import children, has_ended

HERE = Path(__file__).parent


def workers(supervisor: int) -> list[int]:
    """Return the pids of a supervisor's workers that live."""
    found = []
    for pid in children(supervisor):
        try:
            is_worker = b"modelfs.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if is_worker and not has_ended(pid):
            found.append(pid)
    return found


def kill_worker(supervisor: int, number: signal.Signals = signal.SIGKILL) -> int:
    """Send a signal to the only worker that lives, and return its pid when it does no more."""
    wait_until(lambda: len(workers(supervisor)) == 1)
    (pid,) = workers(supervisor)
    os.kill(pid, number)
    wait_until(lambda: number == signal.SIGSTOP or pid not in workers(supervisor))
    return pid


def wait_until_served(mount: Mount, *, restarts: int) -> None:
    """Wait until the worker after so many restarts serves."""

    def serves() -> bool:
        found = mount.status()
        return found["restarts"] >= restarts and found["state"] in {"healthy", "unhealthy"} and bool(found["details"])

    wait_until(serves)


class Readers:
    """Processes that read ``path`` for as long as the context lasts, and compare with ``source``."""

    def __init__(self, path: Path, source: Path, root: Path, count: int, how: str) -> None:
        self._processes = [
            subprocess.Popen(
                [sys.executable, HERE / "keep_reading.py", path, source, root, str(seed), how],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for seed in range(count)
        ]

    def come_round(self, times: int = 2) -> None:
        """Wait until each of their threads has come round so often; then nothing waits that waited before."""
        goals = [rounds + times for rounds in self._rounds()]
        wait_until(lambda: all(rounds >= goal for rounds, goal in zip(self._rounds(), goals, strict=True)))

    def _rounds(self) -> list[int]:
        found = []
        for process in self._processes:
            assert process.stdin
            assert process.stdout
            try:
                process.stdin.write("\n")
                process.stdin.flush()
                found.append(int(process.stdout.readline()))
            except (BrokenPipeError, ValueError):
                _, said = process.communicate(timeout=PATIENCE_S)
                raise AssertionError(f"a reader ended with status {process.returncode}: {said}") from None
        return found

    def end(self) -> None:
        """End them, and see that nothing was wrong."""
        for process in self._processes:
            _, said = process.communicate(timeout=PATIENCE_S)
            assert process.returncode == 0, said

    def kill(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate(timeout=PATIENCE_S)


@contextmanager
def reading(path: Path, source: Path, root: Path, *, count: int = 2, how: str = "walk") -> Iterator[Readers]:
    """Have ``count`` processes read, and see in the end that none of them met anything but right bytes and names."""
    readers = Readers(path, source, root, count, how)
    try:
        yield readers
        readers.end()
    finally:
        readers.kill()


def all_gone(pids: Sequence[int]) -> bool:
    """Tell whether nothing is left of these processes, not even a thread in the kernel."""
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)
