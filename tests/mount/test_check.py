"""``modelfs check``: every finding in a line, against a store, a broken store, and a living mount."""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from faultserver import Fault, FaultServer, Stamped, Status
from mount.mounting_for_tests import MODELFS, PATIENCE_S, SECRET_KEY, environment, mounted, wait_until


def check(folder: Path, *arguments: str, **more: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Run ``modelfs check --json``, and return its status and its lines by topic."""
    done = subprocess.run(
        [*MODELFS, "check", "--json", *arguments],
        env={**environment(folder / "run"), "AWS_EC2_METADATA_DISABLED": "true", **more},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert SECRET_KEY not in done.stdout + done.stderr
    assert done.stderr == ""
    return done.returncode, {line["topic"]: line for line in json.loads(done.stdout)}


@pytest.fixture
def filled(store: FaultServer) -> FaultServer:
    store.put("models", "repository/m/config.pbtxt", b'name: "m"')
    store.put("models", "repository/m/1/x", Stamped("x", "v1", 20_000_000))
    return store


def test_sound_repository_is_all_ticks(filled: FaultServer, url: str, tmp_path: Path) -> None:
    status, lines = check(tmp_path, url, "--refresh", "60", "--region", "eu-west-3")
    assert status in (0, 1)  # 1 where this machine's sysfs is read-only
    assert {topic for topic, line in lines.items() if line["verdict"] == "bad"} == set()
    assert lines["location"]["text"] == f"{url} is S3, bucket models, prefix repository"
    assert lines["credentials"]["text"] == "AWS_ACCESS_KEY_ID"
    assert lines["list"]["text"].startswith("2 objects, 0.02 GB, in ")
    assert lines["endpoint"]["text"] == f"http://127.0.0.1:{filled.port} answers in region eu-west-3"
    assert lines["cost"]["text"].startswith("1440 LIST requests a day (1 for each listing)")
    assert "MB/s on one connection" in lines["read"]["text"]
    assert lines["commands"]["text"].endswith("tritonserver --model-repository=/mnt/models")


@pytest.mark.usefixtures("filled")
def test_refused_listing_is_told_and_the_machine_still_looked_at(url: str, tmp_path: Path) -> None:
    status, lines = check(tmp_path, url, AWS_SECRET_ACCESS_KEY="wrong")
    assert status == 2
    assert "the secret key is wrong" in lines["list"]["text"]
    assert "read" not in lines
    assert lines["FUSE"]["verdict"] == "good"


def test_permission_to_list_but_not_to_read_is_told(filled: FaultServer, url: str, tmp_path: Path) -> None:
    filled.fail(Fault(Status(403), kind="get"))
    status, lines = check(tmp_path, url)
    assert (status, lines["list"]["verdict"], lines["read"]["verdict"]) == (2, "good", "bad")
    assert "s3:GetObject" in lines["read"]["text"]


def test_empty_repository_is_worth_a_look(store: FaultServer, url: str, tmp_path: Path) -> None:
    status, lines = check(tmp_path, url)
    assert status == 1
    assert "is the path right?" in lines["list"]["text"]
    assert store.requests(kind="get") == []


def test_half_a_key_is_told_as_a_finding(tmp_path: Path, url: str) -> None:
    status, lines = check(tmp_path, url, AWS_SECRET_ACCESS_KEY="")
    assert status == 2
    assert "AWS_SECRET_ACCESS_KEY is not" in lines["credentials"]["text"]


def test_source_of_credentials_that_never_answers_is_given_up(tmp_path: Path, url: str) -> None:
    (tmp_path / "config").write_text("[default]\ncredential_process = sleep 50\n")
    (tmp_path / "config").chmod(0o600)
    given = {"AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    began_s = time.monotonic()
    status, lines = check(tmp_path, url, "--mount-timeout", "1", **given)
    assert status == 2
    assert "credential_process) does not answer" in lines["credentials"]["text"]
    assert time.monotonic() - began_s < 40


def test_local_folder_has_no_credentials_to_look_for(tmp_path: Path) -> None:
    (tmp_path / "models/m/1").mkdir(parents=True)
    (tmp_path / "models/m/1/x").write_bytes(b"content")
    status, lines = check(tmp_path, str(tmp_path / "models"))
    assert status in (0, 1)
    assert "credentials" not in lines
    assert "cost" not in lines
    assert lines["read"]["verdict"] == "good"


def test_living_mount_is_looked_at(filled: FaultServer, url: str, tmp_path: Path) -> None:
    with mounted(url, tmp_path, "--refresh", "1") as mount:
        status, lines = check(tmp_path, str(mount.path))
        assert status in (0, 1)
        assert lines["mount"]["text"] == f"{url} at {mount.path} is healthy"
        assert lines["list"]["text"].startswith("2 files, 0.02 GB, listed")
        assert lines["commands"]["text"] == f"tritonserver --model-repository={mount.path}"
        filled.fail(Fault(Status(403), kind="list"))
        wait_until(lambda: mount.status()["state"] == "unhealthy")
        status, lines = check(tmp_path, str(mount.path))
        assert (status, lines["mount"]["verdict"]) == (2, "bad")


@pytest.mark.usefixtures("filled")
def test_lines_for_people_have_marks(url: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [*MODELFS, "check", url],
        env={**environment(tmp_path / "run"), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.stdout.splitlines()[0] == f"✓ location     {url} is S3, bucket models, prefix repository"


def test_nothing_to_check_is_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [*MODELFS, "check"], env=environment(tmp_path / "run"), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "modelfs check URL" in done.stderr
