"""Extended attributes and ``modelfs ls --pending`` on real mounts."""

import errno
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from faultserver import FaultServer
from mount.mounting_for_tests import mounted, wait_until

PREFIX = "user.modelfs."
PYTHON = b'backend: "python"\n'
LONG_AGO_NS = 1_700_000_000_123_000_000


def told(path: Path) -> dict[str, str]:
    """Return all extended attributes of ``path``, without their common beginning."""
    names = os.listxattr(path)
    assert all(name.startswith(PREFIX) for name in names)
    return {name.removeprefix(PREFIX): os.getxattr(path, name).decode() for name in names}


def test_every_file_and_folder_tells_where_it_is_from_and_what_is_cached_of_it(
    store: FaultServer, url: str, tmp_path: Path
) -> None:
    data = os.urandom(300_000)
    made = store.put("models", "repository/m/1/a b+ü", data, mtime_ns=LONG_AGO_NS)
    with mounted(url, tmp_path, "--refresh", "3600") as mount:
        file = mount.path / "m/1/a b+ü"
        expected = {
            "url": f"{url}/m/1/a b+ü",
            "version": made.etag,
            "last_modified": "2023-11-14T22:13:20.123Z",
            "cached_bytes": "0",
            "state": "shown",
        }
        assert told(file) == expected
        assert told(mount.path / "m") == {"url": f"{url}/m/", "cached_bytes": "0", "state": "shown"}
        assert told(mount.path)["url"] == url
        assert file.read_bytes() == data
        held = [int(told(each)["cached_bytes"]) for each in (file, mount.path / "m", mount.path)]
        assert held[0] == held[1] == held[2] <= len(data)  # what the page cache was given has left our memory


def test_programs_run_and_attributes_cost_the_store_nothing(store: FaultServer, url: str, tmp_path: Path) -> None:
    for number in range(300):
        store.put("models", f"repository/m/1/{number}", b"x")
    store.put("models", "repository/tool/1/program", Path(shutil.which("true") or "/bin/true").read_bytes())
    with mounted(url, tmp_path, "--refresh", "3600", "--look", "0", "--file-mode", "0555") as mount:
        # by a shell: a child of ours is made by vfork, with our interpreter's lock held, and the store runs in it
        subprocess.run(["/bin/sh", "-c", '"$0" && true', str(mount.path / "tool/1/program")], check=True)
        store.clear_log()
        listed = subprocess.run(["ls", "-l", str(mount.path / "m/1")], capture_output=True, text=True, check=True)
        assert len(listed.stdout.splitlines()) == 301
        assert all(told(each)["state"] == "shown" for each in (mount.path / "m/1").iterdir())
        assert [each for each in store.requests() if not each.key.startswith("repository/tool/")] == []


def test_attribute_that_there_is_not_and_one_that_is_set_are_refused_with_their_own_errno(
    store: FaultServer, url: str, tmp_path: Path
) -> None:
    store.put("models", "repository/m/1/x", b"x")
    with mounted(url, tmp_path) as mount:
        file = mount.path / "m/1/x"
        for name, expected in (
            ("user.other", errno.ENODATA),
            ("user.modelfs.other", errno.ENODATA),
            ("security.capability", errno.EOPNOTSUPP),
            ("system.posix_acl_access", errno.EOPNOTSUPP),
        ):
            with pytest.raises(OSError) as raised:  # noqa: PT011  the errno is what is compared
                os.getxattr(file, name)
            assert raised.value.errno == expected
        with pytest.raises(OSError) as raised:  # noqa: PT011  the errno is what is compared
            os.setxattr(file, "user.modelfs.state", b"pending")
        assert raised.value.errno == errno.EROFS
        copy = tmp_path / "copy"
        subprocess.run(["cp", "-a", str(file), str(copy)], check=True)
        assert copy.read_bytes() == b"x"


def test_the_secret_of_a_url_is_in_no_attribute(tmp_path: Path) -> None:
    with FaultServer("azure") as server:
        server.create_bucket("models")
        server.put("models", "repository/m/1/x", b"x")
        place = f"as://127.0.0.1:{server.port}/account/models/repository"
        with mounted(f"{place}?sv=2021-12-02&sig=TopSecret", tmp_path) as mount:
            assert told(mount.path)["url"] == place
            assert told(mount.path / "m/1/x")["url"] == f"{place}/m/1/x"


def test_what_waits_is_told_by_the_attributes_and_by_ls_pending(store: FaultServer, url: str, tmp_path: Path) -> None:
    for name in ("m/config.pbtxt", "m/1/model.py"):
        store.put("models", f"repository/{name}", PYTHON, mtime_ns=LONG_AGO_NS)
    with mounted(url, tmp_path, "--refresh", "1", "--settle", "2") as mount:
        assert mount.command("ls", "--pending", str(mount.path)).stdout == "all is shown as it is stored\n"
        assert mount.command("ls", "--pending", "--json", str(mount.path)).stdout == "[]\n"
        store.put("models", "repository/m/2/weights", b"without its model.py")
        store.put("models", "repository/n/config.pbtxt", PYTHON)
        wait_until(
            lambda: (
                "model.py is missing" in told(mount.path).get("pending", "") and "n: " in told(mount.path)["pending"]
            )
        )
        assert told(mount.path / "m")["state"] == "pending"
        assert told(mount.path / "m/1/model.py")["state"] == told(mount.path / "m/1")["state"] == "shown"
        assert told(mount.path / "m")["pending"].startswith("m/2: ")

        heading, first, second = mount.command("ls", "--pending", str(mount.path)).stdout.splitlines()
        assert heading.split("  ")[0] == "FOLDER"
        assert first.split()[:2] == ["m/2", "no"]
        assert second.split()[:2] == ["n", "no"]
        found = json.loads(mount.command("ls", "--pending", "--json", str(mount.path)).stdout)
        assert [found[0][name] for name in ("folder", "is_shown", "is_settling")] == ["m/2", False, False]
        assert "model.py is missing" in found[0]["reason"]

        store.put("models", "repository/m/2/model.py", b"p")
        wait_until((mount.path / "m/2/model.py").exists)
        assert told(mount.path / "m/2/model.py")["state"] == "shown"
    done = mount.command("ls", "--pending", str(mount.path))
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "has mounted nothing" in done.stderr


def test_many_folders_that_wait_are_all_told(store: FaultServer, url: str, tmp_path: Path) -> None:
    with mounted(url, tmp_path, "--refresh", "1", "--settle", "600") as mount:
        names = {f"m/{number}" for number in range(1, 251)}
        for name in names:
            store.put("models", f"repository/{name}/model.py", b"p")
        wait_until(lambda: mount.status()["details"]["folders_pending"] == len(names))
        found = json.loads(mount.command("ls", "--pending", "--json", str(mount.path)).stdout)
        assert {each["folder"] for each in found} == names
