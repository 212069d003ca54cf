"""Credentials: Triton's order, refresh, and no secret anywhere.

Nothing here leaves the machine: the instance metadata service is switched off for every test.
"""

import logging
import pwd
import sys
from pathlib import Path
from subprocess import run
from types import SimpleNamespace
from typing import Any

import botocore.exceptions
import pytest

from modelfs import aws_settings
from modelfs.credentials import Chain, S3Keys, find_s3
from modelfs.errors import AccessRefusedError, ModelfsError, StoreUnavailableError, UsageError

FROM_ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "AKENV", "AWS_SECRET_ACCESS_KEY": "hunter2"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give botocore, which reads the process's environment, an empty home, and no way to a cloud."""
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    return tmp_path


def files(home: Path) -> dict[str, str]:
    return {
        "HOME": str(home),
        "AWS_SHARED_CREDENTIALS_FILE": str(home / "credentials"),
        "AWS_CONFIG_FILE": str(home / "config"),
    }


def write_keys(home: Path, key_id: str, *, profile: str = "default") -> None:
    (home / "credentials").write_text(
        f"[{profile}]\naws_access_key_id = {key_id}\naws_secret_access_key = hunter2\naws_session_token = tok\n"
    )


def test_environment_wins_over_the_profile(home: Path) -> None:
    write_keys(home, "AKFILE")
    source = find_s3({**files(home), **FROM_ENVIRONMENT})
    assert source is not None
    assert source() == S3Keys("AKENV", "hunter2", None)


def test_session_token_goes_with_the_environments_keys() -> None:
    source = find_s3({**FROM_ENVIRONMENT, "AWS_SESSION_TOKEN": "tok"})
    assert source is not None
    assert source() == S3Keys("AKENV", "hunter2", "tok")


