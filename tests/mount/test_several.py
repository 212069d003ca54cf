"""Several repositories on one machine: ``[[mounts]]``, ``mount --all`` and ``unmount --all``, as a person uses them."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from faultserver import FaultServer, Keys
from mount.mounting_for_tests import (
    ACCESS_KEY,
    MODELFS,
    SECRET_KEY,
    Mount,
    environment,
    is_mounted,
    processes_with_environment,
    wait_until,
)
from supervised import children


class Host:
    """A machine with a configuration file, two stores and a local repository."""

    def __init__(self, folder: Path, first: FaultServer, second: FaultServer) -> None:
        self.folder = folder
        self.config = folder / "config.toml"
        self.env = environment(folder / "run", HOME=str(folder), MODELFS_CONFIG=str(self.config))
        for store, content in ((first, b"of the first"), (second, b"of the second")):
            store.create_bucket("models")
            store.put("models", "repository/m/1/model.onnx", content)
        (folder / "local/m/1").mkdir(parents=True)
        (folder / "local/m/1/model.onnx").write_bytes(b"of the folder")
        self.urls = [f"s3://127.0.0.1:{store.port}/models/repository" for store in (first, second)]
        self.urls.append(str(folder / "local"))
        self.paths = [folder / "mnt" / name for name in "abc"]
        for path in self.paths:
            path.mkdir(parents=True)
        self.write()

    def write(self, *entries: tuple[str, Path, str], top: str = "") -> None:
        """Write the configuration file: URL, mount point and further lines of each entry."""
        texts = [f'[[mounts]]\nurl = "{url}"\nmountpoint = "{path}"\n{more}\n' for url, path, more in entries]
        self.config.write_text("\n".join([top, *texts]))

    def write_all(self) -> None:
        self.write(*zip(self.urls, self.paths, ["", "refresh = 3", ""], strict=True))

    def run(self, *arguments: str) -> tuple[int, list[str], list[str]]:
        """Run ``modelfs ARGUMENTS`` and return the exit status and what was said, sorted: mounts end in any order."""
        done = Mount(self.folder, self.env).command(*arguments)
        return done.returncode, sorted(done.stdout.splitlines()), sorted(done.stderr.splitlines())

    def popen(self, *arguments: str, prefix: tuple[str, ...] = (), **more: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*prefix, *MODELFS, *arguments],
            env={**self.env, **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def mounted(self) -> str:
        """Return the names of the mount points where something is mounted."""
        return "".join(path.name for path in self.paths if is_mounted(path))

    def read(self, path: Path) -> bytes:
        return (path / "m/1/model.onnx").read_bytes()

    def processes(self) -> list[int]:
        return processes_with_environment("MODELFS_RUNTIME_DIR", self.env["MODELFS_RUNTIME_DIR"])

    def is_clean(self) -> bool:
        return not self.mounted and not self.processes() and not (self.folder / "run").exists()


@pytest.fixture
def second() -> Iterator[FaultServer]:
    with FaultServer(keys=Keys(ACCESS_KEY, SECRET_KEY)) as server:
        yield server


@pytest.fixture
def host(tmp_path: Path, store: FaultServer, second: FaultServer) -> Iterator[Host]:
    host = Host(tmp_path, store, second)
    yield host
    host.run("unmount", "--all", "--lazy")
    for pid in host.processes():
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not host.processes())
    for path in host.paths:
        if is_mounted(path):
            subprocess.run(["umount", "--lazy", str(path)], check=True)


def test_all_are_mounted_once_shown_by_one_status_and_unmounted(host: Host) -> None:
    host.write_all()
    said = [f"{url} is mounted at {path}" for url, path in zip(host.urls, host.paths, strict=True)]
    assert host.run("mount", "--all") == (0, sorted(said), [])
    assert [host.read(path) for path in host.paths] == [b"of the first", b"of the second", b"of the folder"]
    again = [line.replace(" is mounted", " is already mounted") for line in said]
    assert host.run("mount", "--all") == (0, sorted(again), [])
    status = Mount(host.folder, host.env).command("status", "--json")
    shown = [(found["source"], found["mountpoint"], found["state"]) for found in json.loads(status.stdout)]
    ours = [found for found in shown if found[1] in map(str, host.paths)]
    assert ours == [(url, str(path), "healthy") for url, path in zip(host.urls, host.paths, strict=True)]
    assert host.run("unmount", "--all") == (0, [f"{path} is unmounted" for path in host.paths], [])
    assert host.run("unmount", "--all") == (0, ["nothing is mounted"], [])
    assert host.is_clean()


def test_one_that_fails_stops_no_other_and_is_mounted_by_the_next_call(host: Host, second: FaultServer) -> None:
    host.write_all()
    second.delete_bucket("models")
    status, said, complaints = host.run("mount", "--all")
    assert (status, len(said), host.mounted) == (2, 2, "ac")
    (complaint,) = complaints
    assert complaint.startswith(f"modelfs: {host.paths[1]}: ")
    second.create_bucket("models")
    second.put("models", "repository/m/1/model.onnx", b"mended")
    status, said, complaints = host.run("mount", "--all")
    assert (status, len(said), complaints) == (0, 3, [])
    assert host.read(host.paths[1]) == b"mended"


def test_mount_point_alone_mounts_its_entry_with_the_settings_of_that(host: Host) -> None:
    host.write_all()
    assert host.run("mount", str(host.paths[1])) == (0, [f"{host.urls[1]} is mounted at {host.paths[1]}"], [])
    assert host.mounted == "b"
    status, _, (complaint,) = host.run("mount", str(host.folder))
    assert status == 2
    assert "no mount point is given" in complaint
    assert host.run("unmount", str(host.paths[1]))[0] == 0
    host.env["MODELFS_MOUNTPOINT"] = str(host.paths[2])  # as a unit's environment file may name it
    assert host.run("mount")[0] == 0
    assert host.mounted == "c"
    del host.env["MODELFS_MOUNTPOINT"]


def test_url_and_mount_point_given_together_take_nothing_from_an_entry(host: Host) -> None:
    host.write((host.urls[0], host.paths[0], "refresh = 'wrong'"))
    assert host.run("mount", host.urls[1], str(host.paths[0]))[0] == 0
    assert host.read(host.paths[0]) == b"of the second"


@pytest.mark.parametrize("foreground", [(), ("--foreground",)])
def test_nothing_is_mounted_when_one_entry_is_wrong(host: Host, foreground: tuple[str, ...]) -> None:
    a, b, _ = host.paths
    first = (host.urls[0], a, "")
    for wrong, words in (
        ((host.urls[1], a, ""), "number 2 in {} has the same mountpoint"),
        ((host.urls[1], a / "below", ""), "number 2 in {}: mountpoint"),
        ((host.urls[1], b, "refesh = 3"), "number 2 in {} has an unknown key 'refesh'"),
        (("", b, ""), "number 2 in {} has no url"),
        (("as://account?sig=SECRET", b, ""), "number 2 in {}: the URL names no container"),
    ):
        host.write(first, wrong)
        status, said, (complaint,) = host.run("mount", "--all", *foreground)
        assert (status, said) == (2, [])
        assert complaint.startswith("modelfs: [[mounts]] " + words.format(host.config))
        assert "SECRET" not in complaint
        assert host.is_clean()


def test_nothing_is_mounted_when_another_repository_is_in_a_place(host: Host) -> None:
    assert host.run("mount", host.urls[2], str(host.paths[1]))[0] == 0
    host.write_all()
    status, said, (complaint,) = host.run("mount", "--all")
    assert (status, said, host.mounted) == (2, [], "b")
    assert f"number 2 in {host.config}: {host.urls[2]} is mounted at {host.paths[1]}, not {host.urls[1]}." in complaint


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("mount", "--all"), "has no [[mounts]]"),
        (("mount", "--all", "/srv"), "--all mounts what the configuration file lists"),
        (("unmount", "--all", "/srv"), "--all are given"),
    ],
)
def test_wrong_use_of_all_is_one_sentence(host: Host, arguments: tuple[str, ...], words: str) -> None:
    host.write()
    status, said, (complaint,) = host.run(*arguments)
    assert (status, said) == (2, [])
    assert words in complaint


def test_unmounting_all_names_what_is_in_use_and_lazy_detaches_it(host: Host) -> None:
    host.write_all()
    assert host.run("mount", "--all")[0] == 0
    with (host.paths[0] / "m/1/model.onnx").open():
        status, said, (complaint,) = host.run("unmount", "--all")
        assert (status, len(said), host.mounted) == (1, 2, "a")
        assert f"{host.paths[0]}: {host.paths[0]} is in use by" in complaint
        assert host.run("unmount", "--all", "--lazy")[0] == 0
        assert not host.mounted
    wait_until(lambda: not host.processes())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_mount_leaves_those_that_it_told_of_and_nothing_of_the_others(
    host: Host, second: FaultServer, number: signal.Signals
) -> None:
    host.write_all()
    second.black_hole()
    process = host.popen("mount", "--all", "--mount-timeout", "600")  # on a slow machine it would end by itself
    assert process.stdout
    said = [process.stdout.readline(), process.stdout.readline()]
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode in {130, 143}
    assert all("is mounted at" in line for line in said)
    assert host.mounted == "ac"
    assert len(host.processes()) == 4


def test_foreground_stays_says_whose_each_line_is_and_unmounts_all_at_a_signal(host: Host) -> None:
    host.write_all()
    process = host.popen("mount", "--all", "--foreground", MODELFS_LOG_FORMAT="json")
    wait_until(lambda: host.mounted == "abc")
    assert host.read(host.paths[1]) == b"of the second"
    process.terminate()
    log = process.communicate(timeout=60)[1]
    assert process.returncode == 0
    lines = [json.loads(line) for line in log.splitlines()]
    assert {line["mountpoint"] for line in lines if "mounted" in line["message"]} == set(map(str, host.paths))
    assert host.is_clean()


def test_foreground_mounts_again_what_crashes_and_touches_no_other(host: Host) -> None:
    host.write_all()
    process = host.popen("mount", "--all", "--foreground")
    wait_until(lambda: host.mounted == "abc")
    before = children(process.pid)
    found = json.loads(Mount(host.folder, host.env).command("status", "--json", str(host.paths[0])).stdout)
    victim = found[0]["pid"]
    os.kill(victim, signal.SIGKILL)  # its worker then unmounts
    wait_until(lambda: victim not in children(process.pid) and len(children(process.pid)) == 3)
    wait_until(lambda: host.mounted == "abc")
    assert set(before) - {victim} <= set(children(process.pid)), "the others' supervisors are the same"
    assert [host.read(path) for path in host.paths] == [b"of the first", b"of the second", b"of the folder"]
    process.terminate()
    process.communicate(timeout=60)
    assert host.is_clean()


def test_nothing_stays_mounted_when_the_foreground_process_is_killed(host: Host) -> None:
    host.write_all()
    process = host.popen("mount", "--all", "--foreground")
    wait_until(lambda: host.mounted == "abc")
    process.kill()
    process.communicate(timeout=60)
    wait_until(host.is_clean)


def test_foreground_ends_with_2_when_none_can_be_mounted(host: Host, store: FaultServer, second: FaultServer) -> None:
    store.delete_bucket("models")
    second.delete_bucket("models")
    host.write(*zip(host.urls[:2], host.paths, ["", ""], strict=False))
    status, _, said = host.run("mount", "--all", "--foreground")
    assert status == 2
    assert sum(line.startswith("modelfs: ") for line in said) == 2
    assert host.is_clean()


def test_service_manager_is_told_when_all_are_mounted(host: Host) -> None:
    """With the capabilities of packaging/systemd/modelfs.service."""
    host.write_all()
    address = str(host.folder / "notify")
    kept = "-all,+sys_admin,+dac_read_search,+dac_override"
    prefix = ("setpriv", "--no-new-privs", "--bounding-set", kept, "--inh-caps", "-all")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(60)
        process = host.popen("mount", "--all", prefix=prefix, NOTIFY_SOCKET=address)
        while (heard := manager.recv(4096)).startswith(b"EXTEND_TIMEOUT_USEC="):
            continue
        assert heard == b"READY=1\nSTATUS=Serving 3 of 3 mounts"
        assert host.mounted == "abc"
        process.terminate()
        assert manager.recv(4096) == b"STOPPING=1"
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert host.is_clean()


def test_first_process_of_a_container_stays_for_all_and_unmounts(host: Host) -> None:
    host.write_all()
    process = host.popen("mount", "--all", prefix=("unshare", "--pid", "--fork", "--kill-child"))
    wait_until(lambda: host.mounted == "abc")
    (first,) = children(process.pid)
    os.kill(first, signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert host.is_clean()


def test_token_in_the_file_is_seen_nowhere_else(host: Host) -> None:
    with FaultServer("azure") as azure:
        azure.create_bucket("models")
        azure.put("models", "r/m/1/model.onnx", b"of azure")
        url = f"as://http://127.0.0.1:{azure.port}/account/models/r?sv=2022-11-02&sig=SECRETMARKER"
        host.write((url, host.paths[0], ""), (host.urls[2], host.paths[1], ""))
        for arguments in (("mount", "--all"), ("mount", "--all")):
            said = host.run(*arguments)
            assert said[0] == 0, said
            assert "SECRETMARKER" not in str(said)
            assert "?***" in str(said)
        seen = [Path("/proc/mounts").read_text(), str(host.run("status")), str(host.run("status", "--json"))]
        for pid in host.processes():
            seen += [
                Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace") for name in ("cmdline", "environ")
            ]
        assert host.read(host.paths[0]) == b"of azure"
        assert host.run("unmount", "--all")[0] == 0
        process = host.popen("mount", "--all", "--foreground", MODELFS_LOG_LEVEL="debug")
        wait_until(lambda: host.mounted == "ab")
        seen += [Path(f"/proc/{pid}/cmdline").read_text() for pid in host.processes()]
        process.terminate()
        seen += process.communicate(timeout=60)
    assert "SECRETMARKER" not in "".join(seen)
