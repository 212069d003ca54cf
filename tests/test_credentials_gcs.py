"""Google's credentials: Triton's order, every kind of file, refresh, and no secret anywhere.

Nothing here leaves the machine: every token endpoint is a stub on loopback.
"""

import base64
import json
import logging
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google_stub import METADATA_PATH, GoogleStub, private_key, service_account

from modelfs.credentials_gcs import find_billing_project, find_gcs, find_gcs_endpoint
from modelfs.errors import AccessRefusedError, ModelfsError, StoreUnavailableError, UsageError
from modelfs.gcs_tokens import Tokens

OTHERS_MAY_WRITE = "others can write the credential file"
READ_ONLY = "https://www.googleapis.com/auth/devstorage.read_only"


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[GoogleStub]:
    with GoogleStub() as stub:
        # for a person's login google-auth takes Google's own endpoint, whatever the file says
        monkeypatch.setattr("google.oauth2.credentials._GOOGLE_OAUTH2_TOKEN_ENDPOINT", f"{stub.url}/token")
        # and for impersonation Google's own IAM
        monkeypatch.setattr("google.auth.iam._IAM_ENDPOINT", f"{stub.url}/{{}}:generateAccessToken")
        yield stub


@pytest.fixture(scope="module")
def pem() -> str:
    return private_key()


@pytest.fixture
def nobody(tmp_path: Path) -> dict[str, str]:
    """Return an environment with an empty home, on no machine of Google's."""
    return {"HOME": str(tmp_path), "NO_GCE_CHECK": "true"}


def user(name: str) -> dict[str, str]:
    return {"type": "authorized_user", "client_id": "client", "client_secret": "hunter2", "refresh_token": name}


def external(stub: GoogleStub, subject: Path) -> dict[str, Any]:
    pool = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/k8s"
    return {
        "type": "external_account",
        "audience": pool,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{stub.url}/sts",
        "credential_source": {"file": str(subject)},
    }


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    path.chmod(0o600)
    return path


def found(environment: dict[str, str]) -> Tokens:
    tokens = find_gcs(environment)
    assert tokens is not None
    return tokens


# -- kinds of files


def test_service_account_signs_for_a_token_to_read(
    stub: GoogleStub, pem: str, nobody: dict[str, str], tmp_path: Path
) -> None:
    key = write(tmp_path / "key.json", service_account(stub, pem))
    token = found({**nobody, "GOOGLE_APPLICATION_CREDENTIALS": str(key)})()
    assert (token.value, token.origin) == ("token-1", f"GOOGLE_APPLICATION_CREDENTIALS={key} (service_account)")
    (asked,) = stub.asked
    assert asked.form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    payload = asked.form["assertion"].split(".")[1]

    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert (claims["iss"], claims["scope"]) == ("modelfs@p.iam.gserviceaccount.com", READ_ONLY)


def test_authorized_user_exchanges_the_refresh_token(stub: GoogleStub, nobody: dict[str, str], tmp_path: Path) -> None:
    key = write(tmp_path / "key.json", user("hunter2"))
    assert found({**nobody, "GOOGLE_APPLICATION_CREDENTIALS": str(key)})().value == "token-1"
    assert stub.asked[0].form["refresh_token"] == "hunter2"


def test_tokens_of_one_key_are_of_one_principal_and_those_of_others_of_others(
    stub: GoogleStub, nobody: dict[str, str], tmp_path: Path
) -> None:
    keys = [write(tmp_path / f"{name}.json", user(name)) for name in ("one", "two")]
    tokens = [found({**nobody, "GOOGLE_APPLICATION_CREDENTIALS": str(key)})() for key in (keys[0], keys[0], keys[1])]
    assert len({token.value for token in tokens}) == 3
    assert tokens[0].principal == tokens[1].principal != tokens[2].principal
    subject = write(tmp_path / "subject", "jwt-1")
    key = write(tmp_path / "external.json", external(stub, subject))
    # whose token is exchanged stands in another file
    assert found({**nobody, "GOOGLE_APPLICATION_CREDENTIALS": str(key)})().principal == ""


