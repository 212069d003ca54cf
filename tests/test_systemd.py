"""The systemd units, for one mount and for all: valid, and without what would hide a mount from the host."""

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "packaging" / "systemd"
UNITS = ("modelfs@.service", "modelfs.service")

HIDING = (
    *("PrivateTmp", "PrivateDevices", "PrivateMounts", "PrivateUsers", "ProtectSystem", "ProtectHome"),
    *("ProtectKernelTunables", "ProtectKernelModules", "ProtectKernelLogs", "ProtectControlGroups", "ProtectProc"),
    *("ReadOnlyPaths", "ReadWritePaths", "InaccessiblePaths", "BindPaths", "TemporaryFileSystem", "RootDirectory"),
    *("DynamicUser", "MountFlags", "ProcSubset"),
)
"""Each of these gives the service a mount namespace of its own (systemd.exec(5))."""


@pytest.fixture(params=UNITS)
def unit(request: pytest.FixtureRequest) -> Path:
    return FOLDER / str(request.param)


@pytest.fixture
def service(unit: Path) -> configparser.SectionProxy:
    return _service(unit)


def _service(unit: Path) -> configparser.SectionProxy:
    found = configparser.ConfigParser(interpolation=None, strict=False)
    found.optionxform = str  # type: ignore[assignment,method-assign]
    found.read(unit)
    return found["Service"]


def test_mount_appears_in_the_namespace_of_the_host(service: configparser.SectionProxy) -> None:
    assert not set(HIDING) & set(service)


def test_main_process_is_ours_and_is_stopped_first(service: configparser.SectionProxy) -> None:
    assert service["Type"] == "notify"
    assert service["KillMode"] == "mixed"
    assert service["Restart"] == "on-failure"


def test_a_worker_that_is_killed_for_memory_does_not_end_the_service(service: configparser.SectionProxy) -> None:
    assert service["OOMPolicy"] == "continue"


def test_units_differ_in_what_they_mount_alone() -> None:
    one, all_of_them = (dict(_service(FOLDER / name)) for name in UNITS)
    own = ("EnvironmentFile", "ExecStart", "Environment")
    assert [one.pop(key, None) for key in own] == ["/etc/modelfs/%i.env", "/usr/bin/modelfs mount --foreground", None]
    assert [all_of_them.pop(key) for key in own] == [
        "-/etc/modelfs/modelfs.env",
        "/usr/bin/modelfs mount --all --foreground",
        "MODELFS_CONFIG=/etc/modelfs/config.toml",
    ]
    assert one == all_of_them


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_accepts_the_unit(unit: Path, tmp_path: Path) -> None:
    """The program is replaced, because it need not be installed where the test runs."""
    copy = tmp_path / unit.name.replace("@", "@models")
    copy.write_text(unit.read_text().replace("/usr/bin/modelfs", "/bin/true"))
    found = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (found.returncode, found.stderr) == (0, "")
