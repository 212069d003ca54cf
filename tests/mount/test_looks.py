"""R14 on a real mount: who looks a model up in the root sees what was uploaded just before; and what that costs."""

import math
import os
import subprocess
import sys
import time
from pathlib import Path

from faultserver import Fault, FaultServer, Record, Stall
from mount.mounting_for_tests import PATIENCE_S, Mount, mounted, wait_until

SELDOM = ("--refresh", "3600")
LONG_AGO_NS = 1_700_000_000 * 10**9

POLLS = """
import os, sys, time
root, polls = sys.argv[1], int(sys.argv[2])
def walk(path):
    for _ in range(2):
        found = os.stat(path)
    if os.path.isdir(path):
        for name in os.listdir(path):
            walk(os.path.join(path, name))
for _ in range(polls):
    names = os.listdir(root)
    for name in names:
        os.stat(os.path.join(root, name))
    for name in names:
        walk(os.path.join(root, name))
    time.sleep(0.1)
"""
"""What Triton does at each poll: read the root, stat what it found, then all below it, in one thread."""


def _put(store: FaultServer, *names: str, mtime_ns: int | None = None) -> None:
    for name in names:
        store.put("models", f"repository/{name}", name.encode(), mtime_ns=mtime_ns)


def _listed(store: FaultServer) -> list[str]:
    """Return which folders were listed."""
    return [record.query["prefix"].removeprefix("repository/") for record in store.requests(kind="list")]