def test_newline_behind_a_mounted_secret_is_not_part_of_it() -> None:
    source = find_s3({name: f"{value}\n" for name, value in FROM_ENVIRONMENT.items()})
    assert source is not None
    assert source() == S3Keys("AKENV", "hunter2", None)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"AWS_ACCESS_KEY_ID": "AK"}, "AWS_ACCESS_KEY_ID is set but AWS_SECRET_ACCESS_KEY is not"),
        ({"AWS_SECRET_ACCESS_KEY": "hunter2"}, "AWS_SECRET_ACCESS_KEY is set but AWS_ACCESS_KEY_ID is not"),
        ({"AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": " "}, "AWS_SECRET_ACCESS_KEY is not"),
        ({"AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": "hunter2\nx"}, "AWS_SECRET_ACCESS_KEY holds characters"),
        ({"AWS_ACCESS_KEY_ID": "ÄK", "AWS_SECRET_ACCESS_KEY": "hunter2"}, "AWS_ACCESS_KEY_ID holds characters"),
    ],
)
def test_incomplete_or_broken_pair_names_the_variable(environment: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        find_s3(environment)
    assert "hunter2" not in str(caught.value)


def test_profile_is_found_where_the_environment_has_no_keys(home: Path) -> None:
    write_keys(home, "AKFILE", profile="two")
    source = find_s3({**files(home), "AWS_PROFILE": "two"})
    assert source is not None
    assert source() == S3Keys("AKFILE", "hunter2", "tok")


def test_profile_is_found_without_home_where_the_user_database_says(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".aws").mkdir()
    keys = "aws_access_key_id = AKFILE\naws_secret_access_key = hunter2\n"
    (home / ".aws" / "config").write_text(f"[profile two]\nregion = eu-west-3\n{keys}")
    monkeypatch.delenv("AWS_CONFIG_FILE")
    monkeypatch.setattr(pwd, "getpwuid", lambda _number: SimpleNamespace(pw_dir=str(home)))
    source = find_s3({"AWS_PROFILE": "two"})
    assert source is not None
    assert source().access_key_id == "AKFILE"
    assert aws_settings.find({"AWS_PROFILE": "two"}).region == "eu-west-3"


def test_missing_profile_is_a_usage_error(home: Path) -> None:
    with pytest.raises(UsageError, match="no-such-profile"):
        find_s3({**files(home), "AWS_PROFILE": "no-such-profile"})


@pytest.mark.parametrize("text", ["[default]\naws_access_key_id = AK\n", "[default\nnonsense"])
def test_broken_credential_file_is_a_usage_error_or_refused(home: Path, text: str) -> None:
    (home / "credentials").write_text(text)
    with pytest.raises((UsageError, AccessRefusedError), match="AWS"):
        find_s3({**files(home), "AWS_PROFILE": "default"})


def test_nothing_found_is_anonymous(home: Path) -> None:
    assert find_s3(files(home)) is None


def test_no_repr_holds_a_secret() -> None:
    text = repr(S3Keys("AKENV", "hunter2", "hunter2-token"))
    assert "AKENV" in text
    assert "hunter2" not in text


def test_environments_keys_cost_no_botocore() -> None:
    program = (
        "import sys; from modelfs import aws_settings, credentials; "
        "credentials.find_s3({'AWS_ACCESS_KEY_ID': 'a', 'AWS_SECRET_ACCESS_KEY': 'b'})(); "
        "aws_settings.find({'HOME': '/nonexistent'}); "
        "sys.exit(any(name.startswith('botocore') for name in sys.modules))"
    )
    assert run([sys.executable, "-c", program], check=False).returncode == 0


# -- a long life


class Clock:
    """Time that stands until it is set."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def static(key_id: str) -> Any:
    frozen = SimpleNamespace(access_key=key_id, secret_key="hunter2", token=None)
    return SimpleNamespace(get_frozen_credentials=lambda: frozen)


def test_rewritten_credential_file_is_followed_within_a_minute(home: Path) -> None:
    clock = Clock()
    write_keys(home, "AKOLD")
    environment = files(home)

    def load() -> Any:
        import botocore.session  # noqa: PLC0415  as the module under test does

        session = botocore.session.Session()
        session.set_config_variable("credentials_file", environment["AWS_SHARED_CREDENTIALS_FILE"])
        return session.get_credentials()

    chain = Chain(load, clock=clock)
    write_keys(home, "AKNEW")
    assert chain().access_key_id == "AKOLD"
    clock.now_s = 61
    assert chain().access_key_id == "AKNEW"


def test_file_that_is_unreadable_for_a_while_keeps_the_old_keys(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    answers: list[Any] = [static("AK1"), UsageError("half-written"), None, static("AK2")]

    def load() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, ModelfsError):
            raise answer
        return answer

    chain = Chain(load, clock=clock)
    seen = []
    with caplog.at_level(logging.WARNING):
        for _ in range(4):
            seen.append(chain().access_key_id)
            clock.now_s += 61
    assert seen == ["AK1", "AK1", "AK1", "AK2"]
    assert [record.getMessage() for record in caplog.records] == [
        "AWS credentials cannot be read again, going on with the old ones error=half-written"
    ]
    assert "hunter2" not in caplog.text


def test_refreshable_credentials_are_asked_and_not_loaded_again() -> None:
    clock = Clock()
    loads = []

    def load() -> Any:
        loads.append(1)
        credentials = static("AK")
        credentials.refresh_needed = lambda: False
        return credentials

    chain = Chain(load, clock=clock)
    clock.now_s = 1e6
    assert chain().access_key_id == "AK"
    assert len(loads) == 1


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (botocore.exceptions.EndpointConnectionError(endpoint_url="http://sts"), StoreUnavailableError),
        (botocore.exceptions.MetadataRetrievalError(error_msg="503"), StoreUnavailableError),
        (botocore.exceptions.HTTPClientError(error="x"), StoreUnavailableError),
        (botocore.exceptions.CredentialRetrievalError(provider="p", error_msg="x"), AccessRefusedError),
        (botocore.exceptions.NoCredentialsError(), AccessRefusedError),
        (botocore.exceptions.ClientError({"Error": {"Code": "AccessDenied"}}, "AssumeRole"), AccessRefusedError),
        (RuntimeError("credentials were refreshed, but are still expired"), AccessRefusedError),
    ],
)
def test_failing_refresh_is_one_of_our_errors(error: Exception, ours: type[ModelfsError]) -> None:
    def refuse() -> Any:
        raise error

    chain = Chain(lambda: SimpleNamespace(get_frozen_credentials=refuse, refresh_needed=lambda: True))
    with pytest.raises(ours) as caught:
        chain()
    assert type(caught.value) is ours


# -- region and authorities


def test_region_of_the_environment_wins(home: Path) -> None:
    (home / "config").write_text("[default]\nregion = eu-west-3\n[profile two]\nregion = eu-west-2\n")
    assert aws_settings.find({**files(home), "AWS_REGION": "r1", "AWS_DEFAULT_REGION": "r2"}).region == "r1"
    assert aws_settings.find({**files(home), "AWS_DEFAULT_REGION": "r2"}).region == "r2"
    assert aws_settings.find(files(home)).region == "eu-west-3"
    assert aws_settings.find({**files(home), "AWS_PROFILE": "two"}).region == "eu-west-2"


def test_region_may_be_unknown(home: Path) -> None:
    assert aws_settings.find(files(home)).region is None


def test_authorities_are_those_of_the_variable() -> None:
    assert aws_settings.find({"AWS_CA_BUNDLE": "/x.pem"}).ca_bundle == Path("/x.pem")
    assert aws_settings.find({"AWS_CA_BUNDLE": ""}).ca_bundle is None
