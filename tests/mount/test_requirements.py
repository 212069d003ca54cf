"""Requirements of docs/semantics.md on a real mount, each test named for its number.

R1, R2 and R22 also stand in tests/triton, where a real Triton polls.
"""

import errno
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from faultserver import FaultServer
from mount.mounting_for_tests import Mount, mounted, wait_until

OFTEN = ("--refresh", "1")


def _times(mount: Mount) -> str:
    """Return name, mtime and ctime of everything below the mount."""
    return subprocess.run(
        ["/bin/bash", "-c", r"find . -printf '%p %T@ %C@\n' | sort"],
        cwd=mount.path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def _listings(store: FaultServer) -> int:
    return len(store.requests(kind="list"))


def _after_listings(store: FaultServer, count: int) -> None:
    """Wait until ``count`` more listings were answered."""
    before = _listings(store)
    wait_until(lambda: _listings(store) > before + count)


def test_r3_a_key_that_comes_back_before_a_second_listing_is_never_gone(
    store: FaultServer, url: str, tmp_path: Path
) -> None:
    for name in ("m/1/x", "m/config.pbtxt", "n/1/x"):
        store.put("models", f"repository/{name}", b"x")
    with mounted(url, tmp_path, *OFTEN) as mount:
        gone = store.get("models", "repository/m/1/x")
        assert gone is not None
        store.delete("models", "repository/m/1/x")
        before = _listings(store)
        wait_until(lambda: _listings(store) > before)
        store.put("models", "repository/m/1/x", b"x", etag=gone.etag, mtime_ns=gone.mtime_ns)
        for _ in range(50):
            assert (mount.path / "m" / "1" / "x").exists()
        store.delete("models", "repository/n/1/x")
        wait_until(lambda: not (mount.path / "n").exists())
        assert (mount.path / "m" / "1" / "x").exists()


def test_r3_an_emptied_repository_empties_only_after_two_listings(store: FaultServer, url: str, tmp_path: Path) -> None:
    store.put("models", "repository/m/1/x", b"x")
    with mounted(url, tmp_path, *OFTEN) as mount:
        store.clear_log()
        store.delete("models", "repository/m/1/x")
        wait_until(lambda: not os.listdir(mount.path))
        assert _listings(store) >= 2


def test_r6_times_are_the_stores_and_the_same_after_refreshes_evictions_and_remounts(
    store: FaultServer, url: str, tmp_path: Path
) -> None:
    for number, name in enumerate(("m/1/x", "m/config.pbtxt", "m/10/y", "n/1/x")):
        store.put(
            "models", f"repository/{name}", b"x" * number, mtime_ns=(1_700_000_000 + number) * 10**9 + 123_000_000
        )
    seen = []
    for _ in range(2):
        with mounted(url, tmp_path, *OFTEN) as mount:
            seen.append(_times(mount))
            Path("/proc/sys/vm/drop_caches").write_text("2\n")
            seen.append(_times(mount))
            _after_listings(store, 2)
            seen.append(_times(mount))
    assert len(set(seen)) == 1
    assert "./m/1/x 1700000000.1230000000 1700000000.1230000000" in seen[0]
    assert "./m 1700000002.1230000000 1700000002.1230000000" in seen[0]


@pytest.mark.parametrize("mtime_ns", [1_600_000_000 * 10**9, 1_700_000_000 * 10**9], ids=["older", "of the same date"])
def test_r7_a_replaced_file_is_newer_than_all_its_folder_showed_whatever_its_date(
    store: FaultServer, url: str, tmp_path: Path, mtime_ns: int
) -> None:
    for name in ("m/1/x", "m/1/y"):
        store.put("models", f"repository/{name}", b"first", mtime_ns=1_700_000_000 * 10**9)
    with mounted(url, tmp_path, *OFTEN) as mount:
        file = mount.path / "m" / "1" / "x"
        newest = max(path.stat().st_mtime_ns for path in (file, file.parent, mount.path / "m"))
        for data in (b"second", b"first"):
            store.put("models", "repository/m/1/x", data, mtime_ns=mtime_ns)
            _after_listings(store, 2)
            assert file.read_bytes() == data
            assert file.stat().st_mtime_ns == file.stat().st_ctime_ns > newest
            newest = max(path.stat().st_mtime_ns for path in (file, file.parent, mount.path / "m"))


@pytest.mark.parametrize(
    "change",
    [
        lambda store: store.put("models", "repository/m/1/new", b"new", mtime_ns=10**18),
        lambda store: store.put("models", "repository/m/1/x", b"other", mtime_ns=10**18),
        lambda store: store.delete("models", "repository/m/1/x"),
    ],
    ids=["add", "replace by an older one", "remove"],
)
def test_r8_a_folders_time_moves_on_its_own_entries_and_r9_on_no_others(
    store: FaultServer, url: str, tmp_path: Path, change: Callable[[FaultServer], object]
) -> None:
    for name in ("m/1/x", "m/1/y", "m/2/x", "m/labels.txt"):
        store.put("models", f"repository/{name}", b"x", mtime_ns=1_700_000_000 * 10**9)
    with mounted(url, tmp_path, *OFTEN) as mount:
        others = [mount.path / "m" / name for name in ("2", "2/x", "labels.txt", "1/y")]
        folder = mount.path / "m" / "1"
        before, rest = folder.stat().st_mtime_ns, [path.stat().st_mtime_ns for path in others]
        change(store)
        wait_until(lambda: folder.stat().st_mtime_ns > before)
        assert folder.stat().st_mtime_ns == folder.stat().st_ctime_ns
        assert (mount.path / "m").stat().st_mtime_ns >= folder.stat().st_mtime_ns
        assert [path.stat().st_mtime_ns for path in others] == rest


def test_r10_a_new_date_of_the_same_version_moves_nothing(store: FaultServer, url: str, tmp_path: Path) -> None:
    store.put("models", "repository/m/1/x", b"x", mtime_ns=1_700_000_000 * 10**9)
    with mounted(url, tmp_path, *OFTEN) as mount:
        before = _times(mount)
        store.touch("models", "repository/m/1/x", mtime_ns=1_800_000_000 * 10**9)
        _after_listings(store, 2)
        assert _times(mount) == before


def test_r16_and_r17_only_what_the_store_holds_is_there_and_hostile_keys_break_nothing(
    store: FaultServer, url: str, tmp_path: Path
) -> None:
    keys = ["m/config.pbtxt", "m/1/model.py", "m/1/__pycache__/model.pyc", "m/.git/config", "m/2_$folder$", ".hidden/x"]
    keys += ["marker/", "ensemble/1/", "both", "both/1/x", "a//b", "a/./b", "a/../../etc/passwd", f"long/{'x' * 300}"]
    keys += ["keep/1/.keep", "", "/leading"]
    for key in keys:
        store.put("models", f"repository/{key}", b"" if key == "both" else b"x")
    store.put("models", "repository-2/other/1/x", b"x")
    with mounted(url, tmp_path) as mount:
        found = {str(path.relative_to(mount.path)) for path in mount.path.rglob("*")}
        assert found == {
            "m",
            "m/config.pbtxt",
            "m/1",
            "m/1/model.py",
            "marker",
            "ensemble",
            "ensemble/1",
            "both",
            "both/1",
            "both/1/x",
            "keep",
            "keep/1",
        }


def test_r19_there_are_regular_files_and_folders_with_the_modes_and_owner_asked_for(
    store: FaultServer, url: str, tmp_path: Path
) -> None:
    store.put("models", "repository/m/1/x", b"x")
    for options, expected in (
        ((), (0o444, 0o555, os.getuid(), os.getgid())),
        (("--file-mode", "0555", "--dir-mode", "0500", "--uid", "12", "--gid", "34"), (0o555, 0o500, 12, 34)),
    ):
        with mounted(url, tmp_path, *options) as mount:
            file, folder = (mount.path / "m" / "1" / "x").lstat(), (mount.path / "m").lstat()
            assert stat.S_ISREG(file.st_mode)
            assert stat.S_ISDIR(folder.st_mode)
            assert (stat.S_IMODE(file.st_mode), stat.S_IMODE(folder.st_mode), file.st_uid, folder.st_gid) == expected
            flags = os.statvfs(mount.path).f_flag
            assert flags & (asked := os.ST_RDONLY | os.ST_NOSUID | os.ST_NODEV) == asked


def test_r20_every_write_answers_erofs(store: FaultServer, url: str, tmp_path: Path) -> None:
    store.put("models", "repository/m/1/x", b"x")
    with mounted(url, tmp_path) as mount:
        file, folder = mount.path / "m" / "1" / "x", mount.path / "m" / "1"
        writes: list[Callable[[], object]] = [
            lambda: file.write_bytes(b"y"),
            lambda: (folder / "new").write_bytes(b"y"),
            (folder / "new").mkdir,
            file.unlink,
            folder.rmdir,
            lambda: file.rename(folder / "z"),
            lambda: (folder / "link").symlink_to("x"),
            lambda: os.link(file, folder / "hard"),
            lambda: file.chmod(0o777),
            lambda: os.utime(file),
            lambda: os.truncate(file, 0),
            lambda: os.setxattr(file, "user.a", b"b"),
            lambda: os.mkfifo(folder / "fifo"),
        ]
        for write in writes:
            with pytest.raises(OSError) as raised:  # noqa: PT011  the errno is what is compared
                write()
            assert raised.value.errno == errno.EROFS
        assert file.read_bytes() == b"x"


def test_r21_a_folder_of_many_and_oddly_named_files(store: FaultServer, url: str, tmp_path: Path) -> None:
    names = {f"{number:05}" for number in range(2500)} | {
        "a b",
        "a+b",
        "a=b",
        "a%20b",
        "ünï",
        "日本",
        "-rf",
        "'\"`$(x)",
    }
    for name in names:
        store.put("models", f"repository/m/1/{name}", name.encode())
    with mounted(url, tmp_path) as mount:
        folder = mount.path / "m" / "1"
        assert set(os.listdir(folder)) == names
        assert len(os.listdir(folder)) == len(names)
        assert all((folder / name).read_bytes() == name.encode() for name in names if not name.isdigit())


def test_r23_lookups_of_absent_names_cost_the_store_nothing(store: FaultServer, url: str, tmp_path: Path) -> None:
    store.put("models", "repository/m/1/x", b"x")
    with mounted(url, tmp_path, "--refresh", "3600") as mount:
        folder = os.open(mount.path / "m", os.O_RDONLY)  # a path through the root has its model looked at (R14)
        try:
            wait_until(store.wait_until_idle)
            store.clear_log()
            for name in ("libtriton_x.so", "batchstrategy.so", "1/__init__.py", "9", "1/../absent"):
                for _ in range(20):
                    with pytest.raises(FileNotFoundError):
                        os.stat(name, dir_fd=folder)
            assert store.requests() == []
        finally:
            os.close(folder)
