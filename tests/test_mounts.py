"""Living mounts from the outside: how they are, who holds them, how they end."""

import json
import mmap
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import supervised
from supervised import Supervised, eventually

from modelfs import mounting, mounts, runtime
from modelfs.errors import UsageError

pytestmark = [
    pytest.mark.fuse,
    pytest.mark.skipif(os.geteuid() != 0 or not Path("/dev/fuse").exists(), reason="needs root and /dev/fuse"),
]


class Bench:
    """A repository and a mount point; whatever is mounted there is ended in the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mountpoint = folder / "mnt"
        self.mountpoint.mkdir()
        self.repository = folder / "repository"
        self.repository.mkdir()
        (self.repository / "hello").write_text("hello\n")
        self.runtime_dir = folder / "run"
        self.root = str(self.runtime_dir)
        self.environment = {**os.environ, "MODELFS_RUNTIME_DIR": self.root, "HOME": str(folder)}
        self.environment |= {"MODELFS_STATE_DIR": str(folder / "state"), "MODELFS_SETTLE": "0"}
        self.environment["MODELFS_CACHE_SIZE"] = "0"
        self.environment.pop("NOTIFY_SOCKET", None)

    def start_fake(self, what: str = "ok", *options: str) -> Supervised:
        return supervised.start(what, self.mountpoint, self.runtime_dir, options=options)

    def popen(self, *arguments: str, prefix: tuple[str, ...] = ()) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*prefix, sys.executable, "-P", "-m", "modelfs", *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
        )

    def run(self, *arguments: str) -> tuple[int, str, str]:
        process = self.popen(*arguments)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def mount(self) -> None:
        assert self.run("mount", str(self.repository), str(self.mountpoint)) == (
            0,
            f"{self.repository} is mounted at {self.mountpoint}\n",
            "",
        )

    @property
    def is_clean(self) -> bool:
        return not self.runtime_dir.exists() and mounting.mounted_at(str(self.mountpoint)) is None

    def survey(self) -> mounts.Mount:
        (found,) = (mount for mount in mounts.survey(self.root) if mount.mountpoint == str(self.mountpoint))
        return found

    def clean(self) -> None:
        for folder in runtime.folders(self.root):
            pid = runtime.description(folder).get("pid")
            if isinstance(pid, int) and runtime.is_alive(folder):
                for child in (*supervised.children(pid), pid):
                    os.kill(child, signal.SIGKILL)
        while mounting.mounted_at(str(self.mountpoint)) is not None:
            mounting.unmount(str(self.mountpoint), lazy=True)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.clean()


def test_mount_status_unmount_leave_nothing(bench: Bench) -> None:
    bench.mount()
    assert (bench.mountpoint / "hello").read_text() == "hello\n"
    found = bench.survey()
    assert (found.state, found.source) == ("healthy", str(bench.repository))
    assert found.details["files"] == 1
    assert bench.run("status", str(bench.mountpoint))[0] == 0
    assert bench.run("unmount", str(bench.mountpoint)) == (0, "", "")
    assert bench.is_clean
    assert found.pid is not None
    assert supervised.has_ended(found.pid)


def test_url_and_mount_point_may_come_from_the_environment(bench: Bench) -> None:
    bench.environment |= {"MODELFS_URL": str(bench.repository), "MODELFS_MOUNTPOINT": str(bench.mountpoint)}
    assert bench.run("mount")[0] == 0
    assert bench.run("unmount")[0] == 0
    assert bench.is_clean


def test_flags_reach_the_mount(bench: Bench) -> None:
    flags = "--uid 7 --gid 8 --file-mode 0400 --dir-mode 0500 --no-allow-other --log-format json --log-file log"
    assert bench.run("mount", str(bench.repository), str(bench.mountpoint), *flags.split())[0] == 0
    entry = mounting.mounted_at(str(bench.mountpoint))
    assert entry is not None
    assert "allow_other" not in entry.super_options
    found = (bench.mountpoint / "hello").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (7, 8, 0o400)
    assert bench.mountpoint.stat().st_mode & 0o7777 == 0o500
    assert bench.run("unmount", str(bench.mountpoint))[0] == 0
    lines = [json.loads(line) for line in (bench.folder / "log").read_text().splitlines()]
    assert any(line["message"].startswith("mounted mountpoint=") for line in lines)
    assert bench.is_clean


def test_runtime_folder_of_the_configuration_file_is_found_by_all(bench: Bench) -> None:
    del bench.environment["MODELFS_RUNTIME_DIR"]
    (bench.folder / ".config" / "modelfs").mkdir(parents=True)
    (bench.folder / ".config" / "modelfs" / "config.toml").write_text(f'runtime_dir = "{bench.root}"')
    bench.mount()
    assert bench.survey().state == "healthy"
    code, out, _ = bench.run("status", "--json", str(bench.mountpoint))
    assert (code, json.loads(out)[0]["state"]) == (0, "healthy")
    assert bench.run("unmount", str(bench.mountpoint))[0] == 0
    assert bench.is_clean


def test_background_mount_holds_no_terminal_folder_or_descriptor(bench: Bench) -> None:
    bench.mount()
    pid = bench.survey().pid
    assert pid is not None
    for process in (pid, *supervised.children(pid)):
        assert Path(f"/proc/{process}/cwd").readlink() == Path("/")
        assert os.getsid(process) == process
        for number in (0, 1):
            assert Path(f"/proc/{process}/fd/{number}").readlink() == Path("/dev/null")
        secret = str(bench.repository).encode()
        assert secret not in Path(f"/proc/{process}/cmdline").read_bytes()


def test_mount_in_use_is_not_unmounted_and_its_holders_are_named(bench: Bench) -> None:
    bench.mount()
    holder = subprocess.Popen(["sleep", "60"], cwd=bench.mountpoint)
    try:
        code, _, err = bench.run("unmount", str(bench.mountpoint))
        assert code == 1
        (line,) = err.splitlines()
        assert f"is in use by sleep (pid {holder.pid})" in line
        assert "modelfs unmount --lazy" in line
        assert bench.survey().state == "healthy"
        assert bench.run("unmount", "--lazy", str(bench.mountpoint))[0] == 0
        assert mounting.mounted_at(str(bench.mountpoint)) is None
        assert bench.survey().state == "detached"
    finally:
        holder.kill()
        holder.wait()
    assert eventually(lambda: bench.is_clean), "the daemon ends with its last user"


def test_holders_are_found_by_file_and_by_map(bench: Bench) -> None:
    supervisor = bench.start_fake().process
    me = f"{Path('/proc/self/comm').read_text().strip()} (pid {os.getpid()})"
    with (bench.mountpoint / "hello").open() as file:
        assert list(mounts.holders(str(bench.mountpoint))) == [me]
        mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    assert list(mounts.holders(str(bench.mountpoint))) == [me]
    mapped.close()
    assert list(mounts.holders(str(bench.mountpoint))) == []
    supervisor.terminate()
    supervisor.wait()


def test_dead_mount_is_told_and_unmounted(bench: Bench) -> None:
    with bench.start_fake().process as supervisor:
        (worker,) = supervised.children(supervisor.pid)
        supervisor.kill()
        os.kill(worker, signal.SIGKILL)
    assert eventually(lambda: bench.survey().state == "dead")
    code, out, _ = bench.run("status", str(bench.mountpoint))
    assert code == 1
    assert "modelfs unmount" in out
    for command in (("refresh",), ("ls", "--pending"), ("warm",)):
        code, _, said = bench.run(*command, str(bench.mountpoint))
        assert code == 2, (command, said)
        assert f"are gone. Run 'modelfs unmount {bench.mountpoint}', and mount it again." in said
    assert bench.run("unmount", str(bench.mountpoint)) == (0, "", "")
    assert bench.is_clean or list(bench.runtime_dir.iterdir()) == []


def test_mount_heals_what_a_crash_left(bench: Bench) -> None:
    with bench.start_fake().process as supervisor:
        (worker,) = supervised.children(supervisor.pid)
        supervisor.kill()
        os.kill(worker, signal.SIGKILL)
    bench.mount()
    assert bench.survey().state == "healthy"
    assert bench.run("unmount", str(bench.mountpoint))[0] == 0


def test_crash_is_told_with_its_log_until_it_is_unmounted(bench: Bench) -> None:
    started = bench.start_fake("only-one", "UNSERVED_MOST_S=0")
    os.kill(started.worker, signal.SIGKILL)
    assert started.wait() == 1
    found = bench.survey()
    assert found.state == "crashed"
    assert "no worker has served" in found.reason
    assert found.log
    assert "could not take over" in Path(found.log).read_text()
    assert bench.run("unmount", str(bench.mountpoint))[0] == 0
    with pytest.raises(UsageError):
        mounts.unmount(bench.root, str(bench.mountpoint), lazy=False)


def test_r5_restarts_are_told_as_text_and_as_json(bench: Bench) -> None:
    bench.mount()
    assert "restarted" not in bench.run("status", str(bench.mountpoint))[1]
    pid = bench.survey().pid
    assert pid is not None
    (worker,) = supervised.children(pid)
    os.kill(worker, signal.SIGKILL)
    assert (bench.mountpoint / "hello").read_text() == "hello\n"
    assert eventually(lambda: bench.survey().state == "healthy")
    found = bench.survey()
    assert (found.restarts, found.restart_reason) == (1, "signal SIGKILL")
    code, out, _ = bench.run("status", "--json", str(bench.mountpoint))
    assert (code, json.loads(out)[0]["restarts"], json.loads(out)[0]["restart_reason"]) == (0, 1, "signal SIGKILL")
    told = bench.run("status", str(bench.mountpoint))[1]
    assert re.search(r"healthy \(worker restarted once, last 20.*Z after signal SIGKILL\)", told)
    code, out, _ = bench.run("check", str(bench.mountpoint))
    assert code == 1
    assert "its worker was replaced once, last" in out
    assert bench.run("unmount", str(bench.mountpoint))[0] == 0


def test_a_mount_whose_next_worker_is_starting_is_told_as_such(bench: Bench) -> None:
    started = bench.start_fake("second-is-silent")
    os.kill(started.worker, signal.SIGKILL)
    assert eventually(lambda: bench.survey().state == "restarting")
    assert "signal SIGKILL" in bench.survey().reason
    assert bench.run("status")[0] == 1
    assert bench.run("unmount", str(bench.mountpoint)) == (0, "", "")
    assert started.wait() == 0


def test_worker_that_does_not_answer_is_unhealthy(bench: Bench) -> None:
    bench.mount()
    pid = bench.survey().pid
    assert pid is not None
    (worker,) = supervised.children(pid)
    os.kill(worker, signal.SIGSTOP)
    try:
        found = bench.survey()
        assert (found.state, found.reason) == ("unhealthy", "the worker does not answer within 3 s")
    finally:
        os.kill(worker, signal.SIGCONT)
    assert bench.survey().state == "healthy"


def test_mount_of_another_runtime_folder_is_seen_in_the_table(bench: Bench, tmp_path: Path) -> None:
    with bench.start_fake().process as supervisor:
        (found,) = (m for m in mounts.survey(str(tmp_path / "other")) if m.mountpoint == str(bench.mountpoint))
        assert (found.state, found.source) == ("healthy", supervised.SOURCE)
        supervisor.terminate()


@pytest.fixture
def silent_url() -> Iterator[str]:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        yield f"s3://127.0.0.1:{silent.getsockname()[1]}/bucket"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_mount_leaves_nothing(bench: Bench, silent_url: str, number: signal.Signals, status: int) -> None:
    bench.environment |= {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}
    process = bench.popen("mount", silent_url, str(bench.mountpoint))
    assert eventually(lambda: any(runtime.is_alive(folder) for folder in runtime.folders(bench.root)))
    assert bench.survey().state == "starting"
    process.send_signal(number)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == status
    assert bench.is_clean


def test_unmount_ends_a_mount_that_is_still_starting(bench: Bench, silent_url: str) -> None:
    bench.environment |= {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}
    process = bench.popen("mount", silent_url, str(bench.mountpoint))
    assert eventually(lambda: any(runtime.is_alive(folder) for folder in runtime.folders(bench.root)))
    assert bench.run("unmount", str(bench.mountpoint))[0] == 0
    _, err = process.communicate(timeout=60)
    assert err == "modelfs: stopped before the mount was ready.\n"
    assert process.returncode == 1
    assert bench.is_clean


def test_foreground_is_the_supervisor_itself(bench: Bench) -> None:
    process = bench.popen("mount", "--foreground", str(bench.repository), str(bench.mountpoint))
    assert eventually((bench.mountpoint / "hello").exists)
    assert eventually(lambda: bench.survey().state == "healthy")  # it answers a moment before that is reported
    assert bench.survey().pid == process.pid
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "mounted mountpoint=" in err
    assert bench.is_clean


def test_mount_under_a_service_manager_stays_and_reports(bench: Bench) -> None:
    """As packaging/systemd starts it: settings from the environment, the capabilities of the unit."""
    address = str(bench.folder / "notify")
    bench.environment |= {
        "NOTIFY_SOCKET": address,
        "MODELFS_URL": str(bench.repository),
        "MODELFS_MOUNTPOINT": str(bench.mountpoint),
    }
    kept = "-all,+sys_admin,+dac_read_search,+dac_override"
    prefix = ("setpriv", "--no-new-privs", "--bounding-set", kept, "--inh-caps", "-all")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(30)
        process = bench.popen("mount", prefix=prefix)
        assert manager.recv(4096).startswith(b"EXTEND_TIMEOUT_USEC=")  # with each page of the first listing
        assert manager.recv(4096).startswith(b"READY=1\nSTATUS=Serving ")
        assert (bench.mountpoint / "hello").read_text() == "hello\n"
        assert bench.survey().pid == process.pid
        process.terminate()
        assert manager.recv(4096) == b"STOPPING=1"
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert bench.is_clean


def test_first_process_of_a_container_stays_reaps_and_unmounts(bench: Bench) -> None:
    """In a pid namespace of its own, as the entry point of a container."""
    prefix = ("unshare", "--pid", "--fork", "--kill-child")
    process = bench.popen("mount", str(bench.repository), str(bench.mountpoint), prefix=prefix)
    assert eventually((bench.mountpoint / "hello").exists)
    (first,) = supervised.children(process.pid)
    (worker,) = supervised.children(first)
    make_orphan = "import os, time; os.fork() or time.sleep(60)"
    subprocess.run(["nsenter", "-t", str(first), "-p", sys.executable, "-c", make_orphan], check=True)
    assert eventually(lambda: len(supervised.children(first)) == 2)
    (orphan,) = set(supervised.children(first)) - {worker}
    os.kill(orphan, signal.SIGKILL)
    assert eventually(lambda: supervised.children(first) == [worker]), "reaped, not a zombie"
    os.kill(first, signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert bench.is_clean
