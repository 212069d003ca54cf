"""R18 on a real Triton: folders that it would take for versions, of which one ends the whole server, do no harm."""

from pathlib import Path

from faultserver import FaultServer, Keys
from mount.mounting_for_tests import ACCESS_KEY, SECRET_KEY, mounted
from soak.sealed_loads import CONFIG, put_version
from tritonserver import TritonServer

START_S = 240.0


def test_r18_a_model_with_backups_and_a_version_of_twenty_digits_is_ready(triton: Path, tmp_path: Path) -> None:
    with FaultServer(keys=Keys(ACCESS_KEY, SECRET_KEY)) as store:
        store.put("models", "repository/m/config.pbtxt", CONFIG)
        for number in (2, 10**19):
            put_version(store, number)
        for name in ("3.bak", "03"):
            store.put("models", f"repository/m/{name}/weights", b"x")
        url = f"s3://127.0.0.1:{store.port}/models/repository"
        with (
            mounted(url, tmp_path) as mount,
            TritonServer(triton, mount.path, log=tmp_path / "log", mode="none") as server,
        ):
            server.wait_ready(START_S)
            assert [(row["name"], row["version"], row["state"]) for row in server.index()] == [("m", "2", "READY")]
            assert server.infer("m", {})["OUT"] == [2]
            assert mount.status()["details"]["objects_not_shown"] == 3
