"""Mounts that are started as a person or a script would not on a good day."""

import subprocess
from pathlib import Path

import pytest
from faultserver import Fault, FaultServer, Latency
from mount.mounting_for_tests import MODELFS, Mount, environment, is_mounted, wait_until


@pytest.mark.parametrize(
    ("closed", "options"),
    [("0<&-", ""), ("1>&-", ""), ("0<&- 1>&- 2>&-", ""), ("2>&-", "--foreground"), ("0<&- 1>&- 2>&-", "--foreground")],
)
def test_mount_needs_no_standard_streams(
    store: FaultServer, url: str, tmp_path: Path, closed: str, options: str
) -> None:
    store.put("models", "repository/m/1/model.onnx", b"content")
    mount = Mount(tmp_path / "models", environment(tmp_path / "run"))
    mount.path.mkdir()
    command = f"exec {' '.join(MODELFS)} mount {options} {url} {mount.path} {closed}"
    with subprocess.Popen(["bash", "-c", command], env=mount.env, stdout=subprocess.DEVNULL) as started:
        try:
            wait_until(lambda: started.poll() or is_mounted(mount.path))
            assert (mount.path / "m/1/model.onnx").read_bytes() == b"content"
            assert mount.command("unmount", str(mount.path)).returncode == 0
            assert started.wait(60) == 0
        finally:
            started.terminate()
            mount.command("unmount", "--lazy", str(mount.path))
    wait_until(lambda: not mount.processes())


def test_only_one_of_several_at_once_gets_the_mount_point(store: FaultServer, url: str, tmp_path: Path) -> None:
    """Each has a runtime folder of its own, as those of other users and containers have."""
    mounts = [Mount(tmp_path / "models", environment(tmp_path / f"run{number}")) for number in range(3)]
    mounts[0].path.mkdir()
    latencies = iter((0.5, 1.5, 2.5))
    for nth in (1, 2, 3):
        store.fail(Fault(Latency(next(latencies)), kind="list", nth=nth, times=1))
    started = [
        subprocess.Popen([*MODELFS, "mount", url, str(mount.path)], env=mount.env, stderr=subprocess.PIPE, text=True)
        for mount in mounts
    ]
    said = [process.communicate(timeout=60)[1] for process in started]
    for mount in mounts:
        if is_mounted(mount.path):
            mount.command("unmount", str(mount.path))
    assert sorted(process.returncode for process in started) == [0, 2, 2], said
    assert sum("is busy" in text for text in said) == 2
    assert not is_mounted(mounts[0].path)
    wait_until(lambda: not any(mount.processes() for mount in mounts))