def _names(mount: Mount, model: str) -> set[str]:
    """Return what a process finds that looks the model up, as a load does."""
    done = subprocess.run(["ls", mount.path / model], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    return set(done.stdout.split())


def test_r14_a_lookup_in_the_root_sees_what_was_uploaded_just_before(
    store: FaultServer, url: str, tmp_path: Path
) -> None:
    _put(store, "m/1/x", "m-2/1/x", "n/1/x")
    with mounted(url, tmp_path, *SELDOM, "--look", "10") as mount:
        assert _names(mount, "m") == {"1"}
        for version in range(2, 8):
            _put(store, f"m/{version}/x", f"m-2/{version}/x", f"new{version}/1/x")
            time.sleep(0.1)
            assert _names(mount, "m") == {str(number) for number in range(1, version + 1)}
            assert _names(mount, f"new{version}") == {"1"}
        assert (mount.path / "m" / "7" / "x").read_bytes() == b"m/7/x"
        assert set(_listed(store)) <= {"", "m/", *(f"new{version}/" for version in range(2, 8))}


def test_r14_a_file_that_was_replaced_is_the_new_one_in_the_lookup_that_follows(
    store: FaultServer, url: str, tmp_path: Path
) -> None:
    _put(store, "m/1/x", "m/config.pbtxt")
    with mounted(url, tmp_path, *SELDOM, "--look", "10") as mount:
        config = mount.path / "m" / "config.pbtxt"
        for content in (b"one", b"number two", b"three"):
            config.stat()  # the kernel remembers it
            os.listdir(config.parent)
            store.put("models", "repository/m/config.pbtxt", content)
            time.sleep(0.1)
            assert config.read_bytes() == content


def test_r14_what_is_not_whole_is_answered_from_the_old_view_and_what_is_sealed_is_seen(
    store: FaultServer, url: str, tmp_path: Path
) -> None:
    _put(store, "m/1/model.onnx", mtime_ns=LONG_AGO_NS)
    with mounted(url, tmp_path, *SELDOM, "--look", "10", "--settle", "600") as mount:
        _put(store, "m/2/model.onnx", "brand-new/1/model.onnx")
        assert _names(mount, "m") == {"1"}
        assert not (mount.path / "brand-new").exists()
        assert {each["folder"] for each in mount.status()["details"]["pending"]} == {"m/2", "brand-new/1"}
        for sealed in ("m/2", "brand-new/1"):
            assert mount.command("seal", f"{url}/{sealed}").returncode == 0
        assert _names(mount, "m") == {"1", "2"}
        assert _names(mount, "brand-new") == {"1"}


def test_r14_a_store_that_does_not_answer_leaves_the_old_view_until_it_does(
    store: FaultServer, url: str, tmp_path: Path
) -> None:
    _put(store, "m/1/x")
    with mounted(url, tmp_path, *SELDOM) as mount:
        stalled = store.fail(Fault(Stall(), kind="list", when=_is_of_a_model))
        _put(store, "m/2/x")
        assert _names(mount, "m") == {"1"}
        assert not (mount.path / "absent").exists()
        store.heal(stalled)
        wait_until(lambda: _names(mount, "m") == {"1", "2"})


def _is_of_a_model(record: Record) -> bool:
    return record.query.get("prefix", "") != "repository/"


def test_r22_sixty_polls_cost_the_store_nothing(store: FaultServer, url: str, tmp_path: Path) -> None:
    for number in range(8):
        _put(store, f"m{number}/config.pbtxt", *(f"m{number}/1/{name}" for name in "abcdef"))
    with mounted(url, tmp_path, *SELDOM) as mount:
        store.clear_log()
        subprocess.run([sys.executable, "-c", POLLS, mount.path, "60"], timeout=PATIENCE_S, check=True)
        # where the poll had to wait for a core for 80 ms, in between two models, one of them may have been listed
        assert {record.kind for record in store.requests()} <= {"list"}
        assert len(store.requests()) <= 20


STATS = """
import os, sys, time
root = sys.argv[1]
while os.path.exists(sys.argv[2]):
    names = os.listdir(root)
    time.sleep(0.5)
    for name in names:
        os.stat(os.path.join(root, name))
"""
"""Reads the root, takes its time, and stats what it found, for as long as a file is there."""


def test_a_poll_never_fails_on_a_name_that_it_has_just_read(store: FaultServer, url: str, tmp_path: Path) -> None:
    names = [f"m{number}" for number in range(20)]
    _put(store, *(f"{name}/1/x" for name in names))
    goes_on = tmp_path / "goes-on"
    goes_on.touch()
    with mounted(url, tmp_path, "--refresh", "1") as mount:
        polling = subprocess.Popen(
            [sys.executable, "-c", STATS, mount.path, goes_on], stderr=subprocess.PIPE, text=True
        )
        try:
            for _ in range(2):
                for name in names[1:]:
                    store.delete("models", f"repository/{name}/1/x")
                wait_until(lambda: os.listdir(mount.path) == names[:1])
                _put(store, *(f"{name}/1/x" for name in names))
                wait_until(lambda: len(os.listdir(mount.path)) == len(names))
        finally:
            goes_on.unlink()
            _, complaint = polling.communicate(timeout=PATIENCE_S)
        assert (polling.returncode, complaint) == (0, "")


def test_names_that_are_tried_out_cost_the_store_a_bounded_number_of_listings(
    store: FaultServer, url: str, tmp_path: Path
) -> None:
    _put(store, "m/1/x")
    with mounted(url, tmp_path, *SELDOM) as mount:
        store.clear_log()
        began_s = time.monotonic()
        for number in range(300):
            assert not (mount.path / f"junk{number}").exists()
            assert not (mount.path / ".git").exists()
        took_s = time.monotonic() - began_s
        assert len(store.requests()) <= 16 + 2 * math.ceil(took_s)
        assert "repository/.git/" not in {record.query["prefix"] for record in store.requests()}


def test_look_0_has_names_answered_from_the_tree_alone(store: FaultServer, url: str, tmp_path: Path) -> None:
    _put(store, "m/1/x")
    with mounted(url, tmp_path, *SELDOM, "--look", "0") as mount:
        store.clear_log()
        _put(store, "m/2/x")
        assert _names(mount, "m") == {"1"}
        assert not (mount.path / "absent").exists()
        assert store.requests() == []
