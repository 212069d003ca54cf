"""Real mounts for tests, made by the command line as a user makes them.

Law: what a test mounts is unmounted and its processes are ended, whatever the test does.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelfs.mounting import mounted_at

MODELFS = (sys.executable, "-m", "modelfs")
ACCESS_KEY, SECRET_KEY = "test-key", "test-secret"
PATIENCE_S = 60.0  # bounds a hang; nothing here measures time


def environment(runtime_dir: Path, **more: str) -> dict[str, str]:
    """Return an environment in which nothing of this machine's own settings reaches modelfs."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MODELFS_", "NOTIFY_SOCKET"))
    }
    keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    own = {"MODELFS_RUNTIME_DIR": str(runtime_dir), "MODELFS_STATE_DIR": str(runtime_dir.parent / "state")}
    # what is put shows at once, and nothing is kept on a disk, where no test asks else
    return {**kept, **keys, **own, "MODELFS_SETTLE": "0", "MODELFS_CACHE_SIZE": "0", **more}


@dataclass(frozen=True, slots=True)
class Mount:
    """A living mount: where it is, and the environment to talk to it with."""

    path: Path
    env: Mapping[str, str]

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``modelfs ARGUMENTS``."""
        return subprocess.run(
            [*MODELFS, *arguments], env=self.env, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )

    def status(self) -> dict[str, Any]:
        """Return what ``modelfs status --json`` says of this mount."""
        mounts: list[dict[str, Any]] = json.loads(self.command("status", str(self.path), "--json").stdout)
        return mounts[0]

    def figures(self) -> dict[str, Any]:
        """Return what the worker itself tells over its socket."""
        (path,) = Path(self.env["MODELFS_RUNTIME_DIR"]).glob("*/control.sock")
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE_S)
            sock.connect(str(path))
            sock.sendall(b'{"command": "status"}\n')
            with sock.makefile("rb") as answer:
                found: dict[str, Any] = json.loads(answer.readline())
        return found

    def engine(self) -> str:
        """Return who fetches the bytes: what the worker has loaded tells it."""
        mapped = "".join(Path(f"/proc/{pid}/maps").read_text() for pid in self.processes())
        drivers = [name for name, library in (("obstore", "/obstore/"), ("fsspec", "/aiohttp/")) if library in mapped]
        return " and ".join(drivers)

    def processes(self) -> list[int]:
        """Return the pids of this mount's supervisor and worker."""
        return processes_with_environment("MODELFS_RUNTIME_DIR", self.env["MODELFS_RUNTIME_DIR"])


@contextmanager
def mounted(url: str, folder: Path, *options: str, **more_environment: str) -> Iterator[Mount]:
    """Mount ``url`` below ``folder`` (a test's own) and unmount it in the end."""
    path = folder / "models"
    path.mkdir(exist_ok=True)
    mount = Mount(path, environment(folder / "run", **more_environment))
    done = mount.command("mount", url, str(path), *options)
    assert done.returncode == 0, done.stderr
    try:
        yield mount
    finally:
        if os.path.ismount(path):
            mount.command("unmount", "--lazy", str(path))
        wait_until(lambda: not mount.processes())


def is_mounted(path: Path) -> bool:
    """Tell whether something is mounted at exactly ``path``, without touching it."""
    return mounted_at(str(path)) is not None


def processes_with_environment(name: str, value: str) -> list[int]:
    """Return the pids of living processes, but ours, that were started with this variable."""
    wanted = f"{name}={value}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                if wanted in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
            except OSError:
                continue  # it has just ended
    return found


def wait_until(condition: Callable[[], object], *, within_s: float = PATIENCE_S) -> None:
    """Wait for ``condition``, and fail the test when it does not come about."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
