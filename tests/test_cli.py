"""The command line's own behaviour; what it refuses stands in cli/test_bad_input."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelfs import __version__, cli, growing, listing, mounts, show, tree
from modelfs.blocks import ObjectInfo
from modelfs.config import settings
from modelfs.mounts import Mount

HEALTHY = Mount("/mnt/a", "s3://b/p", "healthy", since_s=1_700_000_000, pid=7, log="/run/x/log")
CRASHED = Mount("/mnt/b", "s3://b/q", "crashed", reason="the worker ended with signal SIGSEGV", log="/run/y/log")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    for name in ("URL", "MOUNTPOINT", "DEBUG", "CONFIG", "RUNTIME_DIR"):
        monkeypatch.delenv(f"MODELFS_{name}", raising=False)


def surveyed(monkeypatch: pytest.MonkeyPatch, *found: Mount) -> None:
    monkeypatch.setattr(mounts, "survey", lambda _root: list(found))


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out == f"modelfs {__version__}\n"


@pytest.mark.parametrize(
    "command", [[], ["mount"], ["unmount"], ["status"], ["ls"], ["check"], ["bench"], ["lint"], ["seal"], ["refresh"]]
)
def test_every_help_has_examples(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([*command, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    start = lines.index("  Examples:")
    assert lines[start + 1].startswith("    modelfs ")


def test_help_of_mount_has_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    cli.run(["mount", "--help"])
    text = capsys.readouterr().out
    assert not [setting.option.flag for setting in settings() if setting.option.flag not in text]


def test_status_tells_health_by_its_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    surveyed(monkeypatch)
    assert cli.run(["status"]) == 3
    surveyed(monkeypatch, HEALTHY)
    assert cli.run(["status"]) == 0
    surveyed(monkeypatch, HEALTHY, CRASHED)
    assert cli.run(["status"]) == 1
    assert cli.run(["status", "/mnt/a"]) == 0
    assert cli.run(["status", "/mnt/none"]) == 3
    assert "Traceback" not in capsys.readouterr().err


def test_status_for_people_has_a_line_for_each_mount(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    surveyed(monkeypatch, HEALTHY, CRASHED)
    cli.run(["status"])
    head, healthy, crashed = capsys.readouterr().out.splitlines()
    assert head.split() == ["MOUNTPOINT", "SOURCE", "SINCE", "STATE"]
    assert healthy.split() == ["/mnt/a", "s3://b/p", "2023-11-14", "22:13:20Z", "healthy"]
    assert "crashed: the worker ended with signal SIGSEGV (log: /run/y/log)" in crashed


def test_name_of_a_mount_point_never_reaches_the_terminal_as_an_escape_sequence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    surveyed(monkeypatch, Mount("/mnt/\x1b]0;x\x07\n/b", "s3://\x1b[31m", "dead", reason="run \x1b[2J"))
    cli.run(["status"])
    assert len(capsys.readouterr().out.splitlines()) == 2
    cli.run(["mount", "/srv", "/mnt", "\x1b[2J"])
    assert not any("\x1b" in text for text in capsys.readouterr())


def test_name_that_the_terminal_cannot_show_is_escaped(tmp_path: Path) -> None:
    (tmp_path / "modèle").touch()
    done = subprocess.run(
        [sys.executable, "-m", "modelfs", "ls", str(tmp_path)],
        env={"PATH": os.environ["PATH"], "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "mod\\xe8le\n")


def test_status_for_programs_is_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    surveyed(monkeypatch, HEALTHY)
    cli.run(["status", "--json"])
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["mountpoint"], found["state"], found["pid"]) == ("/mnt/a", "healthy", 7)


def shown_tree() -> tree.Tree:
    return growing.build([ObjectInfo("m/1/model.onnx", 7, "v", 10**18), ObjectInfo("m/\x1b[31m", 1, "v", 10**18)])


def test_ls_lists_one_level_or_all(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(listing, "list_repository", lambda _url, _config: shown_tree())
    assert cli.run(["ls", "s3://b"]) == 0
    assert capsys.readouterr().out == "m/\n"
    assert cli.run(["ls", "-R", "s3://b"]) == 0
    assert capsys.readouterr().out == "m/\nm/\\x1b[31m\nm/1/\nm/1/model.onnx\n"
    assert cli.run(["ls", "-R", "-l", "s3://b"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["7", "2001-09-09", "01:46:40Z", "m/1/model.onnx"]
    assert cli.run(["ls", "--json", "s3://b"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"path": "m/", "size": None, "mtime_ns": 10**18}]


def test_ls_tells_a_date_that_no_calendar_has(capsys: pytest.CaptureFixture[str]) -> None:
    far_ns = 300_000_000_000 * 10**9  # the year 11476, which a file on tmpfs can have
    found = growing.build([ObjectInfo("far", 7, "v", far_ns), ObjectInfo("long ago", 7, "v", -(2**63) * 10**9)])
    show.tree(found, recursive=True, long=True, as_json=False)
    told = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert told == ["7 @300000000000 far", "7 @-9223372036854775808 long ago"]


def test_ls_says_which_keys_cannot_be_shown(capsys: pytest.CaptureFixture[str]) -> None:
    objects = [ObjectInfo(f"a//{number}", 1, "v", 0) for number in range(7)]
    show.tree(growing.build(objects), recursive=True, long=False, as_json=True)
    printed = capsys.readouterr()
    assert isinstance(json.loads(printed.out), list)
    assert printed.err.count("modelfs: not shown: a//") == 5
    assert "2 more keys are not shown" in printed.err


def test_unexpected_error_is_one_line_and_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def survey(_root: str) -> list[Mount]:
        raise KeyError("a defect")

    monkeypatch.setattr(mounts, "survey", survey)
    assert cli.run(["status"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "unexpected error (KeyError)" in line
    (report,) = tmp_path.glob("modelfs-error-*")
    assert str(report) in line
    assert "a defect" in report.read_text()
    monkeypatch.setenv("MODELFS_DEBUG", "1")
    assert cli.run(["status"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_interrupt_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def survey(_root: str) -> list[Mount]:
        raise KeyboardInterrupt

    monkeypatch.setattr(mounts, "survey", survey)
    assert cli.run(["status"]) == 130


def test_reader_that_goes_away_is_no_error() -> None:
    code = "import sys; from modelfs import cli; sys.exit(cli.run(['mount', '--help']))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""


def test_unknown_variable_is_a_warning(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    surveyed(monkeypatch, HEALTHY)
    monkeypatch.setenv("MODELFS_REFESH", "3")
    assert cli.run(["status"]) == 0
    assert "Did you mean 'MODELFS_REFRESH'?" in capsys.readouterr().err


def test_status_and_help_load_no_heavy_library() -> None:
    code = (
        "import sys; from modelfs import cli; cli.run(['mount', '--help']); cli.run(['status'])\n"
        "print(*({'pyfuse3', 'trio', 'obstore', 'botocore', 'urllib3'} & set(sys.modules)), file=sys.stderr)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stderr.strip() == ""


def test_python_m_modelfs_is_the_command() -> None:
    found = subprocess.run([sys.executable, "-m", "modelfs", "--version"], capture_output=True, text=True, check=True)
    assert found.stdout == f"modelfs {__version__}\n"