def test_external_account_exchanges_the_token_in_a_file_and_reads_it_each_time(
    stub: GoogleStub, nobody: dict[str, str], tmp_path: Path
) -> None:
    subject = write(tmp_path / "subject", "jwt-1")
    key = write(tmp_path / "key.json", external(stub, subject))
    tokens = found({**nobody, "GOOGLE_APPLICATION_CREDENTIALS": str(key)})
    stub.lifetime_s = 0
    assert tokens().value == "token-1"
    write(subject, "jwt-2")  # as Kubernetes does every hour
    assert tokens().value == "token-2"
    assert [asked.form["subject_token"] for asked in stub.asked] == ["jwt-1", "jwt-2"]
    assert stub.asked[0].form["scope"] == READ_ONLY


def test_login_by_workforce_federation_exchanges_its_refresh_token(
    stub: GoogleStub, nobody: dict[str, str], tmp_path: Path
) -> None:
    content = {
        "type": "external_account_authorized_user",
        "audience": "//iam.googleapis.com/locations/global/workforcePools/pool/providers/p",
        "client_id": "client",
        "client_secret": "hunter2",
        "refresh_token": "hunter3",
        "token_url": f"{stub.url}/sts",
    }
    key = write(tmp_path / "key.json", content)
    assert found({**nobody, "GOOGLE_APPLICATION_CREDENTIALS": str(key)})().value == "token-1"
    (asked,) = stub.asked
    assert (asked.form["grant_type"], asked.form["refresh_token"]) == ("refresh_token", "hunter3")


def test_impersonation_exchanges_the_sources_token_for_the_accounts(
    stub: GoogleStub, nobody: dict[str, str], tmp_path: Path
) -> None:
    account = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/reader@p.iam.gserviceaccount.com"
    content = {
        "type": "impersonated_service_account",
        "service_account_impersonation_url": f"{account}:generateAccessToken",
        "source_credentials": user("hunter2"),
    }
    key = write(tmp_path / "key.json", content)
    assert found({**nobody, "GOOGLE_APPLICATION_CREDENTIALS": str(key)})().value == "token-2"
    source, impersonated = stub.asked
    assert source.form["refresh_token"] == "hunter2"
    assert impersonated.path == "/reader@p.iam.gserviceaccount.com:generateAccessToken"
    assert {name.lower(): value for name, value in impersonated.headers.items()}["authorization"] == "Bearer token-1"


def test_external_account_without_its_token_file_says_what_to_look_at(
    stub: GoogleStub, nobody: dict[str, str], tmp_path: Path
) -> None:
    key = write(tmp_path / "key.json", external(stub, tmp_path / "absent"))
    with pytest.raises(AccessRefusedError, match="the files that they name"):
        found({**nobody, "GOOGLE_APPLICATION_CREDENTIALS": str(key)})()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is not a JSON file"),
        ("hunter2", "is not a JSON file"),
        ("[]", "is not a JSON file"),
        ("[" * 100_000, "is not a JSON file"),
        ({"private_key": "hunter2"}, "has no 'type' that is known"),
        ({"type": "hunter3"}, "has no 'type' that is known"),
        ({"type": "service_account", "private_key": "hunter2"}, "is not whole"),
        (
            {"type": "service_account", "client_email": "x", "token_uri": "x", "private_key": "hunter2"},
            "is not whole",
        ),
        ({"type": "authorized_user", "refresh_token": "hunter2"}, "is not whole"),
        ({"type": "external_account", "credential_source": "hunter2"}, "is not whole"),
        ({"type": "external_account_authorized_user", "refresh_token": "hunter2"}, "is not whole"),
        ({"type": "impersonated_service_account", "x": "hunter2"}, "is not whole"),
        ({"type": "external_account", "credential_source": {"executable": {}}, "x": "hunter2"}, "is not whole"),
    ],
)
def test_bad_file_is_one_sentence_without_its_content(
    content: object, says: str, nobody: dict[str, str], tmp_path: Path
) -> None:
    key = write(tmp_path / "key.json", content)
    with pytest.raises(UsageError, match=says) as caught:
        find_gcs({**nobody, "GOOGLE_APPLICATION_CREDENTIALS": str(key)})
    assert str(key) in str(caught.value)
    assert "hunter" not in "".join(traceback.format_exception(caught.value))


