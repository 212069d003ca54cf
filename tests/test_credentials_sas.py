"""A SAS in a file: taken as people write it, followed when it changes, and never shown."""

import logging
import os
from pathlib import Path

import pytest

from modelfs.azure_signing import AzureSas
from modelfs.credentials_azure import find_azure
from modelfs.credentials_sas import SasFile
from modelfs.credentials_triton import VARIABLE, find_file
from modelfs.errors import UsageError
from modelfs.location import parse

OLD, NEW = "sv=2024-11-04&sp=rl&sig=hunter2", "sv=2024-11-04&sp=rl&sig=hunter3"
LOCATION = parse("as://acct/container/path")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "sas"
    write(path, OLD)
    return path


def write(path: Path, text: str, mode: int = 0o600) -> None:
    new = path.with_name("new")
    new.write_text(text)
    new.chmod(mode)
    new.rename(path)


@pytest.mark.parametrize("text", [OLD, f"{OLD}\n", f"?{OLD}", f"'?{OLD}'\n", f"\ufeff{OLD}\r\n"])
def test_token_is_taken_as_people_write_it(path: Path, text: str) -> None:
    write(path, text)
    assert SasFile(path)() == AzureSas.of(OLD)


def test_rewritten_file_is_followed_at_once(path: Path) -> None:
    sas = SasFile(path)
    assert sas() == AzureSas.of(OLD)
    write(path, NEW)
    assert sas() == AzureSas.of(NEW)


def test_link_that_kubernetes_swaps_is_followed(tmp_path: Path) -> None:
    for name, token in (("one", OLD), ("two", NEW)):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "sas", token)
    data, link = tmp_path / "..data", tmp_path / "sas"
    data.symlink_to("one")
    link.symlink_to("..data/sas")
    sas = SasFile(link)
    assert sas() == AzureSas.of(OLD)
    (tmp_path / "swap").symlink_to("two")
    (tmp_path / "swap").rename(data)
    assert sas() == AzureSas.of(NEW)


@pytest.mark.parametrize("text", ["", "hunter4", "\x00\xff", None])
def test_file_that_is_unusable_for_a_while_keeps_the_old_token(
    path: Path, text: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    sas = SasFile(path)
    if text is None:
        path.unlink()
    else:
        write(path, text)
    assert sas() == AzureSas.of(OLD)
    assert sas() == AzureSas.of(OLD)
    (record,) = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert "going on with the old SAS" in record.getMessage()
    assert "hunter" not in caplog.text
    write(path, NEW)
    assert sas() == AzureSas.of(NEW)


@pytest.mark.parametrize(
    ("text", "says"), [("", "no SAS token"), ("hunter2", "no SAS token"), (None, "cannot be read")]
)
def test_unusable_file_is_one_sentence_without_a_secret(path: Path, text: str | None, says: str) -> None:
    path.unlink()
    if text is not None:
        write(path, text)
    with pytest.raises(UsageError, match=says) as caught:
        SasFile(path)
    assert str(path) in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="the rule is for root")
def test_pipe_is_refused_and_not_waited_for(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sas = SasFile(path)
    path.unlink()
    os.mkfifo(path, 0o600)
    assert sas() == AzureSas.of(OLD)
    assert "it is a pipe" in caplog.text
    with pytest.raises(UsageError, match="it is a pipe"):
        SasFile(path)


def test_file_that_others_can_write_is_refused_for_root(path: Path) -> None:
    path.chmod(0o622)
    with pytest.raises(UsageError, match="others can write"):
        SasFile(path)


def test_file_wins_over_all_but_the_urls_own_token_and_anonymity(path: Path, tmp_path: Path) -> None:
    (tmp_path / "triton.json").write_text('{"as": {"": {"account_str": "other", "account_key": "b3RoZXI="}}}')
    (tmp_path / "triton.json").chmod(0o600)
    environment = {
        VARIABLE: str(tmp_path / "triton.json"),
        "AZURE_STORAGE_ACCOUNT": "other",
        "AZURE_STORAGE_KEY": "b3RoZXI=",
        "AZURE_STORAGE_CONNECTION_STRING": "AccountName=other;AccountKey=b3RoZXI=",
    }
    for file in (None, find_file(LOCATION, environment)):
        access = find_azure(LOCATION, environment, file, sas_file=path)
        assert access.source is not None
        assert access.source() == AzureSas.of(OLD)
        assert (access.account, access.service_url) == ("acct", "https://acct.blob.core.windows.net")
        assert "hunter2" not in repr(access)
    own = find_azure(parse(f"as://acct/container?{NEW}"), environment, sas_file=path)
    assert own.source is not None
    assert own.source() == AzureSas.of(NEW)
    assert find_azure(LOCATION, environment, sas_file=path, is_anonymous=True).source is None
