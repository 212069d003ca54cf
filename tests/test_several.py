"""Entries of ``[[mounts]]`` beside each other: what fits, and one sentence about what does not. Nothing is mounted."""

from pathlib import Path
from typing import Any

import pytest

from modelfs import several, sources
from modelfs.config import Config
from modelfs.errors import UsageError
from modelfs.sources import Entry


def entry(number: int, url: str, mountpoint: object, *own: str, **settings: Any) -> Entry:
    """Return an entry; ``own`` and all ``settings`` but those that are said to be ``given`` from elsewhere."""
    return Entry(f"number {number}", url, str(mountpoint), Config(**settings), frozenset(own))


def complaint(*entries: Entry) -> str:
    with pytest.raises(UsageError) as caught:
        several.plan_all(entries, foreground=False)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


def test_each_entry_becomes_a_plan_with_settings_of_its_own(tmp_path: Path) -> None:
    entries = [
        entry(1, "s3://b/m", tmp_path / "a", refresh_s=5),
        entry(2, "as://acct/c/m?sig=SECRET", tmp_path / "b"),
        entry(3, "s3://b/m", tmp_path / "ab"),
    ]
    plans = several.plan_all(entries, foreground=True)
    assert [plan["mountpoint"] for plan in plans] == [str(tmp_path / name) for name in ("a", "b", "ab")]
    assert [plan["source"] for plan in plans] == ["s3://b/m", "as://acct/c/m?***", "s3://b/m"]
    assert [plan["config"]["refresh_s"] for plan in plans] == [5, 15, 15]
    assert all(plan["foreground"] for plan in plans)


def test_entry_is_found_by_its_mount_point_however_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    entries = [entry(1, "s3://b/m", tmp_path / "a"), entry(2, "s3://b/n", tmp_path / "b")]
    for written in (str(tmp_path / "b"), "b", f"{tmp_path}/link/b/", "./a/../b"):
        plan = several.plan_one(entries, written, foreground=False)
        assert plan is not None
        assert plan["source"] == "s3://b/n"
    assert several.plan_one(entries, "/none", foreground=False) is None


def test_same_mount_point_twice_is_refused_also_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    for second in (tmp_path / "a", tmp_path / "link" / "a"):
        said = complaint(entry(1, "s3://b/m", tmp_path / "a"), entry(2, "s3://b/n", second))
        assert said == f"number 2 has the same mountpoint {tmp_path}/a as number 1. Give each its own."


def test_mount_point_inside_another_is_refused_in_either_order(tmp_path: Path) -> None:
    above, below = entry(1, "s3://b/m", tmp_path / "a"), entry(2, "s3://b/n", tmp_path / "a" / "b")
    words = f"number 2: mountpoint {tmp_path}/a/b lies inside {tmp_path}/a of number 1."
    assert words in complaint(above, below)
    assert words in complaint(below, above)


def test_mount_point_inside_a_local_repository_and_the_reverse_are_refused(tmp_path: Path) -> None:
    cloud = entry(1, "s3://b/m", tmp_path / "r" / "a")
    words = f"number 1: mountpoint {tmp_path}/r/a lies inside the repository of number 2."
    assert words in complaint(cloud, entry(2, f"{tmp_path}/r", tmp_path / "b"))
    words = f"number 2: the repository lies inside mountpoint {tmp_path}/r/a of number 1."
    assert words in complaint(cloud, entry(2, f"{tmp_path}/r/a/x", tmp_path / "b"))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3://", "number 2: the URL names no bucket"),
        ("as://account?sig=SECRET", "number 2: the URL names no container"),
        ("relative?sig=SECRET", "number 2: 'relative' is neither"),
    ],
)
def test_wrong_url_is_told_with_its_entry_and_without_a_secret(tmp_path: Path, url: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        several.plan_all([entry(1, "s3://b/m", tmp_path / "a"), entry(2, url, tmp_path / "b")], foreground=False)
    assert words in str(caught.value)
    assert "SECRET" not in str(caught.value)


def test_mount_point_that_is_a_url_is_told_with_its_entry() -> None:
    assert "number 1: the mount point looks like a URL" in complaint(entry(1, "/srv/m", "/s3://b/m"))


def test_one_log_file_for_two_is_refused(tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    first, second = (entry(n, "s3://b/m", tmp_path / str(n), log_file=log) for n in (1, 2))
    assert "number 1 and number 2 have the same log_file" in complaint(first, second)


def test_endpoint_for_all_is_refused_when_they_are_of_several_clouds(tmp_path: Path) -> None:
    """As the top of a file, a variable or a flag give it: Google's token would go to the S3 store."""
    endpoint = "http://minio:9000"
    s3 = entry(1, "s3://b/m", tmp_path / "a", endpoint_url=endpoint)
    google = entry(2, "gs://b/m", tmp_path / "b", endpoint_url=endpoint)
    assert "of several clouds (gs://, s3://)" in complaint(s3, google)
    own = entry(2, "gs://b/m", tmp_path / "b", "endpoint_url", endpoint_url="http://gcs:1")
    folder = entry(3, "/srv/m", tmp_path / "c", endpoint_url=endpoint)
    named = entry(4, "as://http://127.0.0.1:1/a/c/m", tmp_path / "d", endpoint_url=endpoint)
    more = entry(5, "s3://b/n", tmp_path / "e", endpoint_url=endpoint)
    assert len(several.plan_all([s3, own, folder, named, more], foreground=False)) == 5


def test_sas_file_for_all_is_refused_when_they_are_of_several_accounts(tmp_path: Path) -> None:
    first = entry(1, "as://one/c/m", tmp_path / "a", sas_file="/sas")
    other = entry(2, "as://two/c/m", tmp_path / "b", sas_file="/sas")
    assert "of several Azure accounts" in complaint(first, other)
    own = entry(2, "as://two/c/m", tmp_path / "b", "sas_file", sas_file="/other")
    in_url = entry(3, "as://three/c/m?sig=x", tmp_path / "c", sas_file="/sas")
    same = entry(4, "as://one/d/m", tmp_path / "d", sas_file="/sas")
    assert len(several.plan_all([first, own, in_url, same], foreground=False)) == 4


def test_entries_of_a_file_are_taken_as_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f'[[mounts]]\nurl = "/srv/m"\nmountpoint = "{tmp_path}/a"\n' * 2)
    entries = sources.load_mounts(flags={}, environment={}, files=[path])
    assert f"[[mounts]] number 2 in {path} has the same mountpoint" in complaint(*entries)
