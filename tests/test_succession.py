"""A worker dies and the mount stays: the next one serves, and who waited sees nothing but a pause."""

import errno
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import supervised
from supervised import Bench, eventually, needs_fuse

from modelfs import mounting, runtime, unmounting

pytestmark = [pytest.mark.fuse, needs_fuse]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(tmp_path) as bench:
        yield bench


def read_hello(bench: Bench) -> str:
    return (bench.mountpoint / "hello").read_text()


def test_r5_a_killed_worker_is_replaced_and_the_mount_is_the_same(bench: Bench) -> None:
    started = bench.start()
    entry = mounting.mounted_at(str(bench.mountpoint))
    since_s = started.facts["since_s"]
    with (bench.mountpoint / "hello").open() as file:
        for restarts in (1, 2, 3):
            os.kill(started.worker, signal.SIGKILL)
            assert os.stat(bench.mountpoint).st_mode & 0o777 == 0o555
            os.statvfs(bench.mountpoint)  # never answered from a cache
            assert read_hello(bench) == "hello\n"
            assert eventually(lambda: started.facts["state"] == "mounted")
            assert started.facts["restarts"] == restarts
        assert file.read() == "hello\n"
    assert mounting.mounted_at(str(bench.mountpoint)) == entry
    assert (started.facts["restart_reason"], started.facts["since_s"]) == ("signal SIGKILL", since_s)
    assert started.words.count("the worker died and is replaced") == 3
    started.process.terminate()
    assert started.wait() == 0
    assert not bench.runtime_dir.exists()


@pytest.mark.parametrize("options", [(), ("before-6.9",)], ids=["sent again", "ended, as before Linux 6.9"])
def test_r5_who_waited_for_the_dead_worker_is_answered_by_the_next(bench: Bench, options: tuple[str, ...]) -> None:
    started = bench.start("ok", options=options)
    read_hello(bench)
    assert os.stat(bench.mountpoint / "once").st_size == 6  # its LOOKUP kills the first worker
    assert read_hello(bench) == "hello\n"
    assert started.facts["restarts"] == 1
    assert "crashing as asked" in started.words


@pytest.mark.parametrize("options", [(), ("before-6.9",)], ids=["sent again", "ended, as before Linux 6.9"])
def test_r5_a_worker_that_leaves_a_thread_in_the_kernel_is_replaced(bench: Bench, options: tuple[str, ...]) -> None:
    started = bench.start("ok", options=options)
    first = started.worker
    assert (bench.mountpoint / "pushed").read_text() == "hello\n"
    assert eventually(lambda: not Path(f"/proc/{first}").exists()), "it ends when its thread has its page"
    assert started.facts["restart_reason"] == "signal SIGKILL"
    assert started.facts["restarts"] == 1
    assert read_hello(bench) == "hello\n"


def test_r5_the_next_worker_reads_nothing_while_threads_of_the_last_one_run(bench: Bench) -> None:
    started = bench.start()
    (folder,) = map(Path, runtime.folders(str(bench.runtime_dir)))
    asking = subprocess.Popen(["stat", bench.mountpoint / "leave"], stdout=subprocess.DEVNULL)
    assert eventually(lambda: (folder / "lives").stat().st_size == 2)
    for _ in range(50):  # it could serve by now
        assert asking.poll() is None
        time.sleep(0.02)
    (folder / "end").touch()
    assert asking.wait(30) == 0
    assert eventually(lambda: started.facts["state"] == "mounted")
    assert (started.facts["restarts"], read_hello(bench)) == (1, "hello\n")


