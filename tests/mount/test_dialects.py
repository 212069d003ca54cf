"""One repository, told by each cloud in its own way, is one tree: whatever the order and the folders of a listing."""

import os
from pathlib import Path

import pytest
from faultserver import DialectName, FaultServer
from mount.mounting_for_tests import mounted

PARTS = 2100
FILES = {
    **{f"many/1/part-{number:04d}": 1 for number in range(PARTS)},
    "odd/1/a b+c=d@e%20f&g<h>é😀": 5,
    "odd/1/(x)[y]{z}#?;,'\"!": 5,
    "twin/1/x": 3,
    "ensemble/config.pbtxt": 4,
}
"""What a mount must show, and the sizes."""


def fill(server: FaultServer, dialect: DialectName) -> None:
    for key, size in FILES.items():
        server.put("models", f"repository/{key}", bytes(size))
    server.put("models", "repository/ensemble/1/", b"")  # a folder object, and nothing in it
    server.put("models", "repository-2/other/1/x", b"beside")
    if dialect == "azure, hierarchical":
        # every folder is there as a directory, and none is a file as well
        for folder in ("", "many/", "many/1/", "odd/", "odd/1/", "twin/", "twin/1/", "ensemble/"):
            server.put("models", f"repository/{folder}", b"")
    else:
        server.put("models", "repository/twin", b"")  # a file beside twin/1/x, as some tools mark folders


def place(server: FaultServer, dialect: DialectName) -> tuple[str, dict[str, str]]:
    if dialect == "s3":
        return f"s3://127.0.0.1:{server.port}/models/repository", {}
    if dialect == "gcs":
        return "gs://models/repository", {"STORAGE_EMULATOR_HOST": server.url}
    return f"as://127.0.0.1:{server.port}/account/models/repository", {}


@pytest.mark.parametrize("unsorted", [False, True], ids=["sorted", "unsorted"])
@pytest.mark.parametrize("dialect", ["s3", "gcs", "azure", "azure, hierarchical"])
def test_every_dialect_is_the_same_tree_of_three_pages(
    dialect: DialectName,
    unsorted: bool,  # noqa: FBT001  parametrized
    tmp_path: Path,
) -> None:
    with FaultServer(dialect, unsorted=unsorted) as server:
        fill(server, dialect)
        url, environment = place(server, dialect)
        with mounted(url, tmp_path, "--refresh", "600", **environment) as mount:
            found = {
                os.path.relpath(Path(folder) / name, mount.path): (Path(folder) / name).stat().st_size
                for folder, _, names in os.walk(mount.path)
                for name in names
            }
            folders = {os.path.relpath(folder, mount.path) for folder, _, _ in os.walk(mount.path)}
            odd = mount.path / "odd/1"
            assert {len((odd / name).read_bytes()) for name in os.listdir(odd)} == {5}
        assert found == FILES
        assert folders == {".", "many", "many/1", "odd", "odd/1", "twin", "twin/1", "ensemble", "ensemble/1"}
        assert {request.page for request in server.requests(kind="list")} == {1, 2, 3}
