"""Triton's credential file: which entry, which keys, and what happens when it changes or is broken."""

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from modelfs.credentials import find_s3
from modelfs.credentials_triton import VARIABLE, find_file
from modelfs.errors import UsageError
from modelfs.location import parse

KEYS = {"key_id": "AK", "secret_key": "hunter2"}


def write(path: Path, value: Any) -> dict[str, str]:
    """Write the file, and return an environment that names it."""
    new = path.with_suffix(".new")
    new.write_text(value if isinstance(value, str) else json.dumps(value))
    new.chmod(0o600)
    new.rename(path)
    return {VARIABLE: str(path)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "credentials.json"


@pytest.fixture(autouse=True)
def _no_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def chosen(path: Path, section: dict[str, Any], url: str) -> str:
    location = parse(url)
    file = find_file(location, write(path, {location.scheme: section}))
    assert file is not None
    return file().name


@pytest.mark.parametrize(
    ("url", "names", "name"),
    [
        ("s3://bkt/models", ["", "s3://bkt"], "s3://bkt"),
        ("s3://bkt/models", ["", "s3://bkt/"], "s3://bkt/"),
        ("s3://bkt/models/a", ["s3://bkt", "s3://bkt/models", "s3://bkt/models/ab"], "s3://bkt/models"),
        ("s3://bkt-2/models", ["", "s3://bkt"], ""),
        ("s3://bkt/models-2", ["s3://bkt", "s3://bkt/models"], "s3://bkt"),
        ("s3://bkt", ["", "s3://"], "s3://"),
        ("s3://minio:9000/bkt/m", ["", "s3://minio:9000"], "s3://minio:9000"),
        ("s3://minio:9000/bkt/m", ["", "s3://http://minio:9000/bkt"], "s3://http://minio:9000/bkt"),
        (
            "s3://https://minio:9000/bkt/m",
            ["", "s3://minio:9000", "s3://https://minio:9000"],
            "s3://https://minio:9000",
        ),
        ("s3://bkt/a b", ["", "s3://bkt/a b"], "s3://bkt/a b"),
        ("as://acct/container/m", ["", "as://acct"], "as://acct"),
        ("as://acct/container/m", ["as://acct", "as://acct/container"], "as://acct/container"),
        ("as://acct/container-2/m", ["as://acct", "as://acct/container"], "as://acct"),
        ("as://acct.blob.core.windows.net/container/m", ["", "as://acct/container"], "as://acct/container"),
    ],
)
def test_longest_name_at_a_path_boundary_wins(path: Path, url: str, names: list[str], name: str) -> None:
    assert chosen(path, {each: {} for each in names}, url) == name


def test_entry_of_gs_is_the_path_of_a_key_file(path: Path) -> None:
    file = find_file(parse("gs://bucket-002/m"), write(path, {"gs": {"": "one.json", "gs://bucket-002": "two.json"}}))
    assert file is not None
    assert file()["path"] == str(path.with_name("two.json"))
    write(path, {"gs": {"": "one.json", "gs://bucket-002": "/etc/three.json"}})
    assert file()["path"] == "/etc/three.json"


def test_missing_fields_are_empty_and_unknown_ones_ignored(path: Path) -> None:
    entry = {"account_str": "acct", "account_key": None, "colour": "red"}
    file = find_file(parse("as://acct/container"), write(path, {"as": {"": entry}, "unknown": 3}))
    assert file is not None
    assert dict(file().fields) == {"account_str": "acct", "account_key": "", "auth_type": "", "client_id": ""}


def test_file_takes_the_place_of_the_environment(path: Path) -> None:
    environment = {"AWS_ACCESS_KEY_ID": "AKENV", "AWS_SECRET_ACCESS_KEY": "x", "AWS_SESSION_TOKEN": "x"}
    environment |= write(path, {"s3": {"": {**KEYS, "session_token": "tok\n"}}})
    source = find_s3(environment, find_file(parse("s3://bkt"), environment))
    assert source is not None
    keys = source()
    assert (keys.access_key_id, keys.secret_access_key, keys.session_token) == ("AK", "hunter2", "tok")
    assert VARIABLE in keys.origin


def test_empty_entry_leads_past_the_environments_keys(path: Path, tmp_path: Path) -> None:
    environment = {"AWS_ACCESS_KEY_ID": "AKENV", "AWS_SECRET_ACCESS_KEY": "x", "HOME": str(tmp_path)}
    environment |= write(path, {"s3": {"": {}}})
    assert find_s3(environment, find_file(parse("s3://bkt"), environment)) is None


def test_profile_of_the_entry_is_used(path: Path, tmp_path: Path) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/credentials").write_text("[two]\naws_access_key_id = AK2\naws_secret_access_key = hunter2\n")
    (tmp_path / ".aws/credentials").chmod(0o600)
    environment = {"HOME": str(tmp_path), "AWS_PROFILE": "one", **write(path, {"s3": {"": {"profile": "two"}}})}
    source = find_s3(environment, find_file(parse("s3://bkt"), environment))
    assert source is not None
    assert source().access_key_id == "AK2"


def test_rewritten_file_is_followed_at_once(path: Path) -> None:
    environment = write(path, {"s3": {"": KEYS}})
    source = find_s3(environment, find_file(parse("s3://bkt"), environment))
    assert source is not None
    assert source().access_key_id == "AK"
    write(path, {"s3": {"": {**KEYS, "key_id": "AKNEW"}}})
    assert source().access_key_id == "AKNEW"


def test_link_that_kubernetes_swaps_is_followed(tmp_path: Path) -> None:
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
        write(tmp_path / version / "c.json", {"s3": {"": {**KEYS, "key_id": version}}})
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "c.json").symlink_to("..data/c.json")
    environment = {VARIABLE: str(tmp_path / "c.json")}
    source = find_s3(environment, find_file(parse("s3://bkt"), environment))
    assert source is not None
    assert source().access_key_id == "v1"
    (tmp_path / "..data.new").symlink_to("v2")
    (tmp_path / "..data.new").rename(tmp_path / "..data")
    assert source().access_key_id == "v2"


