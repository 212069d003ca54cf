"""modelfs on the host, its reader in a container, as docs/containers.md has it for Triton's own ``docker run`` line."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from container.images import BASE
from container.pod import Pod, digests_in, digests_of
from container.podman import Container
from mount.mounting_for_tests import Mount, environment


@pytest.fixture
def host(pod: Pod, tmp_path: Path) -> Iterator[Mount]:
    """Return a mount to be, in the pod's volume."""
    mount = Mount(pod.models, environment(tmp_path / "run"))
    yield mount
    mount.command("unmount", "--lazy", str(pod.models))


def mount_at_host(host: Mount, repository: Path) -> None:
    done = host.command("mount", str(repository), str(host.path))
    assert done.returncode == 0, done.stderr


def reader_of_the_mount_itself(pod: Pod) -> Container:
    """Start a container as ``docker run -v /mnt/models:/models`` does."""
    options = ["--network=none", f"--volume={pod.models}:/mnt/models"]
    return pod.podman.run(BASE, "sleep", "infinity", options=options)


def test_container_started_after_the_mount_reads_every_byte_and_one_before_it_nothing(
    pod: Pod, host: Mount, repository: Path
) -> None:
    early = reader_of_the_mount_itself(pod)
    mount_at_host(host, repository)
    assert digests_in(reader_of_the_mount_itself(pod)) == digests_of(repository)
    assert digests_in(early) == {}


def test_only_a_container_with_the_folder_above_sees_the_next_mount(pod: Pod, host: Mount, repository: Path) -> None:
    above = pod.consumer()
    mount_at_host(host, repository)
    itself = reader_of_the_mount_itself(pod)
    assert host.command("unmount", str(pod.models)).returncode == 0
    mount_at_host(host, repository)
    assert digests_in(above) == digests_of(repository)
    assert "Transport endpoint is not connected" in itself.execute("ls", "/mnt/models").stderr
