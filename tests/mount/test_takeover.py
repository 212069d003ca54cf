"""R5 on real mounts: the worker dies, the mount stays, and who reads sees nothing but a pause."""

import errno
import json
import mmap
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from faultserver import Fault, FaultServer, Stall, Stamped, write_stamped
from mount.mounting_for_tests import ACCESS_KEY, PATIENCE_S, SECRET_KEY, is_mounted, mounted, wait_until
from mount.takeovers import HERE, all_gone, kill_worker, reading, wait_until_served

MIB = 1 << 20
KILLS = (signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL)  # more come with growing pauses: tests/soak/kill_workers.py


def put(store: FaultServer, folder: Path, key: str, size: int) -> Path:
    """Store a stamped file, and return it as the source to compare with."""
    source = folder / key.replace("/", "_")
    write_stamped(source, key, "v1", size)
    store.put("models", f"repository/{key}", source)
    return source


@pytest.mark.parametrize("older", [False, True], ids=["sent again", "ended, as before Linux 6.9"])
def test_r5_readers_and_mappings_see_nothing_of_a_worker_that_is_killed_again_and_again(
    store: FaultServer,
    url: str,
    tmp_path: Path,
    older: bool,  # noqa: FBT001  a parameter of the test
) -> None:
    source = put(store, tmp_path, "m/1/x", 40 * MIB + 77)
    for number in range(20):
        store.put("models", f"repository/n{number}/config.pbtxt", b"x")
    patched = {"PYTHONPATH": str(HERE / "before_6_9")} if older else {}
    with mounted(url, tmp_path, "--memory", "64M", "--refresh", "2", **patched) as mount:
        supervisor, killed = mount.status()["pid"], []
        how = "look-up" if older else "walk"
        with reading(mount.path / "m" / "1" / "x", source, mount.path, how=how) as readers:
            for number in KILLS:
                readers.come_round()
                killed.append(kill_worker(supervisor, number))
            readers.come_round()
        found = mount.status()
        assert (found["restarts"], found["restart_reason"], found["pid"]) == (len(KILLS), "signal SIGKILL", supervisor)
        wait_until(lambda: all_gone(killed))
        assert mount.command("unmount", str(mount.path)).returncode == 0
        assert not mount.processes()


def test_r5_names_are_answered_at_once_and_reads_when_the_store_is_back(
    store: FaultServer, url: str, tmp_path: Path
) -> None:
    content = Stamped("x", "v1", 20 * MIB)
    store.put("models", "repository/m/1/x", content)
    store.put("models", "repository/m/config.pbtxt", b"known")
    with mounted(url, tmp_path, "--refresh", "1", "--mount-timeout", "2") as mount:
        path = mount.path / "m" / "1" / "x"
        assert (mount.path / "m" / "config.pbtxt").read_bytes() == b"known"
        with path.open("rb", buffering=0) as file:
            assert os.pread(file.fileno(), 4096, 0) == content.read(0, 4096)
            before = _seen(mount.path)
            store.down()
            kill_worker(mount.status()["pid"])
            assert _seen(mount.path) == before
            assert os.fstat(file.fileno()).st_size == content.size
            assert (mount.path / "m" / "config.pbtxt").read_bytes() == b"known"  # from the page cache
            cat = subprocess.Popen(["tail", "-c", "1000", path], stdout=subprocess.PIPE)
            wait_until_served(mount, restarts=1)
            wait_until(lambda: mount.figures()["reads_failing"])
            assert cat.poll() is None
            store.up()
            assert cat.communicate(timeout=PATIENCE_S)[0] == content.read(content.size - 1000, 1000)
            assert os.pread(file.fileno(), 4096, 10 * MIB) == content.read(10 * MIB, 4096)


def test_r5_a_store_that_cannot_even_be_opened_holds_no_name_up(store: FaultServer, url: str, tmp_path: Path) -> None:
    content = Stamped("x", "v1", 20 * MIB)
    store.put("models", "repository/m/1/x", content)
    keys = tmp_path / "keys.json"
    text = json.dumps({"s3": {"": {"secret_key": SECRET_KEY, "key_id": ACCESS_KEY, "region": "us-east-1"}}})
    keys.write_text(text)
    with mounted(url, tmp_path, TRITON_CLOUD_CREDENTIAL_PATH=str(keys)) as mount:
        before = _seen(mount.path)
        keys.unlink()
        kill_worker(mount.status()["pid"])
        assert _seen(mount.path) == before
        cat = subprocess.Popen(["tail", "-c", "1000", mount.path / "m" / "1" / "x"], stdout=subprocess.PIPE)
        wait_until(lambda: "cannot be opened" in Path(mount.status()["log"]).read_text())
        assert cat.poll() is None
        keys.write_text(text)
        assert cat.communicate(timeout=PATIENCE_S)[0] == content.read(content.size - 1000, 1000)


