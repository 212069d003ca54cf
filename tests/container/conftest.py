"""Fixtures for tests that run modelfs as a container, beside one that reads its mount."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from container import images, podman
from container.pod import Pod
from faultserver import write_stamped
from mount.mounting_for_tests import is_mounted

MODEL_BYTES = {"empty": 0, "one": 1, "page-": 4095, "page": 4096, "page+": 4097, "block-": 131071, "large": 20_000_001}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs containers, and skip it with the reason where there can be none."""
    here = Path(__file__).parent
    reason = podman.why_not()
    for item in items:
        if here in item.path.parents and "engine" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.container)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def engine() -> Iterator[podman.Podman]:
    with podman.own_podman() as found:
        yield found


@pytest.fixture(scope="session")
def image(engine: podman.Podman) -> str:
    """Return the name of the image, built from the working tree."""
    images.make_base(engine)
    return images.build(engine)


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that is a repository of one model with files of awkward sizes."""
    folder = tmp_path_factory.mktemp("repository")
    version = folder / "model/1"
    version.mkdir(parents=True)
    for name, size in MODEL_BYTES.items():
        write_stamped(version / name, f"model/1/{name}", "v1", size)
    return folder


@pytest.fixture
def pod(engine: podman.Podman, image: str, tmp_path: Path) -> Iterator[Pod]:
    """Return a volume that sidecars and consumers share; afterwards all of them are gone, and every mount in it."""
    volume = tmp_path / "volume"
    (volume / "models").mkdir(parents=True)
    subprocess.run(["mount", "--bind", volume, volume], check=True)
    subprocess.run(["mount", "--make-rshared", volume], check=True)
    try:
        yield Pod(engine, image, volume)
    finally:
        engine("rm", "--all", "--force", "--time=0")
        for place in [volume / "models"] * 8 + [volume]:
            if is_mounted(place):
                subprocess.run(["umount", "--lazy", place], check=True)
        assert os.listdir(volume) == ["models"]