def test_absent_file_is_a_usage_error(nobody: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        find_gcs({**nobody, "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "absent")})


@pytest.mark.skipif(os.geteuid() != 0, reason="it is root that takes no file from others")
@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_file_that_others_can_write_is_refused_for_root(nobody: dict[str, str], tmp_path: Path, mode: int) -> None:
    key = write(tmp_path / "key.json", user("hunter2"))
    key.chmod(mode)
    with pytest.raises(UsageError, match=OTHERS_MAY_WRITE):
        find_gcs({**nobody, "GOOGLE_APPLICATION_CREDENTIALS": str(key)})


# -- refusals


@pytest.fixture
def login(stub: GoogleStub, nobody: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tokens:
    """Return the tokens of a person's login, without google-auth's own pauses between tries."""
    assert stub.asked == []
    monkeypatch.setattr("google.auth._exponential_backoff.time.sleep", lambda _s: None)
    return found({**nobody, "GOOGLE_APPLICATION_CREDENTIALS": str(write(tmp_path / "key.json", user("hunter2")))})


@pytest.mark.parametrize(
    ("refusal", "kind", "says"),
    [
        ((400, {"error": "invalid_grant", "error_description": "hunter2"}), AccessRefusedError, "invalid_grant"),
        ((401, {"error": "unauthorized_client"}), AccessRefusedError, "unauthorized_client"),
        ((503, {"error": "hunter2"}), StoreUnavailableError, "fails"),
        ((200, {"hunter2": 1}), AccessRefusedError, "refused"),
    ],
)
def test_refusal_of_the_token_endpoint_is_ours_and_quotes_only_the_code(
    login: Tokens, stub: GoogleStub, refusal: tuple[int, dict[str, Any]], kind: type[ModelfsError], says: str
) -> None:
    stub.refusal = refusal
    with pytest.raises(kind, match=says) as caught:
        login()
    assert type(caught.value) is kind
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_token_endpoint_that_is_away_is_unavailable(pem: str, nobody: dict[str, str], tmp_path: Path) -> None:
    with GoogleStub() as stub:
        key = write(tmp_path / "key.json", service_account(stub, pem))
    with pytest.raises(StoreUnavailableError, match="cannot be reached"):
        found({**nobody, "GOOGLE_APPLICATION_CREDENTIALS": str(key)})()


# -- replaced files


def test_swapped_symbolic_link_is_followed(stub: GoogleStub, nobody: dict[str, str], tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"..{number}").mkdir()
        write(tmp_path / f"..{number}" / "key.json", user(f"refresh-{number}"))
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "key.json").symlink_to("..data/key.json")
    tokens = found({**nobody, "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "key.json")})
    assert [tokens().value, tokens().value] == ["token-1", "token-1"]
    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").rename(tmp_path / "..data")  # as Kubernetes does
    assert tokens().value == "token-2"
    assert [asked.form["refresh_token"] for asked in stub.asked] == ["refresh-1", "refresh-2"]


def test_replaced_file_that_is_no_good_leaves_the_token_of_before(
    login: Tokens, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key, tokens = tmp_path / "key.json", login
    assert tokens().value == "token-1"
    write(key, "half of hunter2")
    with caplog.at_level(logging.DEBUG):
        assert tokens().value == "token-1"
    assert "is not a JSON file" in caplog.text
    assert "hunter2" not in caplog.text
    write(key, user("another"))
    assert tokens().value == "token-2"


def test_file_that_is_half_written_when_the_token_ends_is_worth_another_try(
    login: Tokens, stub: GoogleStub, tmp_path: Path
) -> None:
    stub.lifetime_s = 0
    assert login().value == "token-1"
    write(tmp_path / "key.json", '{"type": "authori')
    with pytest.raises(AccessRefusedError, match="is not a JSON file"):
        login()
    write(tmp_path / "key.json", user("another"))
    assert login().value == "token-2"


# -- the order


def test_order_is_own_file_then_gclouds_then_the_machines_then_anonymous(
    stub: GoogleStub, nobody: dict[str, str], tmp_path: Path
) -> None:
    own = write(tmp_path / "own.json", user("own"))
    gcloud = tmp_path / ".config" / "gcloud"
    gcloud.mkdir(parents=True)
    write(gcloud / "application_default_credentials.json", user("gcloud"))
    environment = {"HOME": str(tmp_path), "GCE_METADATA_HOST": stub.host, "GOOGLE_APPLICATION_CREDENTIALS": str(own)}
    found(environment)()
    assert stub.asked[-1].form["refresh_token"] == "own"
    del environment["GOOGLE_APPLICATION_CREDENTIALS"]
    found(environment)()
    assert stub.asked[-1].form["refresh_token"] == "gcloud"
    environment["CLOUDSDK_CONFIG"] = str(tmp_path / "elsewhere")
    found(environment)()
    assert stub.asked[-1].path == METADATA_PATH
    assert stub.asked[-1].headers["Metadata-Flavor"] == "Google"
    environment["NO_GCE_CHECK"] = "true"
    assert find_gcs(environment) is None
    assert find_gcs(nobody | {"HOME": "/nonexistent"}) is None


def test_tritons_credential_file_wins_and_hides_the_environments(
    stub: GoogleStub, nobody: dict[str, str], tmp_path: Path
) -> None:
    own = write(tmp_path / "own.json", user("own"))
    paths = [str(write(tmp_path / "triton.json", user("triton")))]
    environment = {**nobody, "GOOGLE_APPLICATION_CREDENTIALS": str(own)}
    tokens = find_gcs(environment, lambda: paths[0])
    assert tokens is not None
    tokens()
    assert stub.asked[-1].form["refresh_token"] == "triton"
    paths[0] = str(write(tmp_path / "two.json", user("two")))
    tokens()
    assert stub.asked[-1].form["refresh_token"] == "two"
    assert find_gcs(environment, lambda: "") is None


def test_emulator_is_anonymous_unless_the_endpoint_was_named(nobody: dict[str, str], tmp_path: Path) -> None:
    own = write(tmp_path / "own.json", user("hunter2"))
    environment = {
        **nobody,
        "GOOGLE_APPLICATION_CREDENTIALS": str(own),
        "STORAGE_EMULATOR_HOST": "localhost:4443",
    }
    assert find_gcs(environment) is None
    assert find_gcs(environment, endpoint_url="https://storage.example.org") is not None


# -- where, and who pays


@pytest.mark.parametrize(
    ("environment", "endpoint"),
    [
        ({}, "https://storage.googleapis.com"),
        ({"STORAGE_EMULATOR_HOST": "localhost:4443"}, "http://localhost:4443"),
        ({"STORAGE_EMULATOR_HOST": "http://localhost:4443/"}, "http://localhost:4443"),
        ({"STORAGE_EMULATOR_HOST": "https://[::1]:4443"}, "https://[::1]:4443"),
        ({"GOOGLE_CLOUD_UNIVERSE_DOMAIN": "example.org"}, "https://storage.example.org"),
    ],
)
def test_endpoint_is_googles_or_the_emulators(environment: dict[str, str], endpoint: str) -> None:
    assert find_gcs_endpoint(environment) == endpoint


@pytest.mark.parametrize(
    "environment",
    [
        {"STORAGE_EMULATOR_HOST": "ftp://localhost"},
        {"STORAGE_EMULATOR_HOST": "http://user:hunter2@localhost"},
        {"GOOGLE_CLOUD_UNIVERSE_DOMAIN": "example.org/hunter2"},
    ],
)
def test_address_that_is_none_is_a_usage_error(environment: dict[str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        find_gcs_endpoint(environment)
    assert "hunter2" not in str(caught.value)


def test_project_that_pays_is_checked() -> None:
    assert find_billing_project({}) is None
    assert find_billing_project({"GOOGLE_CLOUD_QUOTA_PROJECT": " payer-1\n"}) == "payer-1"
    with pytest.raises(UsageError):
        find_billing_project({"GOOGLE_CLOUD_QUOTA_PROJECT": "a\nb"})


def test_google_auth_is_imported_only_for_a_file() -> None:
    code = (
        "import sys; from modelfs.credentials_gcs import find_gcs; import modelfs.store_gcs\n"
        "find_gcs({'HOME': '/nonexistent', 'GCE_METADATA_HOST': '127.0.0.1:1'})\n"
        "sys.exit(any(name.startswith('google.') for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
