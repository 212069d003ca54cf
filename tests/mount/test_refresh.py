"""``modelfs refresh``: a mount lists when it is asked to, and who waits finds what there is then."""

import json
import subprocess
from pathlib import Path

import pytest
from faultserver import Fault, FaultServer, Stall, Status
from mount.mounting_for_tests import MODELFS, PATIENCE_S, mounted, wait_until
from mount.takeovers import kill_worker

SELDOM = ("--refresh", "3600")


def test_r14_who_waits_for_a_refresh_finds_what_was_stored_before(store: FaultServer, url: str, tmp_path: Path) -> None:
    store.put("models", "repository/m/1/model.onnx", b"one")
    with mounted(url, tmp_path, *SELDOM) as mount:
        for version in (2, 3):
            store.put("models", f"repository/m/{version}/model.onnx", b"new")
            store.put("models", f"repository/n/{version}/model.onnx", b"new")
            store.clear_log()
            done = mount.command("refresh", str(mount.path), "m", "--wait", "--json")
            assert done.returncode == 0, done.stderr
            assert [request.query["prefix"] for request in store.requests()] == ["repository/m/"]
            assert json.loads(done.stdout) == {
                "mountpoint": str(mount.path),
                "listed": True,
                "changed": [f"m/{version}"],
                "changes": 1,
                "pending": [],
            }
            assert (mount.path / "m" / str(version) / "model.onnx").read_bytes() == b"new"
        done = mount.command("refresh", str(mount.path), "--wait")
        assert done.stdout == f"{mount.path} is listed; paths that changed: 1\nn\n"
        done = mount.command("refresh", str(mount.path), "--wait")
        assert done.stdout == f"{mount.path} is listed; paths that changed: none\n"
        for model in ((), ("m",)):
            done = mount.command("refresh", str(mount.path), *model)
            assert (done.returncode, done.stdout) == (0, f"{mount.path} will be listed now\n")
        done = mount.command("refresh", str(mount.path), "m/1")
        assert (done.returncode, done.stdout) == (2, "")
        assert "'m/1' is no name that a model can have" in done.stderr
        done = mount.command("refresh", str(mount.path), "absent", "--wait")
        assert (done.returncode, done.stdout) == (1, "")
        assert "has no model 'absent'" in done.stderr


def test_r14_a_sealed_version_is_there_after_a_refresh_and_another_is_told_to_wait(
    store: FaultServer, url: str, tmp_path: Path
) -> None:
    store.put("models", "repository/m/1/model.onnx", b"one", mtime_ns=10**18)
    with mounted(url, tmp_path, *SELDOM, "--settle", "600") as mount:
        for version in (2, 3):
            store.put("models", f"repository/m/{version}/model.onnx", b"new")
        assert mount.command("seal", f"{url}/m/2").returncode == 0
        done = mount.command("refresh", str(mount.path), "m", "--wait")
        assert done.returncode == 0, done.stderr
        head, changed, waiting = done.stdout.splitlines()
        assert head == f"{mount.path} is listed; paths that changed: 1"
        assert changed == "m/2"
        assert waiting.startswith("m/3 is not shown as it is stored: ")
        assert {path.name for path in (mount.path / "m").iterdir()} == {"1", "2"}
        assert mount.command("seal", f"{url}/m").returncode == 0
        assert mount.command("refresh", str(mount.path), "--wait").returncode == 0
        assert {path.name for path in (mount.path / "m").iterdir()} == {"1", "2", "3"}


def test_seal_of_a_mount_is_refused_and_sends_people_to_the_store(store: FaultServer, url: str, tmp_path: Path) -> None:
    store.put("models", "repository/m/1/model.onnx", b"one")
    with mounted(url, tmp_path, *SELDOM) as mount:
        done = mount.command("seal", str(mount.path / "m/1"))
        assert done.returncode == 2
        assert "Read-only file system; write where the folder comes from" in done.stderr
        assert mount.command("seal", f"{url}/m/1").stdout == "m/1 is sealed (1 files, 3 bytes)\n"
        assert mount.command("refresh", str(mount.path), "--wait").returncode == 0
        assert [path.name for path in (mount.path / "m/1").iterdir()] == ["model.onnx"]  # R16: nothing of ours


def test_refresh_that_fails_says_why_and_the_mount_shows_what_it_had(
    store: FaultServer, url: str, tmp_path: Path
) -> None:
    store.put("models", "repository/m/1/model.onnx", b"one")
    with mounted(url, tmp_path, *SELDOM) as mount:
        refusing = store.fail(Fault(Status(403), kind="list"))
        done = mount.command("refresh", str(mount.path), "--wait")
        assert (done.returncode, done.stdout) == (1, "")
        assert f"{mount.path} shows what it showed before" in done.stderr
        assert "s3:ListBucket" in done.stderr
        assert (mount.path / "m/1/model.onnx").read_bytes() == b"one"
        store.heal(refusing)
        store.fail(Fault(Status(503), kind="list"))
        done = mount.command("refresh", str(mount.path), "--wait", "--timeout", "1")
        assert done.returncode == 1
        assert "is not listed within 1 s" in done.stderr


@pytest.mark.parametrize("model", [(), ("m",)], ids=["all", "one model"])
def test_who_waits_for_a_refresh_goes_on_waiting_when_the_worker_is_killed(
    store: FaultServer, url: str, tmp_path: Path, model: tuple[str, ...]
) -> None:
    store.put("models", "repository/m/1/model.onnx", b"one")
    with mounted(url, tmp_path, *SELDOM) as mount:
        store.put("models", "repository/m/2/model.onnx", b"two")
        hangs = store.fail(Fault(Stall(), kind="list"))
        waiting = subprocess.Popen(
            [*MODELFS, "refresh", str(mount.path), *model, "--wait"], env=dict(mount.env), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        wait_until(lambda: hangs.hits)
        kill_worker(mount.status()["pid"])
        store.heal(hangs)
        said, complaint = waiting.communicate(timeout=PATIENCE_S)
        assert (waiting.returncode, complaint) == (0, "")
        assert "is listed" in said
        assert (mount.path / "m/2/model.onnx").read_bytes() == b"two"


def test_a_mount_that_asks_nobody_says_so_at_once_and_no_lookup_waits(
    store: FaultServer, url: str, tmp_path: Path
) -> None:
    store.put("models", "repository/m/1/model.onnx", b"one")
    disk = {"MODELFS_CACHE_DIR": str(tmp_path / "cache"), "MODELFS_CACHE_SIZE": "64M"}
    with mounted(url, tmp_path, *SELDOM, **disk):
        pass
    store.clear_log()
    with mounted(url, tmp_path, "--offline", **disk) as mount:
        for arguments in ((), ("m",), ("--wait",), ("m", "--wait")):
            done = mount.command("refresh", str(mount.path), *arguments)
            assert (done.returncode, done.stdout) == (1, "")
            assert "the mount is --offline, so nothing is listed" in done.stderr
        assert (mount.path / "m").is_dir()
        assert not (mount.path / "absent").exists()
        log = Path(mount.status()["log"]).read_text()
        assert "is looked at" not in log
        assert "cannot be looked at" not in log
    assert not store.requests()
