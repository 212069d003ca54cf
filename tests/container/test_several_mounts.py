"""Several repositories in one container, with the documented privileges: PID 1 is the parent of all supervisors."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from container.pod import Pod, digests_of, least_privileges
from container.podman import Container
from mount.mounting_for_tests import is_mounted, wait_until


@pytest.fixture
def places(pod: Pod) -> Iterator[list[Path]]:
    """Return two mount points, as the host sees them."""
    places = [pod.models / name for name in "ab"]
    for place in places:
        place.mkdir()
    yield places
    for place in places:
        if is_mounted(place):
            subprocess.run(["umount", "--lazy", place], check=True)
        place.rmdir()


def start(pod: Pod, folder: Path, repository: Path, places: list[Path]) -> Container:
    config = "".join(
        f'[[mounts]]\nurl = "{repository}"\nmountpoint = "/mnt/models/{place.name}"\n\n' for place in places
    )
    (folder / "config.toml").write_text(config)
    options = [*least_privileges(), f"--volume={folder}:/etc/modelfs:ro", f"--volume={repository}:{repository}:ro"]
    options += [f"--volume={pod.volume}:/mnt:rshared", "--env=MODELFS_SETTLE=0"]  # the files are no models
    started = pod.podman.run(pod.image, "mount", "--all", options=options)
    wait_until(lambda: all(is_mounted(place) for place in places) or not started.is_running())
    return started


def test_one_container_serves_several_repositories_and_unmounts_them(
    pod: Pod, places: list[Path], repository: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    sidecar = start(pod, folder, repository, places)
    consumer = pod.consumer()
    for place in places:
        listed = consumer.execute("sh", "-c", f"cd /mnt/models/{place.name} && find . -type f -exec sha256sum {{}} +")
        found = (line.split("  ./", 1) for line in listed.stdout.splitlines())
        assert {path: digest for digest, path in found} == digests_of(repository), sidecar.said()
    status = sidecar.execute("modelfs", "status")
    assert (status.returncode, status.stdout.count("healthy")) == (0, 2)
    assert sidecar.signal("TERM") == 0
    assert not any(is_mounted(place) for place in places)
    assert "WARNING" not in sidecar.said()
