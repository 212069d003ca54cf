"""Models that are listed when somebody looks into them, on real mounts."""

import os
from pathlib import Path

import pytest
from faultserver import FaultServer
from mount.mounting_for_tests import mounted, wait_until

MODELS = 40


@pytest.fixture
def filled(store: FaultServer) -> FaultServer:
    """Fill the store with 40 models of 60 files: three pages."""
    for model in range(MODELS):
        for number in range(60):
            store.put("models", f"repository/m{model:02d}/1/{number}", b"x" * model)
    return store


def test_where_there_are_too_many_a_model_is_listed_when_it_is_looked_into_and_again_while_it_is_used(
    filled: FaultServer, url: str, tmp_path: Path
) -> None:
    with mounted(url, tmp_path, "--refresh", "1", "--list-limit", "1000") as mount:
        details = mount.status()["details"]
        assert (details["folders_not_listed"], details["files"]) == (MODELS, 0)
        assert len(os.listdir(mount.path)) == MODELS
        assert sorted(map(int, os.listdir(mount.path / "m07/1"))) == list(range(60))
        assert (mount.path / "m11/1/5").read_bytes() == b"x" * 11
        details = mount.status()["details"]
        assert (details["folders_not_listed"], details["files"]) == (MODELS - 2, 120)
        filled.clear_log()  # the first listing was begun as a whole
        filled.put("models", "repository/m07/2/new", b"new")
        filled.put("models", "repository/new/1/x", b"new")
        wait_until(lambda: (mount.path / "m07/2/new").exists() and (mount.path / "new/1/x").exists())
        assert {request.query.get("prefix") for request in filled.requests(kind="list")} <= {
            "repository/",
            *(f"repository/{model}/" for model in ("m07", "m11", "new")),
        }


def test_what_cannot_be_listed_model_by_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "source/m/1").mkdir(parents=True)
    (tmp_path / "source/m/1/x").write_bytes(b"x")
    with mounted(str(tmp_path / "source"), tmp_path, "--list", "on-open") as mount:  # a folder can
        assert (mount.path / "m/1/x").read_bytes() == b"x"
    done = mount.command(
        *("mount", "http://127.0.0.1:9/models", str(mount.path), "--engine", "fsspec", "--allow-unpinned"),
        *("--list", "on-open"),
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "cannot be listed model by model" in done.stderr


def test_what_was_looked_into_is_there_offline_and_what_never_was_fails_at_once(
    store: FaultServer, url: str, tmp_path: Path
) -> None:
    for model in ("used", "unused"):
        store.put("models", f"repository/{model}/1/x", model.encode(), mtime_ns=10**18)
    disk = {"MODELFS_CACHE_DIR": str(tmp_path / "cache"), "MODELFS_CACHE_SIZE": "64M"}
    with mounted(url, tmp_path, "--list", "on-open", **disk) as mount:
        assert (mount.path / "used/1/x").read_bytes() == b"used"
        wait_until(lambda: mount.figures()["disk"]["stored_bytes"])
    store.clear_log()
    with mounted(url, tmp_path, "--list", "on-open", "--offline", **disk) as mount:
        assert set(os.listdir(mount.path)) == {"used", "unused"}
        assert (mount.path / "used/1/x").read_bytes() == b"used"
        with pytest.raises(OSError, match="Input/output error"):
            os.listdir(mount.path / "unused")
    assert not store.requests()
