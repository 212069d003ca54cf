"""What can be known of mounting without mounting; the rest is in test_supervisor."""

import errno
import os
import subprocess
from pathlib import Path

import pytest

from modelfs import mounting
from modelfs.mounting import MountRefusedError


def test_mountinfo_is_unescaped_and_optional_fields_are_skipped() -> None:
    text = (
        "21 1 0:20 / / rw,relatime - ext4 /dev/root rw\n"
        "36 21 0:52 / /mnt/a\\040b\\134c ro shared:1 master:2 - fuse.modelfs s3://b/x\\040y ro,user_id=0\n"
    )
    root, ours = mounting.parse_mountinfo(text)
    assert (root.mountpoint, root.fstype) == ("/", "ext4")
    assert ours == ("0:52", "/mnt/a b\\c", "fuse.modelfs", "s3://b/x y", "ro,user_id=0")


def test_mount_point_of_any_name_leaves_the_table_readable(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    place = tmp_path / "a\rb c\nd\te\\f\x1b"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    try:
        found = mounting.mounted_at(str(place))
    finally:
        subprocess.run(["umount", place], check=True)
    assert found is not None
    assert found.fstype == "tmpfs"


def test_mount_at_a_place_is_the_topmost_one() -> None:
    assert mounting.mounted_at("/proc") is not None
    assert mounting.mounted_at("/proc/nothing-is-mounted-here") is None


def test_mount_point_is_resolved_through_links(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "parent").symlink_to(tmp_path)
    wanted = str(tmp_path / "real")
    for path in ("real", "link", "parent/real", "parent/link", "real/", "./x/../real"):
        assert mounting.resolve_mount_point(f"{tmp_path}/{path}") == wanted
    assert mounting.resolve_mount_point(str(tmp_path / "absent")) == str(tmp_path / "absent")
    assert mounting.resolve_mount_point("/") == "/"


def test_living_place_answers() -> None:
    assert mounting.probe("/") == "answers"


def refusal(path: Path) -> str:
    with pytest.raises(MountRefusedError) as caught:
        mounting.prepare_mount_point(str(path))
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_unusable_mount_point_is_refused_with_advice(tmp_path: Path) -> None:
    assert f"mkdir -p {tmp_path}/absent" in refusal(tmp_path / "absent")
    (tmp_path / "file").touch()
    assert "is not a directory" in refusal(tmp_path / "file")
    assert "is not a directory" in refusal(tmp_path / "file" / "below")
    assert "is not empty" in refusal(tmp_path)


def test_empty_directory_is_accepted(tmp_path: Path) -> None:
    mounting.prepare_mount_point(str(tmp_path))


def test_machine_without_device_or_helper_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(mounting, "DEVICE", str(tmp_path / "fuse"))
    with pytest.raises(MountRefusedError, match=r"is missing. Load it with 'modprobe fuse'"):
        mounting.check_machine()
    (tmp_path / "fuse").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MountRefusedError, match=r"needs fusermount3"):
        mounting.check_machine()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(MountRefusedError, match=r"cannot be opened \(Is a directory\)"):
        mounting.check_machine()


@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.EPERM, "capability SYS_ADMIN"), (errno.ENODEV, "modprobe fuse"), (errno.EINVAL, "dmesg")],
)
def test_refusal_of_the_kernel_has_advice(code: int, words: str) -> None:
    assert words in mounting._why_not_mounted("/mnt", code)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (
            "fusermount3: option allow_other only allowed if 'user_allow_other' is set in /etc/fuse.conf\n",
            "Add the line",
        ),
        ("fusermount3: user has no write access to mountpoint /mnt\n", "is not writable"),
        ("noise\nfusermount3: mount failed: Operation not permitted\n", "mount failed: Operation not permitted. Mount"),
        ("", "it gave no reason"),
    ],
)
def test_refusal_of_the_helper_has_advice(output: str, words: str) -> None:
    assert words in mounting._why_helper_failed("/mnt", output)


def test_unmounting_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"Invalid argument|not permitted"):
        mounting.unmount(str(tmp_path), lazy=False)