@pytest.mark.parametrize("text", ["{", '{"s3": {}}', '{"s3": {"": {"key_id": "hunter2"}}}'])
def test_file_that_is_broken_for_a_while_keeps_the_old_keys(
    path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    environment = write(path, {"s3": {"": KEYS}})
    source = find_s3(environment, find_file(parse("s3://bkt"), environment))
    assert source is not None
    write(path, text)
    with caplog.at_level(logging.WARNING):
        assert [source().access_key_id for _ in range(3)] == ["AK"] * 3
    assert len(caplog.records) == 1
    assert "hunter2" not in caplog.text
    write(path, {"s3": {"": {**KEYS, "key_id": "AKNEW"}}})
    assert source().access_key_id == "AKNEW"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not JSON in line 1"),
        ('{"s3": {"": {"secret_key": "hunter2",}}}', "is not JSON in line 1"),
        ('{"s3": {"": {"secret_key": "hunter2"}}', "is not JSON in line 1"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "must be a JSON object"),
        ('{"s3": "hunter2"}', '"s3" is not'),
        ('{"s3": {"": "hunter2"}}', "not an object"),
        ('{"s3": {"": {"key_id": ["hunter2"]}}}', "key_id is not a string"),
        ('{"s3": {"s3://other": {}}}', "no entry for s3://bkt/m"),
        ('{"gs": {"": "x"}}', "no entry for s3://bkt/m"),
        (" " * (2**20 + 1), "larger than"),
    ],
)
def test_unusable_file_is_one_sentence_without_a_secret(path: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_file(parse("s3://bkt/m"), write(path, text))
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "hunter2" not in repr(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("half", [{"key_id": "AK"}, {"secret_key": "hunter2"}])
def test_half_a_key_is_a_usage_error(path: Path, half: dict[str, str]) -> None:
    environment = write(path, {"s3": {"": half}})
    with pytest.raises(UsageError, match="give both or none"):
        find_s3(environment, find_file(parse("s3://bkt"), environment))


def test_absent_file_is_a_usage_error(path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        find_file(parse("s3://bkt"), {VARIABLE: str(path)})


def test_relative_path_is_refused_as_the_daemon_runs_elsewhere() -> None:
    with pytest.raises(UsageError, match="not an absolute path"):
        find_file(parse("s3://bkt"), {VARIABLE: "credentials.json"})


@pytest.mark.skipif(os.geteuid() != 0, reason="the rule is for root")
@pytest.mark.parametrize("mode", [0o602, 0o620, 0o666])
def test_file_that_others_can_write_is_refused_for_root(path: Path, mode: int) -> None:
    environment = write(path, {"s3": {"": KEYS}})
    path.chmod(mode)
    with pytest.raises(UsageError, match="others can write"):
        find_file(parse("s3://bkt"), environment)


@pytest.mark.parametrize("environment", [{}, {VARIABLE: ""}, {VARIABLE: " "}])
def test_no_variable_is_no_file(environment: dict[str, str]) -> None:
    assert find_file(parse("s3://bkt"), environment) is None


def test_local_folder_needs_no_entry(path: Path) -> None:
    assert find_file(parse("/srv/models"), write(path, "{")) is None
