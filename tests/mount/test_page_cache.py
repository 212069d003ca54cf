"""The page cache that is filled by pushes, on a real kernel: exact bytes, no deadlock, one download."""

import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest
from faultserver import Fault, FaultServer, Latency, Stall, write_stamped
from mount.mounting_for_tests import PATIENCE_S, Mount, mounted, wait_until

HERE = Path(__file__).parent
MIB = 1 << 20
P = mmap.PAGESIZE

STRESS_S = 10
PROCESSES = 8
ODD_SIZES = [1, P - 1, P, P + 1, 3 * MIB - 1, 3 * MIB, 3 * MIB + 1, 20 * MIB + P - 1, 20 * MIB + P, 20 * MIB + P + 1]


def put(store: FaultServer, folder: Path, key: str, size: int) -> Path:
    """Store a stamped file, and return it as the source to compare with."""
    source = folder / key.replace("/", "_")
    write_stamped(source, key, "v1", size)
    store.put("models", f"repository/{key}", source)
    return source


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, HERE / script, *map(str, arguments)], stderr=subprocess.PIPE, text=True)


def end(processes: list[subprocess.Popen[str]]) -> None:
    """Wait for readers, kill those that hang, and see that nothing was wrong."""
    try:
        for process in processes:
            _, said = process.communicate(timeout=PATIENCE_S)
            assert process.returncode == 0, said
    finally:
        for process in processes:
            process.kill()
            process.wait()


def sent(store: FaultServer, key: str) -> int:
    """Return how many bytes of an object the store has sent."""
    assert store.wait_until_idle()
    return sum(request.bytes_sent for request in store.requests(kind="get", key=f"repository/{key}"))


def pushed(mount: Mount) -> int:
    return int(mount.figures()["pushed_bytes"])


def test_sixty_four_threads_read_and_map_a_file_while_it_is_pushed_and_dropped(
    store: FaultServer, url: str, tmp_path: Path
) -> None:
    source = put(store, tmp_path, "m/1/x", 90 * MIB + 77)
    with mounted(url, tmp_path, "--memory", "64M") as mount:
        path = mount.path / "m" / "1" / "x"
        end([start("read_in_every_way.py", path, source, STRESS_S, number) for number in range(PROCESSES)])
        assert pushed(mount) > 0
        assert subprocess.run(["cmp", path, source], timeout=PATIENCE_S, check=False).returncode == 0


@pytest.mark.parametrize("size", ODD_SIZES)
def test_a_file_of_an_odd_size_is_exact_with_zeros_behind_its_end(
    store: FaultServer, url: str, tmp_path: Path, size: int
) -> None:
    source = put(store, tmp_path, "m/1/x", size)
    with mounted(url, tmp_path) as mount:
        path = mount.path / "m" / "1" / "x"
        for _ in range(2):  # the second from the page cache
            assert path.stat().st_size == size
            assert subprocess.run(["cmp", path, source], timeout=PATIENCE_S, check=False).returncode == 0
            end([start("map_tail.py", path, source)])
        assert path.stat().st_size == size
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
        end([start("map_tail.py", path, source)])


def test_an_empty_file_is_empty(store: FaultServer, url: str, tmp_path: Path) -> None:
    store.put("models", "repository/m/1/x", b"")
    with mounted(url, tmp_path) as mount:
        assert (mount.path / "m" / "1" / "x").read_bytes() == b""
        assert store.requests(kind="get") == []


def test_a_second_pass_is_the_kernels_alone(store: FaultServer, url: str, tmp_path: Path) -> None:
    source = put(store, tmp_path, "m/1/x", 60 * MIB + 5)
    with mounted(url, tmp_path) as mount:
        path = mount.path / "m" / "1" / "x"
        assert subprocess.run(["cmp", path, source], timeout=PATIENCE_S, check=False).returncode == 0
        assert pushed(mount) > 0
        for _ in range(4):  # the machine may be short of memory, or somebody drops its caches
            assert store.wait_until_idle()
            reads, sent_before = mount.figures()["reads"], sent(store, "m/1/x")
            assert subprocess.run(["cmp", path, source], timeout=PATIENCE_S, check=False).returncode == 0
            if (mount.figures()["reads"], sent(store, "m/1/x")) == (reads, sent_before):
                break
        else:
            pytest.fail("each pass asked the daemon again")


def test_a_reader_that_stops_stops_the_download(store: FaultServer, url: str, tmp_path: Path) -> None:
    source = put(store, tmp_path, "m/1/x", 300 * MIB)
    with mounted(url, tmp_path, "--memory", "64M") as mount, (mount.path / "m" / "1" / "x").open("rb") as file:
        head = file.read(8 * MIB)
        with source.open("rb") as original:
            assert head == original.read(8 * MIB)
        wait_until(lambda: store.wait_until_idle(0.5))
        assert subprocess.run(["ls", "-R", mount.path], timeout=PATIENCE_S, check=False).returncode == 0
        # a busy machine may pause between two fetches, so what counts is that it never comes to more than
        # the head, the window, and what passed unseen
        assert sent(store, "m/1/x") <= 8 * MIB + 64 * MIB + 20 * MIB


