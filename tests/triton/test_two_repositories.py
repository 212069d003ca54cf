"""A stock Triton serves two repositories at once: two mounts of ``[[mounts]]``, the flag given twice."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import models
import pytest
from faultserver import FaultServer, Keys
from mount.mounting_for_tests import ACCESS_KEY, PATIENCE_S, SECRET_KEY, Mount, environment, wait_until
from tritonserver import TritonServer

START_S = 240.0
IN_S3, IN_FOLDER = models.NAMES[:4], models.NAMES[4:]


@pytest.fixture
def store(examples: Path) -> Iterator[FaultServer]:
    """Run an S3 store with the first four models."""
    with FaultServer(keys=Keys(ACCESS_KEY, SECRET_KEY)) as server:
        server.create_bucket("models")
        for name in IN_S3:
            for path in sorted(path for path in (examples / name).rglob("*") if path.is_file()):
                server.put("models", f"repository/{path.relative_to(examples).as_posix()}", path.read_bytes())
        yield server


@pytest.fixture
def folder(examples: Path, tmp_path: Path) -> Path:
    """Return a local repository with the other four."""
    folder = tmp_path / "local"
    folder.mkdir()
    for name in IN_FOLDER:
        (folder / name).symlink_to(examples / name)
    return folder


@pytest.fixture
def mounts(store: FaultServer, folder: Path, tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Mount both by one command."""
    first, second = tmp_path / "mnt" / "a", tmp_path / "mnt" / "b"
    first.mkdir(parents=True)
    second.mkdir()
    config = tmp_path / "config.toml"
    config.write_text(
        f'[[mounts]]\nurl = "s3://127.0.0.1:{store.port}/models/repository"\nmountpoint = "{first}"\nrefresh = 1\n\n'
        f'[[mounts]]\nurl = "{folder}"\nmountpoint = "{second}"\nrefresh = 1\n'
    )
    both = Mount(tmp_path, environment(tmp_path / "run", MODELFS_CONFIG=str(config)))
    done = both.command("mount", "--all")
    assert done.returncode == 0, done.stderr
    try:
        yield first, second
    finally:
        both.command("unmount", "--all", "--lazy")
        wait_until(lambda: not both.processes())


def test_models_of_both_are_ready_and_answer(mounts: tuple[Path, Path], triton: Path, tmp_path: Path) -> None:
    first, second = mounts
    more = [f"--model-repository={second}"]
    with TritonServer(triton, first, log=tmp_path / "log", extra_arguments=more) as server:
        server.wait_ready(START_S)
        table = [(row["name"], row.get("state")) for row in server.index()]
        assert table == [(name, "READY") for name in models.NAMES], server.log_tail()
        left, right = list(range(16)), [3] * 16
        for model, kind in (("simple", "INT32"), ("simple_int8", "INT8")):
            answer = server.infer(model, {"INPUT0": (kind, [1, 16], left), "INPUT1": (kind, [1, 16], right)})
            assert answer["OUTPUT0"] == [value + 3 for value in left]


def test_repository_that_comes_and_goes_moves_nothing_of_the_other(
    mounts: tuple[Path, Path], store: FaultServer, triton: Path, tmp_path: Path
) -> None:
    """The store of the first is down while a model of the second is deleted: that one goes, the first's all stay."""
    first, second = mounts
    more = [f"--model-repository={second}"]
    with TritonServer(triton, first, log=tmp_path / "log", mode="poll", extra_arguments=more) as server:
        server.wait_ready(START_S)
        store.down()
        (tmp_path / "local" / IN_FOLDER[-1]).unlink()
        left = [*IN_S3, *IN_FOLDER[:-1]]

        def ready() -> list[str]:
            return [row["name"] for row in server.index() if row.get("state") == "READY"]

        wait_until(lambda: ready() == left, within_s=PATIENCE_S)
        wait_until(lambda: server.log_count(f"unloaded '{IN_FOLDER[-1]}'"))
        assert [name for name in models.NAMES if server.log_count(f"unloaded '{name}'")] == [IN_FOLDER[-1]]
        assert subprocess.run(["ls", str(first)], capture_output=True, check=True, timeout=PATIENCE_S).stdout
