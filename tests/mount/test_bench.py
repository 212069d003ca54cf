"""``modelfs bench``: what it tells of a store and of a mount, what it leaves, and how it ends when they do not answer.

No time is asserted: on a machine that does other things too a figure says nothing.
"""

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from faultserver import Fault, FaultServer, Stall, Stamped, Status
from mount.mounting_for_tests import (
    MODELFS,
    PATIENCE_S,
    SECRET_KEY,
    environment,
    is_mounted,
    mounted,
    processes_with_environment,
    wait_until,
)

from modelfs import bench as benches
from modelfs.config import Config

SIZE = 6_000_000
STORE = ["store: listing", "store: first byte"]
RATES = [f"store: {count} read{'s' * (count > 1)} at once" for count in benches.AT_ONCE]
MOUNT = ["mount: walk with stat", "mount: 4 KiB at random", "mount: sequential, cold", "mount: sequential, again"]


@pytest.fixture
def filled(store: FaultServer) -> FaultServer:
    store.put("models", "repository/m/config.pbtxt", b'name: "m"')
    store.put("models", "repository/m/1/x", Stamped("x", "v1", SIZE))
    return store


def command(folder: Path, *arguments: str, **more: str) -> tuple[list[str], dict[str, str]]:
    return [*MODELFS, "bench", *arguments], {**environment(folder / "run"), "TMPDIR": str(folder), **more}


def bench(folder: Path, *arguments: str, **more: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Run ``modelfs bench --json``, and return its status and its figures by name."""
    line, env = command(folder, "--json", *arguments, **more)
    done = subprocess.run(line, env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert SECRET_KEY not in done.stdout + done.stderr
    assert done.stderr == ""
    return done.returncode, {figure["what"]: figure for figure in json.loads(done.stdout)}


def test_url_is_measured_from_the_store_to_a_mount_that_is_gone_afterwards(
    filled: FaultServer, url: str, tmp_path: Path
) -> None:
    status, figures = bench(tmp_path, url, "--size", "4M")
    assert status == 0
    assert [name for name in figures if name not in RATES] == [*STORE, "mount: start", *MOUNT]
    assert RATES[0] in figures
    assert all(figure["value"] > 0 for figure in figures.values())
    assert figures["store: listing"]["remark"] == "2 objects, 0.01 GB"
    assert figures["mount: walk with stat"]["remark"] == "2 files"
    assert figures["mount: sequential, cold"]["remark"].startswith("4 MiB")
    passes = len(benches.AT_ONCE) + 1
    fetched = sum(record.bytes_sent for record in filled.requests(kind="get"))
    assert fetched <= passes * 4 * 2**20 + 3 * SIZE  # of the mount: at random, in order, and what was dropped between
    assert not list(tmp_path.glob("modelfs-bench-*"))
    assert processes_with_environment("TMPDIR", str(tmp_path)) == []


@pytest.mark.usefixtures("filled")
def test_mount_is_measured_where_it_is_and_stays(url: str, tmp_path: Path) -> None:
    with mounted(url, tmp_path) as mount:
        status, figures = bench(tmp_path, str(mount.path))
        assert (status, list(figures)) == (0, MOUNT)
        assert is_mounted(mount.path)


def test_store_that_refuses_reads_is_told_and_the_mount_still_tried(
    filled: FaultServer, url: str, tmp_path: Path
) -> None:
    filled.fail(Fault(Status(403), kind="get"))
    status, figures = bench(tmp_path, url, "--seconds", "5", "--mount-timeout", "1", "--read-deadline", "1")
    assert status == 1
    assert figures["store: read"]["value"] is None
    assert "403 AccessDenied" in figures["store: read"]["remark"]
    assert figures["mount: read"]["value"] is None
    assert "Permission denied" in figures["mount: read"]["remark"]


@pytest.mark.usefixtures("store")
def test_empty_repository_is_told(url: str, tmp_path: Path) -> None:
    status, figures = bench(tmp_path, url)
    assert status == 1
    assert figures["store: read"]["remark"] == "there is no object with content to read"
    assert figures["mount: read"]["remark"] == "there is no file with content to read"


@pytest.mark.usefixtures("filled")
def test_store_that_cannot_be_listed_is_one_line_and_status_2(url: str, tmp_path: Path) -> None:
    line, env = command(tmp_path, url, AWS_SECRET_ACCESS_KEY="wrong")
    done = subprocess.run(line, env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "the secret key is wrong" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.usefixtures("filled")
def test_table_for_people_has_a_line_for_each_figure(url: str, tmp_path: Path) -> None:
    line, env = command(tmp_path, url, "--size", "1M")
    done = subprocess.run(line, env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    names = [*STORE, "mount: start", *MOUNT]
    assert [name for name in names if not any(line.startswith(name) for line in done.stdout.splitlines())] == []


def test_stuck_mount_is_given_up(filled: FaultServer, url: str, tmp_path: Path) -> None:
    with mounted(url, tmp_path) as mount:
        filled.fail(Fault(Stall(), kind="get"))
        limits = benches.Limits(seconds=3, patience_s=0.5)
        figures = benches.bench(str(mount.path), Config(), limits)
        assert [figure.what for figure in figures] == ["mount: walk with stat", "mount: read"]
        assert figures[-1].value is None
        assert "does not answer in time" in figures[-1].remark
        assert benches.exit_status(figures) == 1
        filled.heal()


def test_terminated_bench_leaves_no_mount(filled: FaultServer, url: str, tmp_path: Path) -> None:
    line, env = command(tmp_path, url, "--size", "1M")
    # the store's own passes read the largest object; the small one is read by the mount alone, at its end
    filled.put("models", "repository/m/1/x", Stamped("x", "v2", 1000))
    filled.fail(Fault(Stall(), kind="get", when=lambda _record: any(_mounts_below(tmp_path))))
    process = subprocess.Popen(line, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: any(_mounts_below(tmp_path)))
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.wait()
    assert _mounts_below(tmp_path) == []
    wait_until(lambda: not processes_with_environment("TMPDIR", str(tmp_path)))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "nothing to measure is given"),
        (("--size", "lots", "s3://bucket"), "--size is 'lots'"),
        (("--size", "10", "s3://bucket"), "at least 1M"),
        (("--seconds", "1", "s3://bucket"), "--seconds is '1'"),
        (("s3://bucket/a/../b",), ": write"),
    ],
)
def test_what_cannot_be_measured_is_one_line_and_status_2(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    line, env = command(tmp_path, *arguments)
    done = subprocess.run(line, env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def _mounts_below(folder: Path) -> list[Path]:
    return [path for path in folder.glob("modelfs-bench-*/mnt") if is_mounted(path)]
