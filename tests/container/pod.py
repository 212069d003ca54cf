"""A volume with a sidecar that mounts into it and consumers that read, as the containers of a pod do.

The volume is at /mnt in every container, the mount at /mnt/models: a subdirectory, as on the volume's root a mount
never comes back for a consumer that is running.
"""

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from container.images import BASE
from container.podman import ROOT, Container, Podman
from mount.mounting_for_tests import is_mounted, wait_until

DOCUMENT = ROOT / "docs/containers.md"
PRIVILEGED = ("--privileged", "--network=none")


def least_privileges() -> tuple[str, ...]:
    """Return what the documented ``docker run`` of modelfs grants and takes away, for podman."""
    command = re.search(r"^docker run [^`]*?^ +modelfs mount", DOCUMENT.read_text(), re.MULTILINE)
    assert command is not None
    about = ("--cap", "--device", "--security", "--read-only", "--tmpfs", "--volume=/sys")
    found = [word for word in shlex.split(command.group()) if word.startswith(about)]
    # podman alone would make /run and /tmp writable; no volume outlives a test
    return (*found, "--tmpfs=/var/lib/modelfs", "--read-only-tmpfs=false", "--network=none")


@dataclass(frozen=True, slots=True)
class Pod:
    """The containers around one shared volume."""

    podman: Podman
    image: str
    volume: Path

    @property
    def models(self) -> Path:
        """Where the host sees the mount."""
        return self.volume / "models"

    def sidecar(self, url: str, *flags: str, options: Sequence[str] = PRIVILEGED) -> Container:
        """Start modelfs and wait until its mount answers on the host. A folder's URL is its path on the host."""
        folder = [f"--volume={url}:{url}:ro"] if url.startswith("/") else []
        shared = f"--volume={self.volume}:/mnt:rshared"
        at_once = ("--settle", "0")  # the files of these tests are no models
        arguments = ("mount", url, "/mnt/models", *at_once, *flags)
        started = self.podman.run(self.image, *arguments, options=[*options, *folder, shared])
        wait_until(lambda: self.answers() or not started.is_running())
        assert self.answers(), started.said()
        return started

    def consumer(self, *, options: Sequence[str] = ()) -> Container:
        """Start a container that knows nothing of modelfs and sees the volume as Triton does."""
        shared = f"--volume={self.volume}:/mnt:rslave,ro"
        # as PID 1 sleep ignores SIGTERM; it is removed by force
        return self.podman.run(BASE, "sleep", "infinity", options=["--network=none", shared, *options])

    def answers(self) -> bool:
        """Tell whether there is a mount that answers."""
        try:
            return is_mounted(self.models) and bool(os.listdir(self.models))
        except OSError:
            return False


def digests_in(consumer: Container) -> dict[str, str]:
    """Return the SHA-256 of every file below the mount, by path, as the consumer reads them."""
    done = consumer.execute("sh", "-c", "cd /mnt/models && find . -type f -exec sha256sum {} +")
    assert done.returncode == 0, done.stderr
    found = (line.split("  ./", 1) for line in done.stdout.splitlines())
    return {path: digest for digest, path in found}


def digests_of(folder: Path) -> dict[str, str]:
    """Return the same of a folder on the host."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest() for path in files}
