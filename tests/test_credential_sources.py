"""Every source of AWS credentials, each against a stub of its endpoint on loopback."""

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import botocore.credentials
import botocore.tokens
import pytest
from token_endpoints import AGENT_TOKEN, ROLE, Endpoints, token_endpoints

from modelfs.credentials import S3Keys, find_s3
from modelfs.errors import AccessRefusedError, ModelfsError, UsageError

ROLE_KEYS = S3Keys("ASIAROLE", "role-secret", "role-token")


@pytest.fixture
def endpoints() -> Iterator[Endpoints]:
    with token_endpoints() as running:
        yield running


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endpoints: Endpoints) -> Path:
    """Give botocore, which reads the process's environment, an empty home, and our stubs for a cloud."""
    for name in [name for name in os.environ if name.startswith("AWS_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", endpoints.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_SSO", endpoints.url)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-3")
    (tmp_path / ".aws").mkdir()
    return tmp_path


def write(home: Path, name: str, text: str) -> None:
    new = home / ".aws/new"
    new.write_text(text)
    new.chmod(0o600)
    new.rename(home / ".aws" / name)


def keys(**environment: str) -> S3Keys:
    """Return what is found now in the process's environment."""
    source = find_s3({**os.environ, **environment})
    assert source is not None
    return source()


def test_assumed_role_of_a_source_profile(home: Path, endpoints: Endpoints) -> None:
    write(home, "credentials", "[base]\naws_access_key_id = AKBASE\naws_secret_access_key = base-secret\n")
    write(home, "config", f"[profile role]\nrole_arn = {ROLE}\nsource_profile = base\nregion = eu-west-3\n")
    found = keys(AWS_PROFILE="role")
    assert found == ROLE_KEYS
    assert found.origin == "the profile 'role' (assume-role)"
    assert found.expires_at is not None
    assert endpoints.asked == ["AssumeRole"]


def test_web_identity_of_a_pod(home: Path, monkeypatch: pytest.MonkeyPatch, endpoints: Endpoints) -> None:
    (home / "token").write_text("pod-identity")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(home / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
    found = keys()
    assert found == ROLE_KEYS
    assert found.origin == "assume-role-with-web-identity"
    assert endpoints.asked == ["AssumeRoleWithWebIdentity"]


def test_profiles_keys_win_over_the_pods_identity_as_in_triton(
    home: Path, monkeypatch: pytest.MonkeyPatch, endpoints: Endpoints
) -> None:
    (home / "token").write_text("pod-identity")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(home / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
    write(home, "credentials", "[serving]\naws_access_key_id = AKPROFILE\naws_secret_access_key = x\n[empty]\n")
    assert keys(AWS_PROFILE="serving").access_key_id == "AKPROFILE"
    assert endpoints.asked == []
    assert keys(AWS_PROFILE="empty") == ROLE_KEYS


def test_refused_web_identity_says_what_to_check(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "token").write_text("somebody else")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(home / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
    with pytest.raises(AccessRefusedError, match=r"InvalidIdentityToken.*check the profile or role"):
        keys()


def test_absent_web_identity_is_one_of_our_errors(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(home / "absent"))
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
    with pytest.raises(AccessRefusedError, match="absent"):
        keys()


def test_pod_identity_and_container_agent(home: Path, monkeypatch: pytest.MonkeyPatch, endpoints: Endpoints) -> None:
    (home / "agent").write_text(AGENT_TOKEN)
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{endpoints.url}/container")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(home / "agent"))
    found = keys()
    assert found == ROLE_KEYS
    assert found.origin == "container-role"
    assert found.expires_at is not None


def test_metadata_service_with_a_session(monkeypatch: pytest.MonkeyPatch, endpoints: Endpoints) -> None:
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"{endpoints.url}/")
    found = keys()
    assert found == ROLE_KEYS
    assert found.origin == "iam-role"
    assert endpoints.asked[0] == "metadata token"


def test_process_of_a_profile(home: Path) -> None:
    answer = {"Version": 1, "AccessKeyId": "AKPROC", "SecretAccessKey": "proc-secret", "SessionToken": "proc-token"}
    (home / "keys.json").write_text(json.dumps(answer))
    write(home, "config", f"[profile run]\ncredential_process = cat {home}/keys.json\n")
    found = keys(AWS_PROFILE="run")
    assert found == S3Keys("AKPROC", "proc-secret", "proc-token")
    assert found.origin == "the profile 'run' (custom-process)"


def test_process_that_fails_is_one_of_our_errors(home: Path) -> None:
    for command in (f"{sys.executable} -c 'exit(3)'", "/no/such/program", "echo hunter2"):
        write(home, "config", f"[profile run]\ncredential_process = {command}\n")
        with pytest.raises(ModelfsError) as caught:
            keys(AWS_PROFILE="run")
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("named", [False, True], ids=["start URL", "session"])
def test_single_sign_on_with_a_cached_token(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    endpoints: Endpoints,
    named: bool,  # noqa: FBT001  parametrized
) -> None:
    start = "https://example.awsapps.com/start"
    cache = home / ".aws/sso/cache"
    cache.mkdir(parents=True)
    # botocore takes HOME for these when it is imported
    monkeypatch.setattr(botocore.credentials.SSOProvider, "_SSO_TOKEN_CACHE_DIR", str(cache))
    monkeypatch.setattr(botocore.tokens.SSOTokenProvider, "_SSO_TOKEN_CACHE_DIR", str(cache))
    expires_at = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    name = hashlib.sha1(b"ours" if named else start.encode(), usedforsecurity=False).hexdigest()
    token = {"startUrl": start, "region": "eu-west-3", "accessToken": "sso-token", "expiresAt": expires_at}
    (cache / f"{name}.json").write_text(json.dumps(token))
    where = f"sso_start_url = {start}\nsso_region = eu-west-3\n"
    role = "sso_account_id = 123456789012\nsso_role_name = reader\n"
    session = f"sso_session = ours\n{role}[sso-session ours]\n{where}"
    write(home, "config", f"[profile sso]\n{session if named else where + role}")
    found = keys(AWS_PROFILE="sso")
    assert found == ROLE_KEYS
    assert endpoints.asked == ["/federation/credentials"]


def test_single_sign_on_without_a_token_says_so(home: Path) -> None:
    where = "sso_start_url = https://x/start\nsso_region = r\nsso_account_id = 1\nsso_role_name = reader\n"
    write(home, "config", f"[profile sso]\n{where}")
    with pytest.raises(AccessRefusedError, match="SSO"):
        keys(AWS_PROFILE="sso")


def test_environments_keys_win_over_every_role(monkeypatch: pytest.MonkeyPatch, endpoints: Endpoints) -> None:
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{endpoints.url}/container")
    assert keys(AWS_ACCESS_KEY_ID="AKENV", AWS_SECRET_ACCESS_KEY="x").access_key_id == "AKENV"
    assert endpoints.asked == []


def test_process_keys_are_not_the_mappings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKPROCESS")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    mapping = {name: value for name, value in os.environ.items() if "ACCESS_KEY" not in name}
    assert find_s3(mapping) is None


# -- a long life


def test_role_is_renewed_before_it_expires(home: Path, monkeypatch: pytest.MonkeyPatch, endpoints: Endpoints) -> None:
    (home / "agent").write_text(AGENT_TOKEN)
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{endpoints.url}/container")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(home / "agent"))
    endpoints.life_s = 30  # within the time in which botocore insists on new ones
    source = find_s3(os.environ)
    assert source is not None
    assert source().access_key_id == "ASIAROLE"
    endpoints.key_id = "ASIANEXT"
    endpoints.life_s = 3600
    assert source().access_key_id == "ASIANEXT"


def test_rewritten_source_profile_assumes_the_role_anew(home: Path, endpoints: Endpoints) -> None:
    base = "[base]\naws_access_key_id = {}\naws_secret_access_key = base-secret\n"
    write(home, "credentials", base.format("AKBASE"))
    write(home, "config", f"[profile role]\nrole_arn = {ROLE}\nsource_profile = base\nregion = eu-west-3\n")
    source = find_s3({**os.environ, "AWS_PROFILE": "role"})
    assert source is not None
    assert [source().access_key_id for _ in range(3)] == ["ASIAROLE"] * 3
    write(home, "credentials", base.format("AKBASE2"))
    endpoints.key_id = "ASIANEXT"
    assert source().access_key_id == "ASIANEXT"
    assert endpoints.asked == ["AssumeRole"] * 2


@pytest.mark.skipif(os.geteuid() != 0, reason="the rule is for root")
@pytest.mark.parametrize("name", ["credentials", "config"])
def test_file_that_others_can_write_is_refused_for_root(home: Path, name: str) -> None:
    write(home, name, "[default]\naws_access_key_id = AK\naws_secret_access_key = x\n")
    (home / ".aws" / name).chmod(0o666)
    with pytest.raises(UsageError, match="others can write"):
        keys()
