"""Several mounts of one repository on real mounts: one of them lists for all, and when it ends another one does."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from faultserver import FaultServer
from mount.mounting_for_tests import PATIENCE_S, Mount, mounted, wait_until

from modelfs.mounts import ask
from modelfs.runtime import folder_of

OPTIONS = ("--refresh", "1")


@contextmanager
def three_mounts(url: str, folder: Path, *options: str) -> Iterator[list[Mount]]:
    """Mount ``url`` three times, with one runtime folder."""
    with mounted(url, folder, *options) as first:
        mounts = [first]
        try:
            for name in ("second", "third"):
                path = folder / name
                path.mkdir()
                mounts.append(replace(first, path=path))
                done = first.command("mount", url, str(path), *options)
                assert done.returncode == 0, done.stderr
            yield mounts
        finally:
            for mount in mounts[1:]:
                first.command("unmount", "--lazy", str(mount.path))


def told(mount: Mount) -> dict[str, Any]:
    """Return what the mount's worker says of itself."""
    return ask(folder_of(mount.env["MODELFS_RUNTIME_DIR"], str(mount.path)), "status", timeout_s=PATIENCE_S)


def test_r22_three_mounts_cost_one_listing_for_each_refresh_and_go_on_when_the_one_that_lists_ends(
    store: FaultServer, url: str, tmp_path: Path
) -> None:
    store.put("models", "repository/m/1/x", b"x")
    with three_mounts(url, tmp_path, *OPTIONS) as mounts:
        wait_until(lambda: sorted(told(mount)["listing_is_shared"] for mount in mounts) == [False, True, True])
        assert (tmp_path / "run" / "listings").exists()
        before = [told(mount)["listings"] for mount in mounts]
        store.clear_log()
        wait_until(
            lambda: all(told(mount)["listings"] >= begun + 2 for mount, begun in zip(mounts, before, strict=True))
        )
        asked = len(store.requests(kind="list"))
        taken = sum(told(mount)["listings"] for mount in mounts) - sum(before)
        assert taken >= 6
        # each would have asked for all of its own; a mount that a busy machine held up may have asked once itself
        assert asked <= taken * 2 // 3

        store.put("models", "repository/m/1/y", b"y")
        wait_until(lambda: all((mount.path / "m/1/y").exists() for mount in mounts))
        leader = next(mount for mount in mounts if not told(mount)["listing_is_shared"])
        assert leader.command("unmount", str(leader.path)).returncode == 0
        others = [mount for mount in mounts if mount is not leader]
        store.put("models", "repository/m/1/z", b"z")
        wait_until(lambda: all((mount.path / "m/1/z").exists() for mount in others))
    assert not (tmp_path / "run").exists()


def test_a_mount_that_shall_not_share_leaves_no_listing(store: FaultServer, url: str, tmp_path: Path) -> None:
    store.put("models", "repository/m/1/x", b"x")
    with mounted(url, tmp_path, *OPTIONS, "--no-share-listings") as mount:
        wait_until(lambda: told(mount)["listings"] >= 2)
        assert not (tmp_path / "run" / "listings").exists()