def test_r24_the_open_of_a_config_fetches_the_selected_version_and_no_byte_of_an_old_one(
    store: FaultServer, url: str, tmp_path: Path
) -> None:
    store.put("models", "repository/m/config.pbtxt", b"version_policy: { latest { num_versions: 2 } }")
    for version in ("1", "2", "3"):
        for name in ("model.onnx", "weights.bin"):
            put(store, tmp_path, f"m/{version}/{name}", 2 * MIB)
    store.put("models", "repository/n/1/x", b"x" * 100_000)
    with mounted(url, tmp_path) as mount:
        (mount.path / "m" / "config.pbtxt").open("rb").close()
        wanted = {f"repository/m/{version}/{name}" for version in "23" for name in ("model.onnx", "weights.bin")}
        wait_until(lambda: wanted <= {request.key for request in store.requests(kind="get")})
        assert store.wait_until_idle()
        asked = {request.key for request in store.requests(kind="get")}
        assert asked == {*wanted, "repository/m/config.pbtxt"}
        assert sent(store, "m/1/model.onnx") == sent(store, "m/1/weights.bin") == 0
        before = len(store.requests(kind="get"))
        with (mount.path / "m" / "3" / "model.onnx").open("rb") as file:
            assert len(file.read()) == 2 * MIB
        assert len(store.requests(kind="get")) == before  # it was there


def test_r24_a_model_whose_files_were_looked_at_and_config_opened_is_in_the_page_cache_before_it_is_opened(
    store: FaultServer, url: str, tmp_path: Path
) -> None:
    store.put("models", "repository/m/config.pbtxt", b"name: 'm'")
    source = put(store, tmp_path, "m/2/weights", 40 * MIB)
    put(store, tmp_path, "m/1/weights", 20 * MIB)
    with mounted(url, tmp_path) as mount:
        weights = mount.path / "m" / "2" / "weights"
        assert [weights.stat().st_size, (mount.path / "m" / "1" / "weights").stat().st_size] == [40 * MIB, 20 * MIB]
        (mount.path / "m" / "config.pbtxt").open("rb").close()
        wait_until(lambda: pushed(mount) >= 40 * MIB)
        assert store.wait_until_idle()
        assert (sent(store, "m/2/weights"), sent(store, "m/1/weights")) == (40 * MIB, 0)
        for _ in range(4):  # the machine may be short of memory, or somebody drops its caches
            reads = mount.figures()["reads"]
            assert subprocess.run(["cmp", weights, source], timeout=PATIENCE_S, check=False).returncode == 0
            if mount.figures()["reads"] == reads:
                break
        else:
            pytest.fail("each pass asked the daemon")


def test_load_ahead_0_brings_only_the_beginning_of_a_model(store: FaultServer, url: str, tmp_path: Path) -> None:
    store.put("models", "repository/m/config.pbtxt", b"name: 'm'")
    put(store, tmp_path, "m/1/weights", 40 * MIB)
    with mounted(url, tmp_path, "--load-ahead", "0") as mount:
        assert (mount.path / "m" / "1" / "weights").stat().st_size == 40 * MIB
        (mount.path / "m" / "config.pbtxt").open("rb").close()
        wait_until(lambda: sent(store, "m/1/weights") > 0)
        assert store.wait_until_idle()
        assert sent(store, "m/1/weights") <= 8 * MIB
        assert pushed(mount) == 0


def test_r25_four_readers_of_one_file_are_one_download(store: FaultServer, url: str, tmp_path: Path) -> None:
    size = 100 * MIB
    source = put(store, tmp_path, "m/1/x", size)
    with mounted(url, tmp_path) as mount:
        readers = [
            subprocess.Popen(["cmp", mount.path / "m" / "1" / "x", source], stderr=subprocess.PIPE, text=True)
            for _ in range(4)
        ]
        end(readers)
        assert sent(store, "m/1/x") <= 1.05 * size


def test_r27_metadata_is_answered_while_three_hundred_reads_wait(store: FaultServer, url: str, tmp_path: Path) -> None:
    for number in range(300):
        store.put("models", f"repository/m/1/{number:03}", bytes([number % 256]) * 5000)
        store.put("models", f"repository/n{number:03}/1/x", b"x")
    with mounted(url, tmp_path, "--refresh", "3600") as mount:
        store.clear_log()
        stalled = store.fail(Fault(Stall(), kind="get"))
        folder = mount.path / "m" / "1"
        script = (
            "import sys, threading\n"
            "from pathlib import Path\n"
            "def check(n):\n"
            "    if Path(sys.argv[1], f'{n:03}').read_bytes() != bytes([n % 256]) * 5000: sys.exit('wrong')\n"
            "threads = [threading.Thread(target=check, args=(n,)) for n in range(300)]\n"
            "[t.start() for t in threads]\n"
            "print('asked', flush=True)\n"
            "[t.join() for t in threads]\n"
        )
        reader = subprocess.Popen(
            [sys.executable, "-c", script, folder], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            wait_until(lambda: mount.figures()["cache"]["fetches"] > 0)
            assert reader.stdout is not None
            assert reader.stdout.readline() == "asked\n"
            found = subprocess.run(
                ["find", mount.path, "-type", "f", "-printf", "%s %T@ %p\n"],
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
                check=True,
            ).stdout
            assert found.count("\n") == 600
            assert reader.poll() is None
            assert mount.figures()["reads"] == 0
        finally:
            store.heal(stalled)
            _, said = reader.communicate(timeout=PATIENCE_S)
        assert (reader.returncode, said) == (0, "")


def test_thirty_small_files_cost_one_round_trip_or_two(store: FaultServer, url: str, tmp_path: Path) -> None:
    for number in range(30):
        store.put("models", f"repository/m/1/{number}", bytes([number]) * 3000)
    with mounted(url, tmp_path) as mount:
        store.fail(Fault(Latency(0.2), kind="get"))
        folder = mount.path / "m" / "1"
        assert (folder / "0").read_bytes() == bytes(3000)
        wait_until(lambda: len(store.requests(kind="get")) == 30)  # nobody has asked for the others yet
        for number in range(30):
            assert (folder / str(number)).read_bytes() == bytes([number]) * 3000
        assert len(store.requests(kind="get")) == 30
