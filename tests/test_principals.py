"""Who credentials are of: what tells those who may share what a disk keeps. It must not change with each session."""

import base64
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from modelfs.azure_signing import AzureBearer, AzureKey, AzureSas, principal_of
from modelfs.credentials import Chain, S3Keys
from modelfs.credentials import principal_of as s3_principal_of
from modelfs.google_files import KeyFile

# keys


def session_of(refresh: object, method: str, key_id: str = "ASIA1") -> Chain:
    frozen = SimpleNamespace(access_key=key_id, secret_key="s", token="t")
    found = SimpleNamespace(
        get_frozen_credentials=lambda: frozen, refresh_needed=None, method=method, _refresh_using=refresh
    )
    return Chain(lambda: found)


class Fetcher:
    """What botocore refreshes by: a bound method, whose object knows the role."""

    def __init__(self, **facts: str) -> None:
        self.__dict__.update(facts)

    def refresh(self) -> dict[str, Any]:
        return {"role_name": "gpu", "account_id": "1"}


def test_static_keys_are_their_own_principal() -> None:
    one, two = S3Keys("A", "s"), S3Keys("A", "t")
    assert s3_principal_of(lambda: one) == s3_principal_of(lambda: S3Keys("A", "s"))
    assert s3_principal_of(lambda: one) != s3_principal_of(lambda: two)


@pytest.mark.parametrize(
    ("fetcher", "method"),
    [
        (Fetcher(_role_arn="arn:aws:iam::1:role/r"), "assume-role-with-web-identity"),
        (Fetcher(_role_name="r", _account_id="1"), "sso"),
        (Fetcher(), "iam-role"),
    ],
)
def test_a_role_is_the_same_with_the_keys_of_each_session(fetcher: Fetcher, method: str) -> None:
    found = s3_principal_of(session_of(fetcher.refresh, method, "ASIA1"))
    assert found == s3_principal_of(session_of(fetcher.refresh, method, "ASIA2"))
    assert "ASIA" not in found


def test_another_role_is_another_principal() -> None:
    one, two = (session_of(Fetcher(_role_arn=arn).refresh, "assume-role") for arn in ("arn:1", "arn:2"))
    assert s3_principal_of(one) != s3_principal_of(two)


def test_a_session_whose_role_nobody_tells_is_its_keys() -> None:
    one, two = (session_of(dict, "container-role", key_id) for key_id in ("ASIA1", "ASIA2"))
    assert s3_principal_of(one) != s3_principal_of(two)


def test_what_botocore_refreshes_by_knows_the_role() -> None:
    """The names are botocore's own, behind an underscore: where they change, this tells."""
    from botocore.credentials import AssumeRoleWithWebIdentityCredentialFetcher  # noqa: PLC0415

    fetcher = AssumeRoleWithWebIdentityCredentialFetcher(
        client_creator=lambda *_, **__: None, web_identity_token_loader=lambda: "t", role_arn="arn:aws:iam::1:role/r"
    )
    chain = session_of(fetcher.fetch_credentials, "assume-role-with-web-identity")
    assert s3_principal_of(chain) == "role arn:aws:iam::1:role/r"


# Google


FEDERATED = {
    "type": "external_account",
    "audience": "a",
    "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
    "token_url": "https://sts.googleapis.com/v1/token",
    "credential_source": {"file": "/nowhere"},
}
IMPERSONATED = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/a@p.iam.gserviceaccount.com:generateAccessToken"


def key_file(path: Path, content: dict[str, Any]) -> KeyFile:
    path.write_text(json.dumps(content))
    path.chmod(0o600)
    return KeyFile(lambda: path, "FILE", {})


def test_a_login_is_its_own_principal(tmp_path: Path) -> None:
    login = {"type": "authorized_user", "client_id": "c", "client_secret": "s"}
    one, two = (key_file(tmp_path / name, login | {"refresh_token": name}).principal() for name in ("one", "two"))
    assert one
    assert two
    assert one != two


def test_a_federated_identity_is_the_account_that_it_stands_for_or_cannot_be_told(tmp_path: Path) -> None:
    assert key_file(tmp_path / "one", FEDERATED).principal() is None
    account = FEDERATED | {"service_account_impersonation_url": IMPERSONATED}
    assert key_file(tmp_path / "two", account).principal() == IMPERSONATED


# Azure


def token(**claims: str) -> AzureBearer:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return AzureBearer(f"h.{payload}.s", 0.0)


def test_an_identity_is_the_same_with_each_token() -> None:
    assert principal_of(token(tid="t", oid="o", iat="1")) == principal_of(token(tid="t", oid="o", iat="2"))
    assert principal_of(token(tid="t", oid="o")) != principal_of(token(tid="t", oid="p"))


def test_what_is_no_token_of_entra_cannot_be_told() -> None:
    assert principal_of(AzureBearer("opaque", 0.0)) is None
    assert principal_of(token(tid="t")) is None


def test_a_key_and_a_sas_are_their_own_principals() -> None:
    assert principal_of(AzureKey("a", "aw==")) != principal_of(AzureSas("sig=aw", None))
