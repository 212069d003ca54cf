"""The supervisor with a fake worker: what it mounts, what it survives, and that it leaves nothing."""

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import supervised
from supervised import Bench, eventually, needs_fuse

from modelfs import mounting

pytestmark = pytest.mark.fuse


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(tmp_path) as bench:
        yield bench


@needs_fuse
def test_ready_means_that_the_mount_answers(bench: Bench) -> None:
    started = bench.start()
    assert started.report == {"event": "ready", "pid": started.process.pid}
    assert (bench.mountpoint / "hello").read_text() == "hello\n"
    assert os.listdir(bench.mountpoint) == ["hello"]


@needs_fuse
def test_mount_table_shows_source_and_safe_options(bench: Bench) -> None:
    bench.start()
    entry = mounting.mounted_at(str(bench.mountpoint))
    assert entry is not None
    assert (entry.fstype, entry.source) == ("fuse.modelfs", supervised.SOURCE)
    assert {"ro", "default_permissions", "allow_other"} <= set(entry.super_options.split(","))
    with pytest.raises(OSError, match="Read-only") as caught:
        (bench.mountpoint / "new").touch()
    assert caught.value.errno == errno.EROFS


@needs_fuse
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_stop_signal_leaves_no_mount_process_or_file(bench: Bench, number: signal.Signals) -> None:
    started = bench.start()
    (worker,) = supervised.children(started.process.pid)
    started.process.send_signal(number)
    assert started.wait() == 0
    assert not started.is_mounted
    assert not Path(f"/proc/{worker}").exists()
    assert not bench.runtime_dir.exists()


@needs_fuse
def test_stop_signal_detaches_a_mount_that_is_in_use(bench: Bench) -> None:
    started = bench.start()
    descriptor = os.open(bench.mountpoint / "hello", os.O_RDONLY)
    started.process.terminate()
    assert started.wait() == 0
    assert not started.is_mounted
    with pytest.raises(OSError, match="not connected"):
        os.close(descriptor)  # close(2) asks the daemon to flush
    assert not bench.runtime_dir.exists()


@needs_fuse
@pytest.mark.parametrize("command", ["umount", "fusermount3 -u"])
def test_unmount_by_somebody_else_ends_everything_cleanly(bench: Bench, command: str) -> None:
    started = bench.start()
    subprocess.run([*command.split(), bench.mountpoint], check=True)
    assert started.wait() == 0
    assert not bench.runtime_dir.exists()


@needs_fuse
def test_worker_that_does_not_stop_is_killed(bench: Bench) -> None:
    started = bench.start("stubborn")
    started.process.terminate()
    assert started.wait() == 0
    assert not bench.runtime_dir.exists()


@needs_fuse
@pytest.mark.parametrize(
    ("what", "status", "message"),
    [
        ("fail", 2, "the bucket is missing. Create it."),
        ("die", 1, "the worker ended with status 7"),
        ("segfault", 1, "the worker ended with signal SIGSEGV"),
        ("silent", 1, "the worker did not list the repository within 4.5 s"),
        ("die-mounted", 1, "the worker ended with status 7"),
        ("no-answer", 1, "the worker did not agree on the protocol within"),
    ],
)
def test_mount_that_fails_says_why_and_mounts_nothing(bench: Bench, what: str, status: int, message: str) -> None:
    started = bench.start(what)
    assert started.report["event"] == "failed"
    assert started.report["message"].startswith(message)
    assert started.report["exit_status"] == status
    assert started.wait() == status
    assert not started.is_mounted
    assert bool(started.leftovers) == (status == 1), "a crash keeps its log, an error nothing"


@needs_fuse
def test_listing_that_makes_progress_is_not_bounded(bench: Bench) -> None:
    assert bench.start("slow-listing").report["event"] == "ready"


@needs_fuse
def test_dead_mount_is_healed(bench: Bench) -> None:
    for _ in range(2):
        started = bench.start("orphan")
        (worker,) = supervised.children(started.process.pid)
        started.process.kill()
        started.wait()
        os.kill(worker, signal.SIGKILL)
        assert eventually(lambda: mounting.probe(str(bench.mountpoint)) == "dead")
    assert bench.start().report["event"] == "ready"
    assert (bench.mountpoint / "hello").read_text() == "hello\n"
    assert sum(entry.mountpoint == str(bench.mountpoint) for entry in mounting.mount_table()) == 1