def test_r5_a_replaced_file_that_is_open_stays_what_it_was(store: FaultServer, url: str, tmp_path: Path) -> None:
    old, new = Stamped("x", "v1", 8 * MIB), Stamped("x", "v2", 9 * MIB)
    store.put("models", "repository/m/1/x", old)
    with mounted(url, tmp_path, "--refresh", "1") as mount:
        path = mount.path / "m" / "1" / "x"
        with path.open("rb", buffering=0) as file:
            assert file.read(4096) == old.read(0, 4096)
            store.put("models", "repository/m/1/x", new)
            wait_until(lambda: path.stat().st_size == new.size)
            after = _seen(mount.path)
            kill_worker(mount.status()["pid"])
            assert _seen(mount.path) == after
            os.posix_fadvise(file.fileno(), 4 * MIB, 0, os.POSIX_FADV_DONTNEED)
            assert os.pread(file.fileno(), 4096, 0) == old.read(0, 4096)
            with pytest.raises(OSError, match=os.strerror(errno.ESTALE)):
                os.pread(file.fileno(), 4096, 6 * MIB)  # the store has only the new version, which is not this file
            assert os.fstat(file.fileno()).st_size == old.size
            assert path.read_bytes() == new.read(0, new.size)


def test_r5_a_mapping_of_a_replaced_file_outlives_two_workers(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "m" / "1").mkdir(parents=True)
    file = source / "m" / "1" / "x"
    write_stamped(file, "x", "v1", 2 * MIB)
    with mounted(str(source), tmp_path, "--refresh", "1") as mount:
        path = mount.path / "m" / "1" / "x"
        with path.open("rb") as opened:
            mapping = mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ)
        held = mapping[:]
        write_stamped(tmp_path / "new", "x", "v2", 3 * MIB)
        (tmp_path / "new").rename(file)
        wait_until(lambda: path.stat().st_size == 3 * MIB)
        for restarts in (1, 2):
            kill_worker(mount.status()["pid"])
            wait_until_served(mount, restarts=restarts)
            assert mapping[:] == held == Stamped("x", "v1", 2 * MIB).read(0, 2 * MIB)
            assert path.read_bytes() == Stamped("x", "v2", 3 * MIB).read(0, 3 * MIB)
        mapping.close()


def test_r5_a_worker_that_pushes_is_replaced_and_no_byte_is_wrong(store: FaultServer, url: str, tmp_path: Path) -> None:
    source = put(store, tmp_path, "m/1/x", 80 * MIB + 5)
    with mounted(url, tmp_path, "--memory", "64M", "--max-rate", "40M") as mount:
        supervisor, killed = mount.status()["pid"], []
        for _ in range(2):
            compare = subprocess.Popen(["cmp", mount.path / "m" / "1" / "x", source])
            wait_until(lambda: mount.figures()["pushed_bytes"])
            killed.append(kill_worker(supervisor))
            assert compare.wait(PATIENCE_S) == 0
            Path("/proc/sys/vm/drop_caches").write_text("1\n")
            wait_until_served(mount, restarts=len(killed))
        wait_until(lambda: all_gone(killed))


@pytest.mark.parametrize("how", ["SIGTERM", "unmount", "unmount of a stopped worker", "SIGKILL of the supervisor"])
def test_taking_down_ends_although_the_store_does_not_answer(
    store: FaultServer, url: str, tmp_path: Path, how: str
) -> None:
    """What is read ahead for a reader that is gone goes on: the mount is not in use, and its requests wait."""
    store.put("models", "repository/m/1/x", Stamped("x", "v1", 50 * MIB))
    with mounted(url, tmp_path) as mount:
        supervisor, processes = mount.status()["pid"], mount.processes()
        stall = store.fail(Fault(Stall(), kind="get"))
        code = f"import os\nos.posix_fadvise(os.open({str(mount.path / 'm/1/x')!r}, 0), 0, 0, os.POSIX_FADV_WILLNEED)"
        subprocess.run([sys.executable, "-ISc", code], check=True, timeout=PATIENCE_S)
        wait_until(lambda: stall.hits)
        if how == "SIGTERM":
            os.kill(supervisor, signal.SIGTERM)
        elif how == "SIGKILL of the supervisor":
            os.kill(supervisor, signal.SIGKILL)
        else:
            if "stopped" in how:
                kill_worker(supervisor, signal.SIGSTOP)
            assert mount.command("unmount", str(mount.path)).returncode == 0
        wait_until(lambda: all_gone(processes))
        assert not is_mounted(mount.path)


def test_who_waits_for_a_mount_that_nobody_looks_after_is_freed_by_unmount(
    store: FaultServer, url: str, tmp_path: Path
) -> None:
    """Its worker is there and does nothing, as one is of which a thread was left when all was killed."""
    store.put("models", "repository/m/1/x", Stamped("x", "v1", 50 * MIB))
    with mounted(url, tmp_path) as mount:
        supervisor, processes = mount.status()["pid"], mount.processes()
        worker = kill_worker(supervisor, signal.SIGSTOP)
        reader = subprocess.Popen(["cat", mount.path / "m/1/x"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            os.kill(supervisor, signal.SIGKILL)
            wait_until(lambda: all_gone([supervisor]))
            assert mount.command("unmount", str(mount.path)).returncode == 0
            assert reader.wait(PATIENCE_S) != 0
            assert not is_mounted(mount.path)
        finally:
            reader.kill()
            os.kill(worker, signal.SIGKILL)
        wait_until(lambda: all_gone(processes))


def _seen(root: Path) -> list[tuple[str, int, int, int]]:
    """Return everything that is shown, with its size and times, asked of whoever serves."""
    os.statvfs(root)
    found = []
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            stat = os.lstat(os.path.join(folder, name))
            found.append((os.path.join(folder, name), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
    return sorted(found)
