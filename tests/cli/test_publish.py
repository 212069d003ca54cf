"""``modelfs lint`` and ``modelfs seal`` as a person runs them: what is printed, and the exit status."""

import json
from pathlib import Path

import pytest
from faultserver import Fault, FaultServer, Keys, Status

from modelfs import cli, sealing
from modelfs.manifest import MANIFEST_NAME


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.delenv("MODELFS_URL", raising=False)
    monkeypatch.setattr(sealing, "PAUSE_S", 0.0)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a sound repository beside which the command is run."""
    (tmp_path / "models/m/1").mkdir(parents=True)
    (tmp_path / "models/m/1/model.onnx").write_bytes(b"weights")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "models"


@pytest.mark.usefixtures("repository")
def test_sound_folder_is_silence(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["lint", "models"]) == 0
    assert capsys.readouterr() == ("", "")
    assert cli.run(["lint", "models", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_each_finding_is_a_line(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (repository / "m/3.bak").mkdir()
    (repository / ".git").mkdir()
    (repository / "m/1/\x1b[31m.onnx").touch()
    assert cli.run(["lint", str(repository)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["warning .git", "error   m/1/\\x1b[31m.onnx", "error   m/3.bak"]
    assert lines[2].endswith("; name it 1, 2, 3 …, or move it out of the model")
    assert cli.run(["lint", str(repository), "--json", "--show-hidden"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert {"severity", "rule", "path", "what", "advice"} == set(found[0])
    assert (found[0]["severity"], found[0]["path"]) == ("error", ".git")


def test_repository_that_cannot_be_read_is_not_judged(capsys: pytest.CaptureFixture[str]) -> None:
    with FaultServer(keys=Keys("key", "secret")) as server:
        server.create_bucket("bkt")
        server.put("bkt", "m/config.pbtxt", b'backend: "python"')
        server.put("bkt", "m/1/model.py", b"x")
        url = f"s3://{server.url}/bkt"
        assert cli.run(["lint", url]) == 0
        assert len(server.requests()) == 2  # a listing, and the configuration
        server.fail(Fault(Status(403), kind="get"))
        assert cli.run(["lint", url]) == 2
    assert "s3:GetObject" in capsys.readouterr().err


def test_sealed_version_is_told_and_then_told_again(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["seal", "models/m/1", "--from", "models/m/1", "--verify"]) == 0
    assert capsys.readouterr().out == "m/1 is sealed (1 files, 7 bytes)\n"
    assert (repository / "m/1" / MANIFEST_NAME).exists()
    assert cli.run(["seal", "models/m", "--json"]) == 0
    (outcome,) = json.loads(capsys.readouterr().out)["outcomes"]
    assert outcome == {"version": "m/1", "state": "was sealed", "files": 1, "bytes": 7}
    assert cli.run(["lint", "models"]) == 0


def test_what_is_not_whole_is_told_and_not_sealed(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (repository / "m/1/model.onnx").write_bytes(b"")
    assert cli.run(["seal", "models/m/1"]) == 1
    finding, outcome = capsys.readouterr().out.splitlines()
    assert finding.startswith("error   m/1/model.onnx: this file has no bytes")
    assert outcome == "m/1 is not sealed"
    assert not (repository / "m/1" / MANIFEST_NAME).exists()


def test_model_without_a_version_is_not_sealed(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (repository / "n").mkdir()
    (repository / "n/config.pbtxt").write_text('backend: "python"')
    assert cli.run(["seal", "models/n"]) == 1
    assert "there is no version folder" in capsys.readouterr().out
