"""The process that stays for several mounts: what fails is begun again, what stands is left alone, all end together.

The supervisors are fakes, so nothing is mounted here; ``mount/test_several`` has real ones.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from supervised import eventually, has_ended

FAKE_SUPERVISOR = Path(__file__).with_name("fake_supervisor.py")


class Family:
    """A parent and its supervisors, each with a folder where it tells of its starts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[str] | None = None
        self.names: list[str] = []

    def begin(
        self, *kinds: str, at_once: int = 8, stopping_s: float = 25, **environment: str
    ) -> "subprocess.Popen[str]":
        """Start it with a mount of each kind, called "0", "1" and so on."""
        self.names = [str(number) for number in range(len(kinds))]
        for name in self.names:
            (self.folder / name).mkdir()
        plans = [
            {"url": kind, "mountpoint": f"/mnt/{name}", "folder": str(self.folder / name)}
            for name, kind in zip(self.names, kinds, strict=True)
        ]
        plans_fd = os.memfd_create("plans")
        family = {"plans": plans, "at_once": at_once, "log_level": "info", "log_format": "text"}
        os.write(plans_fd, json.dumps(family).encode())
        os.lseek(plans_fd, 0, os.SEEK_SET)
        command = [sys.executable, "-P", "-m", "modelfs.parent", "--plans-fd", str(plans_fd)]
        command += ["--stopping-s", str(stopping_s)]
        self.process = subprocess.Popen(
            [*command, sys.executable, str(FAKE_SUPERVISOR)],
            pass_fds=[plans_fd],
            env={**os.environ, **environment},
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(plans_fd)
        return self.process

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal, and return the exit status and the log."""
        assert self.process
        self.process.send_signal(number)
        log = self.process.communicate(timeout=60)[1]
        return self.process.returncode, log

    def starts(self, name: str) -> list[dict[str, Any]]:
        path = self.folder / name / "starts"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def is_ready(self, name: str) -> bool:
        return (self.folder / name / "ready").exists()

    def clean(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(60)
        for name in self.names:
            for start in self.starts(name):
                if not has_ended(start["pid"]):
                    os.kill(start["pid"], signal.SIGKILL)


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Family]:
    family = Family(tmp_path)
    yield family
    family.clean()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_signal_ends_all_supervisors_and_is_a_good_end(family: Family, number: signal.Signals) -> None:
    family.begin("ready", "ready", "ready")
    assert eventually(lambda: all(family.is_ready(name) for name in family.names))
    status, log = family.end(number)
    assert (status, "stopping" in log) == (0, True)
    assert all(has_ended(family.starts(name)[0]["pid"]) for name in family.names)


def test_mount_that_fails_stops_no_other_and_is_begun_again(family: Family) -> None:
    family.begin("ready", "refused once")
    assert eventually(lambda: family.is_ready("1"))
    assert len(family.starts("0")) == 1
    status, log = family.end()
    assert status == 0
    assert "mountpoint=/mnt/1 exit_status=2 pause_s=2" in log
    assert "/mnt/0" not in log


def test_mount_that_crashes_is_begun_again_while_another_stands(family: Family) -> None:
    family.begin("ready", "crash")
    assert eventually(lambda: family.is_ready("0") and family.is_ready("1"))
    (family.folder / "1" / "crash").touch()
    assert eventually(lambda: len(family.starts("1")) == 2)
    assert len(family.starts("0")) == 1
    assert family.end()[0] == 0


def test_all_that_fail_end_it_with_the_status_of_the_worst(family: Family) -> None:
    process = family.begin("refused", "refused", "crash")
    assert eventually(lambda: family.is_ready("2"))
    (family.folder / "2" / "crash").touch()
    process.communicate(timeout=60)
    assert process.returncode == 2


def test_mount_that_somebody_unmounted_stays_so_and_the_last_one_ends_it_well(family: Family) -> None:
    process = family.begin("ready", "ready")
    assert eventually(lambda: family.is_ready("0") and family.is_ready("1"))
    for name in family.names:
        os.kill(family.starts(name)[0]["pid"], signal.SIGTERM)  # a supervisor whose mount is unmounted ends with 0
    assert process.wait(60) == 0
    assert [len(family.starts(name)) for name in family.names] == [1, 1]


def test_no_more_than_so_many_start_at_one_time(family: Family) -> None:
    """One that is refused makes room as well as one that is ready, so all have their turn."""
    family.begin("ready", "refused", "ready", "ready", at_once=1)
    assert eventually(lambda: all(family.is_ready(name) for name in "023"))
    first = [(family.folder / name / "starts").stat().st_ctime_ns for name in "023"]
    assert first == sorted(first)
    assert family.end()[0] == 0


def test_service_manager_hears_ready_once_all_were_tried_and_of_no_supervisor(family: Family, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        family.begin("ready", "refused", NOTIFY_SOCKET=str(tmp_path / "notify"))
        heard = ""
        while "READY=1" not in heard:
            heard = manager.recv(4096).decode()
            assert heard.startswith(("EXTEND_TIMEOUT_USEC=", "READY=1\nSTATUS=Serving 1 of 2 mounts"))
        assert family.starts("1")
        assert family.end()[0] == 0
        while "STOPPING=1" not in heard:
            heard = manager.recv(4096).decode()
    assert not any(start["notify"] for name in family.names for start in family.starts(name))


def test_supervisor_that_does_not_end_is_killed_and_told(family: Family) -> None:
    family.begin("deaf", stopping_s=0.5)
    assert eventually(lambda: family.is_ready("0"))
    status, log = family.end()
    assert (status, "is killed" in log) == (1, True)
    assert eventually(lambda: has_ended(family.starts("0")[0]["pid"]))