@needs_fuse
def test_the_next_mount_with_the_same_device_number_is_left_alone(bench: Bench, tmp_path: Path) -> None:
    """The kernel gives the number of a mount that is gone to the next one, which may be anybody's."""
    started = bench.start()
    (worker,) = supervised.children(started.process.pid)
    device = mounting.mounted_at(str(bench.mountpoint)).device  # type: ignore[union-attr]  # it is mounted
    for pid in (started.process.pid, worker):
        os.kill(pid, signal.SIGSTOP)
    mounting.unmount(str(bench.mountpoint), lazy=False)
    with Bench(tmp_path / "other") as another:
        another.start()
        entry = mounting.mounted_at(str(another.mountpoint))
        assert entry is not None
        if entry.device != device:
            pytest.skip("somebody else mounted at the same moment")
        for pid in (worker, started.process.pid):
            os.kill(pid, signal.SIGCONT)
        assert started.wait() == 0
        assert (another.mountpoint / "hello").read_text() == "hello\n"


@needs_fuse
def test_living_mount_is_busy_whoever_recorded_it(bench: Bench, tmp_path: Path) -> None:
    first = bench.start()
    for runtime_dir in (bench.runtime_dir, tmp_path / "other"):
        second = supervised.start("ok", bench.mountpoint, runtime_dir)
        assert "is busy" in second.report["message"]
        assert "modelfs unmount" in second.report["message"]
        second.process.communicate()
        assert second.wait() == 2
    assert first.is_mounted


@needs_fuse
def test_service_manager_hears_ready_and_stopping(bench: Bench, tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(30)
        started = bench.start(foreground=True, environment={"NOTIFY_SOCKET": address})
        assert manager.recv(4096).splitlines()[0] == b"READY=1"
        started.process.terminate()
        assert manager.recv(4096) == b"STOPPING=1"
    assert started.wait() == 0


@needs_fuse
def test_foreground_logs_to_standard_error(bench: Bench) -> None:
    started = bench.start(foreground=True)
    started.process.terminate()
    _, log = started.process.communicate(timeout=30)
    assert b"INFO modelfs.supervisor mounted mountpoint=" in log


@needs_fuse
def test_foreground_failure_is_one_line_on_standard_error(bench: Bench) -> None:
    started = bench.start("fail", foreground=True)
    _, log = started.process.communicate(timeout=30)
    assert log == b"modelfs: the bucket is missing. Create it.\n"
    assert started.wait() == 2


@needs_fuse
def test_nobody_mounts_through_fusermount3(tmp_path: Path) -> None:
    """Another user in a mount namespace of its own, where /dev/fuse is open to all, as distributions have it."""
    for program in ("unshare", "setpriv", "fusermount3"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}")
    base = Path("/tmp") / f"modelfs-test-{os.getpid()}"  # noqa: S108  pytest's own folder is closed to others
    (base / "mnt").mkdir(parents=True)
    node = tmp_path / "fuse"
    os.mknod(node, 0o20666, os.makedev(10, 229))
    node.chmod(0o666)
    try:
        for path in (base, base / "mnt"):
            shutil.chown(path, "nobody")
        # the interpreter may lie in root's home: the user may look everywhere, but is not root
        become = "setpriv --reuid nobody --clear-groups --inh-caps +dac_read_search --ambient-caps +dac_read_search"
        script = f'mount --bind {node} /dev/fuse && exec {become} "$@"'
        runner = [sys.executable, "-P", supervised.__file__, str(base / "mnt"), str(base / "run")]
        (base / "bin").mkdir()
        recorder = base / "bin/fusermount3"
        real = shutil.which("fusermount3")
        recorder.write_text(f'#!/bin/sh\nenv >>{base}/mnt.environment\nexec {real} "$@"\n')
        recorder.chmod(0o755)
        base.chmod(0o777)
        found = subprocess.run(
            ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", *runner],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd="/",
            env={**os.environ, "PATH": f"{base}/bin:{os.environ['PATH']}", "AWS_SECRET_ACCESS_KEY": "MARKsecret0001"},
        )
        assert found.returncode == 0, found.stderr
        helpers = (base / "mnt.environment").read_text()
    finally:
        shutil.rmtree(base)
    assert "_FUSE_COMMFD=" in helpers
    assert "MARKsecret0001" not in helpers
    seen = json.loads(found.stdout)
    assert seen["uid"] != 0
    assert seen["report"]["event"] == "ready", seen
    assert (seen["fstype"], seen["source"]) == ("fuse.modelfs", supervised.SOURCE)
    assert "allow_other" not in seen["options"]
    assert "default_permissions" in seen["options"]
    assert seen["content"] == "hello\n"
    assert seen["busy_errno"] == errno.EBUSY
    assert (seen["exit_status"], seen["mounted"], seen["left"]) == (0, False, 0)
