"""podman with a storage of its own, for tests: nothing of it meets the containers and images that a user has.

Law: whoever holds a Podman holds its lock, so one session at a time uses the storage. What a crash left there is
removed at the next start, and a storage that cannot be used is made anew. It lies in the cache folder, as a base image
and a compiled pyfuse3 take a minute.
"""

import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from modelfs.mounting import mount_table

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache/containers"
PATIENCE_S = 120.0  # bounds a hang; nothing here measures time
_LOCK_S = 600.0  # as long as another session may take for building and testing
_CONFIGURATION = Path(__file__).with_name("containers.conf")
_STATE = Path("/run/modelfs-container-tests")  # podman wants its run-time state where a reboot removes it


def why_not() -> str | None:
    """Return what this machine lacks for container tests; None when it can run them."""
    if os.geteuid() != 0:
        return "containers with mounts need root"
    if not Path("/dev/fuse").exists():
        return "there is no /dev/fuse"
    if not any(entry.fstype.startswith("cgroup") for entry in mount_table()):
        return "no cgroup file system is mounted, which runc needs"
    missing = [name for name in ("podman", "runc", "debootstrap") if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


@dataclass(frozen=True, slots=True)
class Podman:
    """Runs podman's commands on the tests' own storage."""

    def __call__(
        self, *arguments: str, check: bool = True, timeout_s: float = PATIENCE_S
    ) -> subprocess.CompletedProcess[str]:
        """Run ``podman ARGUMENTS``, and fail with its own words unless ``check`` is off."""
        done = subprocess.run(
            ["podman", *_places(), *arguments],
            env={**os.environ, "CONTAINERS_CONF": str(_CONFIGURATION)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert not check or done.returncode == 0, f"podman {arguments}: {done.stdout[-4000:]}{done.stderr[-4000:]}"
        return done

    def run(self, image: str, *command: str, options: Sequence[str] = ()) -> "Container":
        """Start a container in the background."""
        return Container(self, self("run", "--detach", "--pull=never", *options, image, *command).stdout.strip())


@dataclass(frozen=True, slots=True)
class Container:
    """A container that was started."""

    podman: Podman
    name: str

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run ``command`` in it."""
        return self.podman("exec", self.name, *command, check=False)

    def signal(self, name: str) -> int:
        """Send a signal to PID 1, wait for the end, and return the exit status."""
        self.podman("kill", f"--signal={name}", self.name)
        return self.wait()

    def wait(self) -> int:
        """Wait for the end and return the exit status."""
        return int(self.podman("wait", self.name).stdout)

    def is_running(self) -> bool:
        """Tell whether PID 1 lives."""
        return self.podman("inspect", "--format={{.State.Running}}", self.name).stdout.strip() == "true"

    def said(self) -> str:
        """Return what it wrote."""
        done = self.podman("logs", self.name)
        return done.stdout + done.stderr

    def remove(self) -> None:
        """Kill and remove it."""
        self.podman("rm", "--force", "--time=0", self.name)


@contextmanager
def own_podman() -> Iterator[Podman]:
    """Hold the storage, without containers before and after, and without a mount or process after."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        _wait_for(lock.fileno())
        podman = Podman()
        try:
            if podman("rm", "--all", "--force", "--time=0", check=False).returncode != 0:
                shutil.rmtree(CACHE / "storage")  # broken, or made where this checkout lay before
            yield podman
        finally:
            podman("rm", "--all", "--force", "--time=0", check=False)
            subprocess.run(["umount", "--lazy", CACHE / "storage/overlay"], capture_output=True, check=False)
            shutil.rmtree(_STATE, ignore_errors=True)


def _places() -> list[str]:
    return [f"--root={CACHE / 'storage'}", f"--runroot={_STATE / 'run'}", f"--tmpdir={_STATE / 'tmp'}"]


def _wait_for(descriptor: int) -> None:
    deadline = time.monotonic() + _LOCK_S
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            assert time.monotonic() < deadline, "another session holds the container storage"
            time.sleep(0.2)