def test_a_thread_left_in_the_kernel_does_not_hold_up_the_end(bench: Bench) -> None:
    started = bench.start("second-is-silent")
    reader = subprocess.Popen(
        ["cat", bench.mountpoint / "pushed"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    assert eventually(lambda: started.facts["state"] == "restarting")
    started.process.terminate()
    assert started.wait() == 0
    assert reader.wait(60) != 0
    assert not started.is_mounted
    assert not bench.runtime_dir.exists()


def test_a_request_that_kills_every_worker_is_given_up_and_no_other(bench: Bench) -> None:
    started = bench.start()
    seen: list[str] = []
    over = threading.Event()

    def read_on() -> None:
        while not over.is_set():
            seen.append(read_hello(bench))
            os.statvfs(bench.mountpoint)

    reader = threading.Thread(target=read_on)
    reader.start()
    try:
        with pytest.raises(OSError, match="Stale") as caught:
            os.stat(bench.mountpoint / "crash")
        assert caught.value.errno == errno.ESTALE
    finally:
        over.set()
        reader.join(60)
    assert not reader.is_alive()
    assert set(seen) == {"hello\n"}
    assert read_hello(bench) == "hello\n"
    assert started.process.poll() is None
    # the kernel looks a path up once more by itself when it is told ESTALE
    assert len(re.findall("a request is given up.* request=LOOKUP inode=1", started.words)) == 2
    assert started.facts["restarts"] == 6


def test_a_worker_that_dies_before_it_serves_is_followed_by_another(bench: Bench) -> None:
    started = bench.start("second-dies")
    os.kill(started.worker, signal.SIGKILL)
    os.statvfs(bench.mountpoint)
    assert eventually(lambda: started.facts["restarts"] == 2 and started.facts["state"] == "mounted")
    assert started.facts["restart_reason"] == "status 7"
    assert read_hello(bench) == "hello\n"


def test_a_mount_that_nobody_can_serve_is_taken_down_in_the_end(bench: Bench) -> None:
    started = bench.start("only-one", options=("UNSERVED_MOST_S=0.5",))
    os.kill(started.worker, signal.SIGKILL)
    assert started.wait() == 1
    assert not started.is_mounted
    (folder,) = runtime.folders(str(bench.runtime_dir))
    assert not runtime.is_alive(folder)
    facts = runtime.description(folder)
    assert facts["state"] == "crashed"
    assert re.match("no worker has served for .* s: the worker ended with status 7", facts["reason"])
    assert "crashing as asked" not in started.words


@pytest.mark.parametrize("lazy", [False, True])
def test_unmounting_while_nobody_serves_ends_everything_cleanly(bench: Bench, lazy: bool) -> None:  # noqa: FBT001  a parameter of the test
    started = bench.start("second-is-silent")
    os.kill(started.worker, signal.SIGKILL)
    assert eventually(lambda: started.facts["state"] == "restarting")
    mounting.unmount(str(bench.mountpoint), lazy=lazy)
    assert started.wait() == 0
    assert not bench.runtime_dir.exists()


def test_a_signal_while_nobody_serves_ends_everything_cleanly(bench: Bench) -> None:
    started = bench.start("second-is-silent")
    os.kill(started.worker, signal.SIGKILL)
    assert eventually(lambda: started.facts["state"] == "restarting")
    waiting = subprocess.Popen([sys.executable, "-ISc", f"import os\nos.statvfs({str(bench.mountpoint)!r})"])
    started.process.terminate()
    assert started.wait() == 0
    assert not started.is_mounted
    assert not bench.runtime_dir.exists()
    assert waiting.wait(30) != 0, "who waited is told"


def test_a_connection_that_is_aborted_from_outside_leaves_no_dead_mount(bench: Bench) -> None:
    started = bench.start()
    entry = mounting.mounted_at(str(bench.mountpoint))
    assert entry is not None
    assert unmounting.abort(entry.device, within_s=30)
    assert started.wait() == 1
    assert not started.is_mounted
    assert "aborted from outside" in started.facts["reason"]


def test_a_mount_that_was_detached_is_still_served_to_those_who_use_it(bench: Bench) -> None:
    started = bench.start()
    with (bench.mountpoint / "hello").open() as file:
        mounting.unmount(str(bench.mountpoint), lazy=True)
        os.kill(started.worker, signal.SIGKILL)
        os.fstatvfs(file.fileno())
        assert file.read() == "hello\n"
    assert started.wait() == 0


def test_a_worker_that_was_stopped_does_not_outlive_its_mount(bench: Bench) -> None:
    started = bench.start()
    worker = started.worker
    os.kill(worker, signal.SIGSTOP)
    mounting.unmount(str(bench.mountpoint), lazy=False)
    assert started.wait() == 0
    assert supervised.has_ended(worker)


def test_other_users_of_the_service_manager_hear_of_a_restart(bench: Bench, tmp_path: Path) -> None:
    """sd_notify(3): the status says what is going on."""
    import socket  # noqa: PLC0415  here alone

    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(60)
        started = bench.start(foreground=True, environment={"NOTIFY_SOCKET": address})
        assert manager.recv(4096).startswith(b"READY=1")
        os.kill(started.worker, signal.SIGKILL)
        assert manager.recv(4096) == b"STATUS=Starting another worker, the last one ended with signal SIGKILL"
        assert manager.recv(4096).endswith(b"by worker number 2")
        started.process.terminate()
        assert manager.recv(4096) == b"STOPPING=1"
    assert started.wait() == 0
