"""What docs/publishing.md tells to do, with a real Triton behind it: upload, seal, refresh, load."""

from pathlib import Path

from faultserver import FaultServer, Keys
from mount.mounting_for_tests import ACCESS_KEY, SECRET_KEY, mounted
from soak.sealed_loads import CONFIG, put_version
from tritonserver import TritonServer

START_S = 240.0
LONG_AGO_NS = 1_700_000_000 * 10**9
ROUNDS = 5


def test_r14_a_version_that_was_sealed_is_what_the_next_load_loads(triton: Path, tmp_path: Path) -> None:
    with FaultServer(keys=Keys(ACCESS_KEY, SECRET_KEY)) as store:
        store.create_bucket("models")
        url = f"s3://127.0.0.1:{store.port}/models/repository"
        store.put("models", "repository/m/config.pbtxt", CONFIG, mtime_ns=LONG_AGO_NS)
        put_version(store, 1, mtime_ns=LONG_AGO_NS)
        with (
            mounted(url, tmp_path, "--refresh", "3600", "--settle", "600") as mount,
            TritonServer(triton, mount.path, log=tmp_path / "triton.log", mode="explicit", models=["m"]) as server,
        ):
            server.wait_ready(START_S)
            for number in range(2, 2 + ROUNDS):
                put_version(store, number)
                assert mount.command("seal", f"{url}/m/{number}").returncode == 0
                assert mount.command("refresh", str(mount.path), "--wait").returncode == 0
                server.load("m")
                assert server.infer("m", {})["OUT"] == [number]
            put_version(store, 99)  # it is not sealed
            assert mount.command("refresh", str(mount.path), "--wait").returncode == 0
            server.load("m")
            assert server.infer("m", {})["OUT"] == [1 + ROUNDS]
