"""A real mount while its store misbehaves, and when it is stopped."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from faultserver import Fault, FaultServer, Reset, Stall, Stamped, Status, Truncate
from mount.mounting_for_tests import MODELFS, PATIENCE_S, environment, is_mounted, mounted, wait_until


def test_three_hundred_reads_on_a_stalled_store_delay_no_stat(store: FaultServer, url: str, tmp_path: Path) -> None:
    size = 50_000_000
    for number in range(4):
        store.put("models", f"repository/m/1/{number}", Stamped(f"{number}", "v1", size))
    with mounted(url, tmp_path) as mount:
        stall = store.fail(Fault(Stall(), kind="get"))
        wrong: list[str] = []

        def read(number: int, offset: int) -> None:
            descriptor = os.open(mount.path / "m" / "1" / str(number), os.O_RDONLY | os.O_DIRECT * (number % 2))
            try:
                if bytes(os.pread(descriptor, 4096, offset)) != Stamped(f"{number}", "v1", size).read(offset, 4096):
                    wrong.append(f"{number} at {offset}")
            finally:
                os.close(descriptor)

        readers = [
            # half of them one after another through a file, half all over it
            threading.Thread(
                target=read, args=(each % 4, each * 4096 if each % 8 < 4 else each * 159_744 // 4096 * 4096)
            )
            for each in range(300)
        ]
        for reader in readers:
            reader.start()
        wait_until(lambda: stall.hits > 0)
        time.sleep(1)  # the rest of them arrive
        began = time.monotonic()
        names = [os.stat(mount.path / "m" / "1" / name).st_size for name in os.listdir(mount.path / "m" / "1")]
        took_s = time.monotonic() - began
        assert names == [size] * 4
        assert took_s < 5, "metadata waited behind data"  # it would be until the stall is healed
        store.heal()
        for reader in readers:
            reader.join(PATIENCE_S)
        assert not wrong
        assert not any(reader.is_alive() for reader in readers)


@pytest.mark.parametrize("effect", [Status(503), Status(500), Reset(100_000), Truncate(70_000), Status(403)])
def test_r4_a_read_outlives_faults_of_the_store(store: FaultServer, url: str, tmp_path: Path, effect: Status) -> None:
    content = Stamped("x", "v1", 20_000_000)
    store.put("models", "repository/m/1/x", content)
    with mounted(url, tmp_path) as mount:
        store.fail(Fault(effect, kind="get", every=2, times=6))
        assert (mount.path / "m" / "1" / "x").read_bytes() == content.read(0, content.size)


def _begins_with(path: Path, expected: bytes) -> bool:
    """Tell whether a file is this one by now; until then it is what was found to be gone, and cannot be opened."""
    try:
        with path.open("rb") as file:
            return file.read(len(expected)) == expected
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
        return False


def test_r12_a_replaced_object_is_never_mixed_and_opens_anew(store: FaultServer, url: str, tmp_path: Path) -> None:
    old, new = Stamped("x", "v1", 30_000_000), Stamped("x", "v2", 30_000_000)
    store.put("models", "repository/m/1/x", old)
    with mounted(url, tmp_path, "--refresh", "1") as mount:
        path = mount.path / "m" / "1" / "x"
        with path.open("rb", buffering=0) as file:
            assert file.read(4096) == old.read(0, 4096)
            store.put("models", "repository/m/1/x", new)
            # what was on its way before the change is still the old version, whole; the rest is refused
            assert _read_until_refused(file.fileno(), old) == errno.ESTALE
        wait_until(lambda: _begins_with(path, bytes(new.read(0, 4096))))
        assert path.read_bytes() == new.read(0, new.size)


def test_r1_nothing_disappears_while_the_store_is_away(store: FaultServer, url: str, tmp_path: Path) -> None:
    store.put("models", "repository/m/1/x", b"x")
    with mounted(url, tmp_path, "--refresh", "1") as mount:
        store.down()
        wait_until(lambda: mount.status()["state"] == "unhealthy")
        assert (mount.path / "m" / "1").is_dir()
        assert "cannot be connected" in mount.status()["reason"]
        store.put("models", "repository/m/2/x", b"y")
        store.up()
        wait_until((mount.path / "m" / "2" / "x").exists)
        wait_until(lambda: mount.status()["state"] == "healthy")


def test_r2_nothing_disappears_when_page_two_of_three_fails(store: FaultServer, url: str, tmp_path: Path) -> None:
    for number in range(2100):
        store.put("models", f"repository/m/1/{number:05}", b"")
    with mounted(url, tmp_path, "--refresh", "1") as mount:
        assert len(os.listdir(mount.path / "m" / "1")) == 2100
        fault = store.fail(Fault(Status(500), kind="list", page=2))
        store.clear_log()
        wait_until(lambda: fault.hits >= 3)
        assert len(os.listdir(mount.path / "m" / "1")) == 2100
        assert not store.requests(kind="list", key="") or all(
            record.page in {1, 2} for record in store.requests(kind="list")
        )


def test_an_empty_bucket_mounts_and_models_that_arrive_later_appear(
    store: FaultServer, url: str, tmp_path: Path
) -> None:
    with mounted(url, tmp_path, "--refresh", "1") as mount:
        assert os.listdir(mount.path) == []
        store.put("models", "repository/late/1/x", b"here")
        wait_until((mount.path / "late").exists)
        assert (mount.path / "late" / "1" / "x").read_bytes() == b"here"


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "unmount", "umount", "unmount while open"])
def test_stopping_leaves_no_mount_no_process_no_file(store: FaultServer, url: str, tmp_path: Path, how: str) -> None:
    store.put("models", "repository/m/1/x", Stamped("x", "v1", 1_000_000))
    with mounted(url, tmp_path) as mount:
        (mount.path / "m" / "1" / "x").read_bytes()
        runtime = tmp_path / "run"
        assert any(runtime.iterdir())
        supervisor = mount.status()["pid"]
        if how.startswith("SIG"):
            os.kill(supervisor, getattr(signal, how))
        elif how == "umount":
            subprocess.run(["umount", mount.path], check=True)
        elif how == "unmount":
            assert mount.command("unmount", str(mount.path)).returncode == 0
        else:
            with (mount.path / "m" / "1" / "x").open("rb"):
                busy = mount.command("unmount", str(mount.path))
                assert (busy.returncode, is_mounted(mount.path)) == (1, True)
                assert str(os.getpid()) in busy.stderr  # who holds it
            assert mount.command("unmount", str(mount.path)).returncode == 0
        wait_until(lambda: not mount.processes())
        assert not is_mounted(mount.path)
        assert not runtime.exists() or not any(runtime.iterdir())


def test_when_the_supervisor_alone_is_killed_the_worker_unmounts_and_ends(
    store: FaultServer, url: str, tmp_path: Path
) -> None:
    store.put("models", "repository/m/1/x", b"x")
    with mounted(url, tmp_path) as mount, (mount.path / "m" / "1" / "x").open("rb"):
        os.kill(mount.status()["pid"], signal.SIGKILL)
        wait_until(lambda: not mount.processes())
        assert not is_mounted(mount.path)
        assert mount.command("mount", url, str(mount.path)).returncode == 0


def test_the_next_mount_heals_one_whose_processes_were_killed(store: FaultServer, url: str, tmp_path: Path) -> None:
    store.put("models", "repository/m/1/x", b"x")
    with mounted(url, tmp_path) as mount:
        os.listdir(mount.path)  # the kernel remembers this for a second
        processes = mount.processes()
        for pid in processes:
            os.kill(pid, signal.SIGSTOP)  # else the one that is left would clean up
        for pid in processes:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not mount.processes())
        assert mount.status()["state"] == "dead"
        assert mount.command("mount", url, str(mount.path)).returncode == 0
        assert (mount.path / "m" / "1" / "x").read_bytes() == b"x"
        assert mount.command("unmount", str(mount.path)).returncode == 0
        assert not is_mounted(mount.path)


def test_a_detached_mount_ends_with_its_last_reader_also_while_the_store_stalls(
    store: FaultServer, url: str, tmp_path: Path
) -> None:
    store.put("models", "repository/m/1/x", Stamped("x", "v1", 50_000_000))
    with mounted(url, tmp_path) as mount:
        stall = store.fail(Fault(Stall(), kind="get"))
        reader = subprocess.Popen(["cat", mount.path / "m" / "1" / "x"], stdout=subprocess.DEVNULL)
        wait_until(lambda: stall.hits)
        assert mount.command("unmount", "--lazy", str(mount.path)).returncode == 0
        assert not is_mounted(mount.path)
        assert mount.processes()
        reader.kill()
        reader.wait(PATIENCE_S)
        wait_until(lambda: not mount.processes())


def test_a_mount_point_on_which_something_else_is_mounted_is_refused(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    path = tmp_path / "models"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", path], check=True)
    try:
        command = [*MODELFS, "mount", str(tmp_path / "source"), str(path)]
        refused = subprocess.run(
            command, env=environment(tmp_path / "run"), capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
        assert "tmpfs is mounted there" in refused.stderr
    finally:
        subprocess.run(["umount", path], check=True)


def test_sigterm_unmounts_also_where_a_folder_above_was_renamed(store: FaultServer, url: str, tmp_path: Path) -> None:
    store.put("models", "repository/m/1/x", b"x")
    (tmp_path / "before").mkdir()
    with mounted(url, tmp_path / "before") as mount:
        supervisor = mount.status()["pid"]
        (tmp_path / "before").rename(tmp_path / "after")
        assert is_mounted(tmp_path / "after" / "models")
        os.kill(supervisor, signal.SIGTERM)
        wait_until(lambda: not mount.processes())
        assert not is_mounted(tmp_path / "after" / "models")


def test_a_handler_with_a_bug_answers_eio_and_the_mount_lives_on(tmp_path: Path) -> None:
    source = tmp_path / "source" / "m"
    source.mkdir(parents=True)
    (source / "good").write_bytes(b"good")
    (source / "bad").write_bytes(b"bad")
    with mounted(str(source.parent), tmp_path, PYTHONPATH=str(Path(__file__).parent / "buggy")) as mount:
        for _ in range(3):
            with pytest.raises(OSError, match=os.strerror(errno.EIO)):
                (mount.path / "m" / "bad").read_bytes()
            assert (mount.path / "m" / "good").read_bytes() == b"good"


def test_in_the_foreground_ctrl_c_unmounts_and_exits_with_zero(store: FaultServer, url: str, tmp_path: Path) -> None:
    store.put("models", "repository/m/1/x", b"x")
    path = tmp_path / "models"
    path.mkdir()
    process = subprocess.Popen(
        [*MODELFS, "mount", "--foreground", url, str(path)],
        env=environment(tmp_path / "run"),
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        wait_until(lambda: is_mounted(path) or process.poll() is not None)
        wait_until((path / "m").exists)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, said
        assert not is_mounted(path)
    finally:
        process.kill()
        subprocess.run(["umount", "-l", path], check=False, stderr=subprocess.DEVNULL)


def test_python_dash_m_and_the_command_are_the_same() -> None:
    said = {
        subprocess.run([*command, "--version"], capture_output=True, text=True, check=True).stdout
        for command in (MODELFS, (str(Path(sys.executable).parent / "modelfs"),))
    }
    assert len(said) == 1


def _read_until_refused(descriptor: int, content: Stamped) -> int | None:
    """Read all of a file backwards, comparing each MiB, and return the errno that ends it, or None."""
    for offset in range(content.size - content.size % (1 << 20), -1, -(1 << 20)):
        try:
            assert os.pread(descriptor, 1 << 20, offset) == content.read(offset, 1 << 20)
        except OSError as error:
            return error.errno
    return None
