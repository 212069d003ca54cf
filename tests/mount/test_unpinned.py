"""Real mounts of what fsspec alone knows: bytes over HTTP as they are, nobody let in by chance, no password shown."""

import hashlib
import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from mount.mounting_for_tests import MODELFS, PATIENCE_S, environment, is_mounted, mounted, wait_until
from web_server import WebServer

ALLOWED = ("--engine", "fsspec", "--allow-unpinned")
SECRET = "hunter2"


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer() as server:
        server.login = f"me:{SECRET}"
        server.put("/repo/m/config.pbtxt", b'name: "m"')
        server.put("/repo/m/1/", b"")
        yield server


@pytest.fixture
def url(web: WebServer) -> str:
    return f"http://me:{SECRET}@127.0.0.1:{web.port}/repo"


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*MODELFS, *arguments],
        env=environment(folder / "run"),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert SECRET not in done.stdout + done.stderr
    return done


def test_mount_over_http_gives_every_byte_as_it_is(web: WebServer, url: str, tmp_path: Path) -> None:
    files = {"m/1/model.onnx": 20_000_001, "m/1/a b/ü #?%2F": 131_073, "m/1/empty": 0, "m/labels.txt": 1}
    digests = {}
    for seed, (name, size) in enumerate(files.items()):
        data = random.Random(seed).randbytes(size)
        digests[name] = hashlib.sha256(data).hexdigest()
        web.put(f"/repo/{name}", data, modified_s=1_700_000_000)
    with mounted(url, tmp_path, *ALLOWED) as mount:
        for name, digest in digests.items():
            path = mount.path / name
            assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
            assert path.stat().st_mtime_ns == 1_700_000_000 * 10**9
        with (mount.path / "m/1/model.onnx").open("rb") as file:
            file.seek(19_999_000)
            assert len(file.read()) == 1001
        assert sorted(path.name for path in mount.path.iterdir()) == ["m"]
        status = mount.status()
        assert status["source"] == f"http://***@127.0.0.1:{web.port}/repo"
        shown = [json.dumps(status), Path("/proc/mounts").read_text(), (tmp_path / "run").joinpath().as_posix()]
        shown += [Path(f"/proc/{pid}/cmdline").read_text() for pid in mount.processes()]
        shown += [path.read_text() for path in (tmp_path / "run").rglob("log*") if path.is_file()]
        assert SECRET not in "".join(shown)


def test_replaced_file_is_the_new_one_when_it_is_opened_again(web: WebServer, url: str, tmp_path: Path) -> None:
    web.put("/repo/m/1/x", b"old", modified_s=1_700_000_000)
    with mounted(url, tmp_path, *ALLOWED, "--refresh", "1", "--mount-timeout", "2") as mount:
        path = mount.path / "m/1/x"
        assert path.read_bytes() == b"old"
        web.put("/repo/m/1/x", b"newer", modified_s=1_700_000_100)
        wait_until(lambda: path.read_bytes() == b"newer")
        web.statuses["/repo/m/1/"] = 500  # which is an outage, and no deletion
        wait_until(lambda: mount.status()["state"] == "unhealthy")
        assert path.read_bytes() == b"newer"


@pytest.mark.parametrize("command", ["mount", "ls", "check"])
def test_url_that_cannot_be_pinned_is_refused_without_the_flags(url: str, tmp_path: Path, command: str) -> None:
    (tmp_path / "models").mkdir()
    where = [str(tmp_path / "models")] if command == "mount" else []
    done = run(tmp_path, command, url, *where, "--engine", "fsspec")
    assert done.returncode == 2
    said = " ".join((done.stdout + done.stderr).split())
    assert "may give bytes of two versions; to accept that, add --allow-unpinned" in said
    assert not is_mounted(tmp_path / "models")


def test_listing_shows_what_a_mount_would(web: WebServer, url: str, tmp_path: Path) -> None:
    web.put("/repo/m/1/x", b"content")
    done = run(tmp_path, "ls", "--recursive", url, *ALLOWED)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["m/", "m/1/", "m/1/x", "m/config.pbtxt"]


def test_check_tells_that_nothing_is_pinned_and_how_to_mount(url: str, tmp_path: Path) -> None:
    done = run(tmp_path, "check", url, *ALLOWED, "--json")
    lines = {line["topic"]: line for line in json.loads(done.stdout)}
    assert done.returncode == 1
    assert {topic for topic, line in lines.items() if line["verdict"] == "bad"} == set()
    assert lines["versions"]["text"].startswith("not pinned")
    assert lines["credentials"]["text"] == "user and password of the URL"
    assert lines["list"]["text"].startswith("2 objects, 0.00 GB, in ")
    assert lines["cost"]["text"].startswith(
        "a request for each folder, and over HTTP for each file, at a refresh every 15 s"
    )
    assert lines["engine"]["text"] == "fsspec fetches the bytes"
    assert "on one connection" in lines["read"]["text"]
    assert "/mnt/models --engine fsspec --allow-unpinned && " in lines["commands"]["text"]


@pytest.mark.parametrize("command", ["mount", "ls", "check"])
def test_redirect_to_another_host_ends_it_with_a_sentence(
    web: WebServer, url: str, tmp_path: Path, command: str
) -> None:
    (tmp_path / "models").mkdir()
    where = [str(tmp_path / "models")] if command == "mount" else []
    with WebServer() as elsewhere:
        elsewhere.put("/repo/m/x", b"secret")
        web.redirects["/repo/"] = f"{elsewhere.url}/repo/"
        done = run(tmp_path, command, url, *where, *ALLOWED)
        assert elsewhere.requests == []
    assert done.returncode == 2
    assert "no redirect to another host or port is followed" in " ".join((done.stdout + done.stderr).split())
    assert not is_mounted(tmp_path / "models")


def test_wrong_password_ends_a_mount_with_a_sentence(web: WebServer, url: str, tmp_path: Path) -> None:
    web.login = "me:another"
    done = run(tmp_path, "ls", url, *ALLOWED)
    assert done.returncode == 2
    assert "the store refuses access; check user and password" in done.stderr


def test_missing_driver_ends_a_mount_with_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    done = run(tmp_path, "mount", "wandb://user/project", str(tmp_path / "models"), *ALLOWED)
    assert done.returncode == 2
    assert done.stderr.strip().endswith("install it with 'pip install wandbfs'.")
