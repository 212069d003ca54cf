"""R11 on real mounts: what is uploaded slowly, in any order, shows at once and whole; and times outlive the mount."""

import json
import os
import time
from pathlib import Path

import pytest
from faultserver import Fault, FaultServer, Status
from mount.mounting_for_tests import Mount, mounted, wait_until

SETTLE_S = 3
OPTIONS = ("--refresh", "1", "--settle", str(SETTLE_S))
PYTHON = b'backend: "python"\n'
LONG_AGO_NS = 1_700_000_000 * 10**9


def _put(store: FaultServer, name: str, data: bytes, *, mtime_ns: int | None = None) -> None:
    store.put("models", f"repository/{name}", data, mtime_ns=mtime_ns)


def _seen(mount: Mount) -> dict[str, bytes]:
    """Return all that is shown, by path, with its bytes."""
    return {str(path.relative_to(mount.path)): path.read_bytes() for path in mount.path.rglob("*") if not path.is_dir()}


def _folders(mount: Mount) -> set[str]:
    return {str(path.relative_to(mount.path)) for path in mount.path.rglob("*") if path.is_dir()}


def _times(mount: Mount) -> dict[str, int]:
    return {str(path.relative_to(mount.path)): path.stat().st_mtime_ns for path in [mount.path, *mount.path.rglob("*")]}


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (3, 1, 0, 2, 4)], ids=["config first", "config late"])
def test_r11_five_parts_uploaded_slowly_with_model_py_last_show_at_once(
    store: FaultServer, url: str, tmp_path: Path, order: tuple[int, ...]
) -> None:
    parts = [("m/config.pbtxt", PYTHON), ("m/1/a", b"a"), ("m/1/b", b"b"), ("m/labels", b"l"), ("m/1/model.py", b"p")]
    with mounted(url, tmp_path, *OPTIONS) as mount:
        for number in order:
            _put(store, *parts[number])
            until = (
                time.monotonic() + 1.5 * SETTLE_S * (number % 2) + 0.5
            )  # pauses shorter and longer than the settling
            while time.monotonic() < until:
                assert _folders(mount) == set()
                time.sleep(0.05)
        wait_until(lambda: _folders(mount))
        assert _seen(mount) == dict(parts)


def test_r11_a_replaced_version_is_shown_as_it_was_until_all_of_it_is_there(
    store: FaultServer, url: str, tmp_path: Path
) -> None:
    for name, data in (("m/config.pbtxt", PYTHON), ("m/1/model.py", b"old"), ("m/1/weights", b"old")):
        _put(store, name, data, mtime_ns=LONG_AGO_NS)
    with mounted(url, tmp_path, *OPTIONS) as mount:
        before = _times(mount)
        assert len(_seen(mount)) == 3  # and now in the page cache
        _put(store, "m/1/weights", b"new")
        time.sleep(SETTLE_S / 2)
        _put(store, "m/1/model.py", b"new")
        _put(store, "m/2/model.py", b"two")
        assert _times(mount) == before
        assert [reason for _, reason in _pending(mount)]
        folders = [mount.path / "m" / version for version in "12"]
        wait_until(lambda: folders[1].exists() and folders[0].stat().st_mtime_ns > before["m/1"])
        assert _seen(mount) == {
            "m/config.pbtxt": PYTHON,
            "m/1/model.py": b"new",
            "m/1/weights": b"new",
            "m/2/model.py": b"two",
        }
        assert _times(mount)["m/config.pbtxt"] == before["m/config.pbtxt"]
        assert _pending(mount) == []


def _pending(mount: Mount) -> list[tuple[str, str]]:
    return [(each["folder"], each["reason"]) for each in mount.status()["details"]["pending"]]


def test_r11_mount_returns_when_what_was_stored_just_now_is_shown(store: FaultServer, url: str, tmp_path: Path) -> None:
    young_ns = time.time_ns() + 600 * 10**9  # whenever the mount comes about
    _put(store, "m/config.pbtxt", PYTHON, mtime_ns=young_ns)
    _put(store, "m/1/model.py", b"p", mtime_ns=young_ns)
    _put(store, "n/config.pbtxt", PYTHON, mtime_ns=LONG_AGO_NS)
    with mounted(url, tmp_path, "--settle", str(SETTLE_S), "--refresh", "3600") as mount:
        assert set(_seen(mount)) == {"m/config.pbtxt", "m/1/model.py"}
        assert _pending(mount) == [("n", "no version of it is whole")]
        told = mount.command("check", str(mount.path)).stdout
        assert "1 folders are not shown as they are stored, such as n: no version of it is whole" in told


