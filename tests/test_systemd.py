"""The systemd unit: valid, and without what would hide the mount from the host."""

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[1] / "packaging" / "systemd" / "modelfs@.service"

HIDING = (
    *("PrivateTmp", "PrivateDevices", "PrivateMounts", "PrivateUsers", "ProtectSystem", "ProtectHome"),
    *("ProtectKernelTunables", "ProtectKernelModules", "ProtectKernelLogs", "ProtectControlGroups", "ProtectProc"),
    *("ReadOnlyPaths", "ReadWritePaths", "InaccessiblePaths", "BindPaths", "TemporaryFileSystem", "RootDirectory"),
    *("DynamicUser", "MountFlags", "ProcSubset"),
)
"""Each of these gives the service a mount namespace of its own (systemd.exec(5))."""


@pytest.fixture
def service() -> configparser.SectionProxy:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(UNIT)
    return unit["Service"]


def test_mount_appears_in_the_namespace_of_the_host(service: configparser.SectionProxy) -> None:
    assert not set(HIDING) & set(service)


def test_supervisor_is_the_main_process_and_is_stopped_first(service: configparser.SectionProxy) -> None:
    assert service["Type"] == "notify"
    assert service["KillMode"] == "mixed"
    assert service["Restart"] == "on-failure"
    assert service["EnvironmentFile"] == "/etc/modelfs/%i.env"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """The program is replaced, because it need not be installed where the test runs."""
    copy = tmp_path / "modelfs@models.service"
    copy.write_text(UNIT.read_text().replace("/usr/bin/modelfs", "/bin/true"))
    found = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (found.returncode, found.stderr) == (0, "")
