"""Kill the worker of a real mount again and again, under readers and mappings.

    python tests/soak/kill_workers.py [KILLS]

As root, from the project's folder; 200 kills take about 20 minutes. It ends with what was seen, or at the first
wrong byte, name, time or errno. tests/mount/test_takeover.py has three of these kills.

Each third worker lives long enough for the next ones to be started without a pause (``modelfs.lives``); in between,
files are replaced and the page cache is dropped. Kills come when each reader has come round, or at any moment.
"""

import os
import random
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from faultserver import FaultServer, Keys, Stamped, write_stamped  # noqa: E402  the path comes first
from mount.mounting_for_tests import ACCESS_KEY, SECRET_KEY, Mount, mounted  # noqa: E402  the path comes first
from mount.takeovers import all_gone, kill_worker, reading  # noqa: E402  the path comes first

from modelfs import lives  # noqa: E402  the path comes first

MIB = 1 << 20
READERS = 3
SEED = 6


def first_answer_s(mount: Mount) -> float:
    """Return how long a statfs takes, which no cache answers."""
    began_s = time.monotonic()
    os.statvfs(mount.path)
    return time.monotonic() - began_s


def soak(kills: int, folder: Path) -> None:
    """Kill so often, and print what was seen."""
    chance = random.Random(SEED)
    source = folder / "source"
    write_stamped(source, "x", "v1", 200 * MIB + 77)
    waits_s: list[float] = []
    killed: list[int] = []
    with FaultServer(keys=Keys(ACCESS_KEY, SECRET_KEY)) as store:
        store.create_bucket("models")
        store.put("models", "repository/m/1/x", source)
        url = f"s3://127.0.0.1:{store.port}/models/repository"
        with mounted(url, folder, "--memory", "64M", "--refresh", "2") as mount:
            supervisor = mount.status()["pid"]
            with reading(mount.path / "m" / "1" / "x", source, mount.path / "m", count=READERS) as readers:
                for number in range(1, kills + 1):
                    readers.come_round()
                    if number % 3 == 0:
                        time.sleep(lives.SHORT_S)
                        Path("/proc/sys/vm/drop_caches").write_text("1\n", encoding="ascii")
                    else:
                        time.sleep(chance.uniform(0, 1))
                    store.put("models", f"repository/n{number % 7}/1/x", Stamped("n", str(number), MIB))
                    how = chance.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT))
                    killed.append(kill_worker(supervisor, how))
                    waits_s.append(first_answer_s(mount))
                    print(f"{number} of {kills}: {how.name}, answered after {waits_s[-1]:.2f} s", flush=True)
                readers.come_round()
            found = mount.status()
    assert found["restarts"] == kills, found
    assert all_gone(killed), "a killed worker is still there"
    waits_s.sort()
    print(
        f"{kills} kills under {4 * READERS} readers and mappings: nothing wrong; the first answer after"
        f" {statistics.median(waits_s):.2f} s (median), {waits_s[-1 - len(waits_s) // 20]:.2f} s (95 of 100),"
        f" {waits_s[-1]:.2f} s (longest)"
    )


def main() -> None:
    """Run it in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="modelfs-soak-") as folder:
        soak(int(sys.argv[1]) if len(sys.argv) > 1 else 200, Path(folder))


if __name__ == "__main__":
    main()