def test_r11_a_sealed_version_does_not_wait(store: FaultServer, url: str, tmp_path: Path) -> None:
    _put(store, "m/config.pbtxt", PYTHON, mtime_ns=LONG_AGO_NS)
    _put(store, "m/1/model.py", b"p", mtime_ns=LONG_AGO_NS)
    with mounted(url, tmp_path, "--refresh", "1", "--settle", "600") as mount:
        _put(store, "m/2/model.py", b"two")
        listed = store.get("models", "repository/m/2/model.py")
        assert listed is not None
        etag = listed.etag.strip('"')
        seal = {"format": 1, "files": {"model.py": {"size": 3, "version": f'"{etag}"'}}}
        _put(store, "m/2/.modelfs-seal.json", json.dumps(seal).encode())
        wait_until(lambda: "m/2" in _folders(mount))
        assert os.listdir(mount.path / "m" / "2") == ["model.py"]


def test_r7_r8_and_r10_times_go_on_after_a_remount(store: FaultServer, url: str, tmp_path: Path) -> None:
    for name in ("m/1/model.py", "m/2/model.py", "m/labels", "m/config.pbtxt"):
        _put(store, name, PYTHON, mtime_ns=LONG_AGO_NS)
    with mounted(url, tmp_path, "--settle", "0", "--refresh", "1") as mount:
        first = _times(mount)
        assert set(first.values()) == {LONG_AGO_NS}
        _put(store, "m/1/model.py", b"restored", mtime_ns=LONG_AGO_NS - 10**9)
        store.delete("models", "repository/m/labels")
        wait_until(lambda: not (mount.path / "m" / "labels").exists())
        before = _times(mount)
        assert before["m/1/model.py"] > LONG_AGO_NS
    store.touch("models", "repository/m/2/model.py", mtime_ns=LONG_AGO_NS + 10**9)
    with mounted(url, tmp_path, "--settle", "0", "--refresh", "1") as mount:
        assert _times(mount) == before
    _put(store, "m/2/model.py", b"older", mtime_ns=LONG_AGO_NS - 10**9)
    store.delete("models", "repository/m/config.pbtxt")
    with mounted(url, tmp_path, "--settle", "0", "--refresh", "1") as mount:
        after = _times(mount)
        assert after["m/2/model.py"] > before["m"]
        assert after["m"] > before["m"]
        assert {name: after[name] for name in ("m/1", "m/1/model.py")} == {
            name: before[name] for name in ("m/1", "m/1/model.py")
        }


def test_r11_a_second_listing_that_fails_does_not_fail_the_mount(store: FaultServer, url: str, tmp_path: Path) -> None:
    young_ns = time.time_ns() + 600 * 10**9  # whenever the mount comes about
    _put(store, "m/config.pbtxt", PYTHON, mtime_ns=young_ns)
    _put(store, "m/1/model.py", b"p", mtime_ns=young_ns)
    _put(store, "n/1/model.onnx", b"n", mtime_ns=LONG_AGO_NS)
    refused = store.fail(Fault(Status(403), kind="list", nth=2))
    with mounted(url, tmp_path, "--settle", "1", "--refresh", "1") as mount:
        assert _folders(mount) == {"n", "n/1"}
        assert refused.hits
        store.heal(refused)
        wait_until((mount.path / "m" / "1" / "model.py").exists)


def test_a_replaced_file_that_is_gone_is_estale_at_open_until_its_successor_is_whole(
    store: FaultServer, url: str, tmp_path: Path
) -> None:
    _put(store, "m/config.pbtxt", PYTHON, mtime_ns=LONG_AGO_NS)
    _put(store, "m/1/model.py", b"old", mtime_ns=LONG_AGO_NS)
    with mounted(url, tmp_path, *OPTIONS) as mount:
        file = mount.path / "m" / "1" / "model.py"
        assert file.stat().st_size == 3
        _put(store, "m/1/model.py", b"newer")
        wait_until(lambda: _pending(mount))
        assert file.stat().st_size == 3
        with pytest.raises(OSError, match="Stale"):
            file.open("rb")
        wait_until(lambda: file.stat().st_size == 5)
        assert file.read_bytes() == b"newer"


def test_r12_a_large_file_that_is_gone_is_estale_at_open_although_its_beginning_was_read(
    store: FaultServer, url: str, tmp_path: Path
) -> None:
    _put(store, "m/config.pbtxt", PYTHON, mtime_ns=LONG_AGO_NS)
    _put(store, "m/1/weights", bytes(64 << 20), mtime_ns=LONG_AGO_NS)
    _put(store, "m/1/model.py", b"old", mtime_ns=LONG_AGO_NS)
    with mounted(url, tmp_path, *OPTIONS, "--memory", "16M") as mount:
        path = mount.path / "m" / "1" / "weights"
        with path.open("rb", buffering=0) as file:
            assert file.read(4096) == bytes(4096)
            store.begin_upload("models", "repository/m/1/more")  # until it ends, what was replaced is not shown
            _put(store, "m/1/weights", b"new")
            wait_until(lambda: any(folder == "m/1" for folder, _ in _pending(mount)))
            assert path.stat().st_size == 64 << 20
            for _ in range(3):
                with pytest.raises(OSError, match="Stale"):
                    path.open("rb")
            assert os.pread(file.fileno(), 4096, 0) == bytes(4096)
