"""The cache on disk, under real mounts: what it gives is right, and it is never a reason to fail."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from faultserver import Fault, FaultServer, Stall, Status, write_stamped
from mount.mounting_for_tests import PATIENCE_S, Mount, environment, mounted, wait_until

MIB = 1 << 20
SIZE = 20 * MIB + 5  # three chunks, and less than what may wait to be written
CHUNKS = 3


class Bench:
    """A store with a file of ``SIZE``, a folder for the cache, and mounts beside each other."""

    def __init__(self, store: FaultServer, url: str, folder: Path) -> None:
        self.store = store
        self.url = url
        self.folder = folder
        self.cache = folder / "cache"
        self.source = folder / "source"
        write_stamped(self.source, "m/1/x", "v1", SIZE)
        store.put("models", "repository/m/1/x", self.source)

    def options(self, **more: str) -> dict[str, str]:
        return {"MODELFS_CACHE_DIR": str(self.cache), "MODELFS_CACHE_SIZE": "256M", **more}

    def mounted(self, *options: str, at: str = "one", **more: str) -> Any:
        folder = self.folder / at
        folder.mkdir(exist_ok=True)
        return mounted(self.url, folder, *options, **self.options(**more))

    def is_right(self, mount: Mount) -> bool:
        """Read the whole file past what the kernel has of it, and compare."""
        path = mount.path / "m/1/x"
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
        return subprocess.run(["cmp", path, self.source], timeout=PATIENCE_S, check=False).returncode == 0

    def fill(self, **more: str) -> None:
        """Read until all is on the disk: what waits for a slow disk too long is not written."""
        for _ in range(10):
            self.store.clear_log()
            with self.mounted(**more) as mount:
                assert self.is_right(mount)
                wait_until(partial(is_written, mount))
            if self.sent() == 0:
                return  # and so all that is there was read, and is right
        pytest.fail("the disk never has all")

    def sent(self) -> int:
        """Return how many bytes of objects the store has sent since its log was cleared."""
        assert self.store.wait_until_idle()
        return sum(request.bytes_sent for request in self.store.requests(kind="get"))

    def chunks(self) -> list[Path]:
        return sorted((self.cache / "modelfs-blocks").glob("??/*-*"))


def disk(mount: Mount) -> dict[str, Any]:
    found: dict[str, Any] = mount.figures()["disk"]
    return found


def is_written(mount: Mount) -> bool:
    return not disk(mount)["waiting_bytes"]


@pytest.fixture
def bench(store: FaultServer, url: str, tmp_path: Path) -> Bench:
    return Bench(store, url, tmp_path)


def test_a_remount_reads_from_the_disk_and_asks_the_store_for_no_byte(bench: Bench) -> None:
    bench.fill()
    bench.store.clear_log()
    with bench.mounted() as mount:
        assert bench.is_right(mount)
        assert disk(mount)["hit_bytes"] >= SIZE
    assert bench.sent() == 0


def test_what_one_mount_has_read_another_beside_it_reads_from_the_disk(bench: Bench) -> None:
    bench.fill()
    with bench.mounted(), bench.mounted(at="two") as other:
        bench.store.clear_log()
        assert bench.is_right(other)
        assert bench.sent() == 0


def flip(chunks: list[Path]) -> int:
    with chunks[0].open("r+b") as file:
        file.seek(chunks[0].stat().st_size // 2)
        old = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([old[0] ^ 16]))
    return 1


def cut(chunks: list[Path]) -> int:
    os.truncate(chunks[0], chunks[0].stat().st_size - 4096)
    return 1


def swap(chunks: list[Path]) -> int:
    beside = chunks[0].with_name("beside")
    chunks[0].rename(beside)
    chunks[1].rename(chunks[0])
    beside.rename(chunks[1])
    return 2


@pytest.mark.parametrize("harm", [flip, cut, swap])
def test_what_was_harmed_on_the_disk_is_counted_fetched_again_and_never_served(
    bench: Bench, harm: Callable[[list[Path]], int]
) -> None:
    bench.fill()
    assert len(bench.chunks()) == CHUNKS
    harmed = harm(bench.chunks())
    with bench.mounted() as mount:
        assert bench.is_right(mount)
        assert disk(mount)["damaged_chunks"] == harmed
    bench.fill()


def open_to_others(blocks: Path) -> None:
    blocks.mkdir(mode=0o755)


def another_users(blocks: Path) -> None:
    blocks.mkdir(mode=0o700)
    os.chown(blocks, 12345, 12345)


def a_link(blocks: Path) -> None:
    (blocks.parent / "elsewhere").mkdir(mode=0o700)
    blocks.symlink_to("elsewhere")


def of_a_later_release(blocks: Path) -> None:
    blocks.mkdir(mode=0o700)
    (blocks / "format").write_text("modelfs disk cache, format 99\n")


def a_file(blocks: Path) -> None:
    blocks.touch()


@pytest.mark.parametrize("make", [open_to_others, another_users, a_link, of_a_later_release, a_file])
def test_a_folder_that_is_not_to_be_trusted_is_told_and_left_alone(bench: Bench, make: Callable[[Path], None]) -> None:
    bench.cache.mkdir()
    make(bench.cache / "modelfs-blocks")
    with bench.mounted("--log-file", str(bench.folder / "log")) as mount:
        assert bench.is_right(mount)
        assert disk(mount)["trouble"]
        assert mount.status()["state"] == "healthy"
    assert (bench.folder / "log").read_text().count("the disk cache is not") == 1
    assert not bench.chunks()


def mount_small_disk(path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m,mode=0700", "tmpfs", path], check=True)


@pytest.fixture
def small_disk(bench: Bench) -> Iterator[Path]:
    """Mount a disk of 32 MiB where the cache goes."""
    bench.cache.mkdir()
    mount_small_disk(bench.cache)
    yield bench.cache
    subprocess.run(["umount", "--lazy", bench.cache], check=True)


def test_a_full_disk_stops_no_read_and_is_used_again_when_there_is_room(bench: Bench, small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(30 * MIB))
    with bench.mounted() as mount:
        assert bench.is_right(mount)
        wait_until(partial(is_written, mount))
        assert disk(mount)["stored_bytes"] == 0
        assert "make room" in disk(mount)["trouble"]
        ballast.unlink()
        wait_until(lambda: bench.is_right(mount) and disk(mount)["stored_bytes"])


def test_a_disk_that_is_read_only_stops_no_read_and_is_used_when_it_is_mended(bench: Bench, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with bench.mounted() as mount:
        assert bench.is_right(mount)
        assert disk(mount)["trouble"]
        subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
        wait_until(lambda: bench.is_right(mount) and disk(mount)["stored_bytes"] and not disk(mount)["trouble"])


def test_a_disk_that_vanishes_stops_no_read_and_is_used_again_when_it_is_back(bench: Bench, small_disk: Path) -> None:
    with bench.mounted() as mount:
        assert bench.is_right(mount)
        wait_until(partial(is_written, mount))
        subprocess.run(["umount", "--lazy", small_disk], check=True)
        wait_until(lambda: bench.is_right(mount) and disk(mount)["trouble"])
        assert "vanished" in disk(mount)["trouble"]
        assert not os.listdir(small_disk), "it is not made on the disk below"
        mount_small_disk(small_disk)
        wait_until(lambda: bench.is_right(mount) and bench.chunks() and not disk(mount)["trouble"])


def test_a_mount_that_is_killed_in_mid_download_keeps_no_other_waiting(bench: Bench) -> None:
    with bench.mounted() as first, bench.mounted(at="two") as second:
        stall = bench.store.fail(Fault(Stall(after_bytes=MIB // 2), kind="get", times=1))
        with subprocess.Popen(["cat", first.path / "m/1/x"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
            try:
                wait_until(lambda: stall.hits)
                pids = first.processes()
                for number in (signal.SIGSTOP, signal.SIGKILL):  # so that neither sees the other die
                    for pid in pids:
                        os.kill(pid, number)
                assert bench.is_right(second)
            finally:  # forced, since a push of the killed may wait for a page that a READ without an answer holds
                subprocess.run(["umount", "--force", "--lazy", first.path], check=True)
                bench.store.heal()


def test_who_has_other_keys_gets_nothing_that_another_left(tmp_path: Path) -> None:
    with FaultServer() as store:  # it asks for no keys, so that all are right
        store.create_bucket("models")
        bench = Bench(store, f"s3://127.0.0.1:{store.port}/models/repository", tmp_path)
        bench.fill()
        store.clear_log()
        with bench.mounted(at="two", AWS_ACCESS_KEY_ID="other", AWS_SECRET_ACCESS_KEY="other") as mount:
            assert bench.is_right(mount)
            assert disk(mount)["hit_bytes"] == 0
        assert bench.sent() >= SIZE
        group = {"MODELFS_CACHE_GROUP": "team"}
        bench.fill(**group)
        store.clear_log()
        with bench.mounted(at="two", AWS_ACCESS_KEY_ID="third", AWS_SECRET_ACCESS_KEY="third", **group) as mount:
            assert bench.is_right(mount)
        assert bench.sent() == 0


def test_a_store_that_refuses_at_the_start_leaves_nothing_to_see(bench: Bench) -> None:
    bench.fill()
    bench.store.fail(Fault(Status(403, "AccessDenied"), kind="list"))
    path = bench.folder / "one" / "models"
    mount = Mount(path, environment(bench.folder / "one" / "run", **bench.options()))
    done = mount.command("mount", bench.url, str(path))
    assert done.returncode == 2
    assert not os.path.ismount(path)


def test_a_store_that_is_away_at_the_start_is_served_from_the_disk_and_found_again_when_it_is_back(
    bench: Bench,
) -> None:
    bench.fill()
    bench.store.down()
    with bench.mounted("--mount-timeout", "1", "--refresh", "1") as mount:
        assert bench.is_right(mount)
        wait_until(lambda: mount.status()["state"] == "unhealthy")
        bench.store.up()
        wait_until(lambda: mount.status()["state"] == "healthy")


def test_offline_asks_the_store_nothing(bench: Bench) -> None:
    bench.fill()
    write_stamped(bench.folder / "other", "m/1/other", "v1", MIB)
    bench.store.put("models", "repository/m/1/other", bench.folder / "other")
    with bench.mounted("--refresh", "1"):
        pass  # it is known by name, and not on the disk
    bench.store.clear_log()
    with bench.mounted("--offline") as mount:
        assert bench.is_right(mount)
        assert mount.status()["state"] == "healthy"
        with pytest.raises(OSError, match="Input/output error"):
            (mount.path / "m/1/other").read_bytes()
    assert not bench.store.requests()


def test_offline_without_a_memory_is_refused(bench: Bench) -> None:
    path = bench.folder / "models"
    path.mkdir()
    done = Mount(path, environment(bench.folder / "run", **bench.options())).command(
        "mount", "--offline", bench.url, str(path)
    )
    assert done.returncode == 2
    assert "nothing that --offline could show" in done.stderr


def test_who_has_other_keys_sees_nothing_of_a_store_that_is_away(tmp_path: Path) -> None:
    with FaultServer() as store:
        store.create_bucket("models")
        bench = Bench(store, f"s3://127.0.0.1:{store.port}/models/repository", tmp_path)
        bench.fill()
        store.down()
        path = bench.folder / "one" / "models"
        other = bench.options(AWS_ACCESS_KEY_ID="other", AWS_SECRET_ACCESS_KEY="other")
        for option in ("--offline", "--mount-timeout=1"):
            mount = Mount(path, environment(bench.folder / "one" / "run", **other))
            assert mount.command("mount", option, bench.url, str(path)).returncode == 2
            assert not os.path.ismount(path)
        store.up()


def test_what_is_warmed_is_read_from_the_disk_and_can_be_thrown_away_beside_the_mount(bench: Bench) -> None:
    idle = Mount(bench.folder / "one" / "models", environment(bench.folder / "one" / "run", **bench.options()))
    assert idle.command("warm", bench.url, "--check").returncode == 1
    done = idle.command("warm", bench.url, "m", "--all-versions")
    assert done.returncode == 0, done.stderr
    assert idle.command("warm", bench.url, "n").returncode == 2
    with bench.mounted() as mount:
        assert mount.command("warm", str(mount.path), "--check").returncode == 0
        bench.store.clear_log()
        assert bench.is_right(mount)
        assert bench.sent() == 0
        assert mount.command("cache", "verify").returncode == 0
        wait_until(lambda: mount.command("cache", "clear").returncode == 0)
        assert not bench.chunks()
        assert mount.command("warm", str(mount.path), "--check").returncode == 1
        assert bench.is_right(mount)
