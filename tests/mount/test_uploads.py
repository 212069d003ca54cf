"""R11 on a real mount: a settled version waits for an upload below it, where the store lets us look."""

from pathlib import Path

import pytest
from faultserver import DialectName, Fault, FaultServer, Status
from mount.mounting_for_tests import Mount, mounted, wait_until

CONFIG = b'backend: "onnxruntime"'
OPTIONS = ("--refresh", "1", "--settle", "1", "--look", "0")
DATA = "repository/m/2/model.onnx.data"


def put(store: FaultServer, name: str, data: bytes) -> None:
    store.put("models", f"repository/{name}", data)


def pending(mount: Mount) -> str:
    done = mount.command("ls", "--pending", str(mount.path))
    assert done.returncode == 0, done.stderr
    return done.stdout


def place(server: FaultServer, dialect: DialectName) -> str:
    if dialect == "s3":
        return f"s3://127.0.0.1:{server.port}/models/repository"
    return f"as://127.0.0.1:{server.port}/account/models/repository"


@pytest.mark.parametrize("dialect", ["s3", "azure"])
def test_r11_a_version_waits_for_the_upload_below_it_says_so_and_shows_whole(
    dialect: DialectName, tmp_path: Path
) -> None:
    with FaultServer(dialect) as store:
        for name, data in (("m/config.pbtxt", CONFIG), ("m/1/model.onnx", b"one")):
            store.put("models", f"repository/{name}", data, mtime_ns=10**18)
        with mounted(place(store, dialect), tmp_path, *OPTIONS) as mount:
            upload = store.begin_upload("models", DATA)
            put(store, "m/2/model.onnx", b"two")
            wait_until(lambda: "the upload of model.onnx.data that began at" in pending(mount))
            asked = len(store.requests(kind="uploads"))
            wait_until(lambda: len(store.requests(kind="uploads")) > asked + 1)  # more refreshes, and it waits still
            assert not (mount.path / "m" / "2").exists()
            store.end_upload("models", DATA, upload, b"data")
            wait_until((mount.path / "m" / "2").exists)
            assert {path.name: path.read_bytes() for path in (mount.path / "m" / "2").iterdir()} == {
                "model.onnx": b"two",
                "model.onnx.data": b"data",
            }
            assert "upload" not in pending(mount)


def test_r11_an_old_version_waits_for_the_upload_that_a_mount_finds_below_it(
    store: FaultServer, url: str, tmp_path: Path
) -> None:
    for name in ("m/config.pbtxt", "m/2/model.onnx"):
        store.put("models", f"repository/{name}", CONFIG, mtime_ns=10**18)
    upload = store.begin_upload("models", DATA)
    store.begin_upload("models", "repository/n/1/abandoned", begun_ns=10**18)
    store.put("models", "repository/n/1/model.onnx", b"n", mtime_ns=10**18)
    with mounted(url, tmp_path, *OPTIONS) as mount:
        assert [path.name for path in mount.path.iterdir()] == ["n"]
        store.end_upload("models", DATA, upload, None)
        wait_until((mount.path / "m" / "2" / "model.onnx").exists)


def test_a_store_that_refuses_is_asked_once_and_what_has_settled_shows(
    store: FaultServer, url: str, tmp_path: Path
) -> None:
    store.fail(Fault(Status(403), kind="uploads"))
    log = tmp_path / "log"
    with mounted(url, tmp_path, *OPTIONS, "--log-file", str(log)) as mount:
        for version in ("1", "2"):
            store.begin_upload("models", f"repository/m/{version}/model.onnx.data")
            put(store, f"m/{version}/model.onnx", b"o")
            wait_until((mount.path / "m" / version).exists)
        assert len(store.requests(kind="uploads")) == 1
    assert log.read_text().count("are not looked for any more") == 1


def test_r22_a_repository_in_which_nothing_settles_costs_no_look_at_uploads(
    store: FaultServer, url: str, tmp_path: Path
) -> None:
    for number in range(20):
        store.put("models", f"repository/m{number}/1/model.onnx", b"m", mtime_ns=10**18)
    with mounted(url, tmp_path, *OPTIONS) as mount:
        assert len(store.requests(kind="uploads")) == 1
        store.clear_log()
        wait_until(lambda: len(store.requests(kind="list")) >= 3)
        assert store.requests(kind="uploads") == []
        put(store, "m1/2/model.onnx", b"two")
        wait_until((mount.path / "m1" / "2").exists)
        assert len(store.requests(kind="uploads")) == 1
