"""Runtime folders: who holds them, and who may not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelfs import runtime
from modelfs.runtime import RuntimeFolder, RuntimeFolderError


def claim(root: Path, mountpoint: str = "/mnt/models") -> RuntimeFolder:
    return RuntimeFolder.claim(str(root), mountpoint)


def test_folder_is_alive_while_it_is_held(tmp_path: Path) -> None:
    folder = claim(tmp_path / "run")
    assert runtime.is_alive(folder.path)
    folder.release(keep_log=False)
    assert not runtime.is_alive(folder.path)
    assert not (tmp_path / "run").exists()


def test_folder_of_a_killed_process_is_not_alive_and_can_be_claimed(tmp_path: Path) -> None:
    code = f"import os; from modelfs.runtime import *; RuntimeFolder.claim({str(tmp_path)!r}, '/m').describe({{}})"
    subprocess.run([sys.executable, "-c", code + "; os._exit(0)"], check=True)
    (folder,) = runtime.folders(str(tmp_path))
    assert not runtime.is_alive(folder)
    Path(runtime.control_socket(folder)).touch()
    Path(runtime.log_path(folder)).write_text("why it crashed")
    claimed = claim(tmp_path, "/m")
    assert claimed.path == folder
    assert not Path(runtime.control_socket(folder)).exists()
    assert Path(runtime.log_path(folder)).read_text() == "why it crashed"
    claimed.release(keep_log=False)


def test_second_claim_of_a_mount_point_is_busy(tmp_path: Path) -> None:
    first = claim(tmp_path)
    with pytest.raises(RuntimeFolderError, match="busy"):
        claim(tmp_path)
    other = claim(tmp_path, "/mnt/other")
    other.release(keep_log=False)
    assert runtime.is_alive(first.path)
    first.release(keep_log=False)


def test_description_is_read_back_and_garbage_is_nothing(tmp_path: Path) -> None:
    folder = claim(tmp_path)
    folder.describe({"pid": 7})
    assert runtime.description(folder.path) == {"pid": 7}
    (Path(folder.path) / "mount.json").write_text("[")
    assert runtime.description(folder.path) == {}
    folder.release(keep_log=False)
    assert runtime.description(folder.path) == {}


def test_kept_folder_is_forgotten_only_when_dead(tmp_path: Path) -> None:
    folder = claim(tmp_path)
    runtime.forget(folder.path)
    assert Path(folder.path).exists()
    folder.release(keep_log=True)
    assert Path(folder.path).exists()
    runtime.forget(folder.path)
    assert not Path(folder.path).exists()


@pytest.mark.parametrize("mode", [0o777, 0o775])
def test_root_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    root = tmp_path / "run"
    root.mkdir()
    root.chmod(mode)
    with pytest.raises(RuntimeFolderError, match="only this user can write"):
        claim(root)


def test_link_in_place_of_the_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(RuntimeFolderError, match="only this user can write"):
        claim(tmp_path / "link")


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder to another user")
def test_root_of_another_user_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "run"
    root.mkdir(mode=0o700)
    os.chown(root, 65534, 65534)
    with pytest.raises(RuntimeFolderError, match="only this user can write"):
        claim(root)


def test_root_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RuntimeFolderError, match="cannot be made"):
        claim(tmp_path / "file" / "run")
    with pytest.raises(RuntimeFolderError, match="too long a path for a socket"):
        claim(tmp_path / ("x" * 100))


def test_root_follows_user_and_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert runtime.runtime_root("/chosen") == "/chosen"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert runtime.runtime_root(None) == "/run/modelfs"
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert runtime.runtime_root(None) == f"{tmp_path}/modelfs"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "gone"))
    assert runtime.runtime_root(None) == "/tmp/modelfs-1234"  # noqa: S108  checked before use
