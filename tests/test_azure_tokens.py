"""Tokens of Microsoft Entra ID, from a stub of its endpoints on loopback.

Its real endpoints need an account; azure-identity's own requests are real here, to the last header.
"""

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from entra_stub import Entra, entra, make_certificate

from modelfs.azure_signing import AzureBearer
from modelfs.azure_tokens import Tokens
from modelfs.credentials_azure import find_azure
from modelfs.errors import AccessRefusedError, StoreUnavailableError
from modelfs.location import parse

TENANT = "11111111-2222-3333-4444-555555555555"
CLIENT = "66666666-7777-8888-9999-000000000000"
URL = "as://acct/container"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(autouse=True)
def _no_cloud(monkeypatch: pytest.MonkeyPatch, certificate: Path) -> None:
    """Keep azure-identity, which reads the process's environment, from a person's login and from any cloud."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in [name for name in os.environ if name.startswith(("AZURE_", "IDENTITY_", "IMDS_", "MSI_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))


@pytest.fixture
def stub(certificate: Path) -> Iterator[Entra]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with entra(context) as found:
        yield found


def ask(**environment: str) -> Callable[[], object]:
    access = find_azure(parse(URL), {"HOME": "/absent", **environment})
    assert access.source is not None
    return access.source


def principal(stub: Entra, **more: str) -> dict[str, str]:
    return {
        "AZURE_TENANT_ID": TENANT,
        "AZURE_CLIENT_ID": CLIENT,
        "AZURE_CLIENT_SECRET": "hunter2",
        "AZURE_AUTHORITY_HOST": stub.url,
        **more,
    }


def test_service_principal_exchanges_its_secret_for_a_token(stub: Entra) -> None:
    token = ask(**principal(stub))()
    assert isinstance(token, AzureBearer)
    assert token.token == "token-1"
    (asked,) = stub.asked
    assert (asked["client_id"], asked["client_secret"]) == (CLIENT, "hunter2")
    assert asked["scope"] == "https://storage.azure.com/.default"


def test_service_principal_may_have_a_certificate(stub: Entra, certificate: Path) -> None:
    environment = principal(stub, AZURE_CLIENT_SECRET="", AZURE_CLIENT_CERTIFICATE_PATH=str(certificate))
    token = ask(**environment)()
    assert isinstance(token, AzureBearer)
    assert stub.asked[0]["client_assertion"]


def test_workload_identity_exchanges_the_pods_token(stub: Entra, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("a pod's token")
    environment = principal(stub, AZURE_CLIENT_SECRET="", AZURE_FEDERATED_TOKEN_FILE=str(file))
    assert isinstance(ask(**environment)(), AzureBearer)
    assert stub.asked[0]["client_assertion"] == "a pod's token"


def test_managed_identity_asks_the_machines_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    with entra() as metadata:
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", metadata.url)
        token = ask(AZURE_STORAGE_AUTH_TYPE="managed_identity", AZURE_STORAGE_CLIENT_ID=CLIENT)()
    assert isinstance(token, AzureBearer)
    assert metadata.asked[-1]["client_id"] == CLIENT
    assert metadata.asked[-1]["resource"] == "https://storage.azure.com"


def test_default_chain_finds_a_service_principal(stub: Entra, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in principal(stub, AZURE_STORAGE_AUTH_TYPE="default").items():
        monkeypatch.setenv(name, value)
    assert isinstance(ask(**principal(stub, AZURE_STORAGE_AUTH_TYPE="default"))(), AzureBearer)


def test_cli_is_asked_for_the_token_of_who_is_logged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".azure").mkdir()
    (tmp_path / ".azure/azureProfile.json").write_text("{}")
    program = tmp_path / "az"
    answer = json.dumps({"accessToken": "token-of-az", "expires_on": 4102444800, "expiresOn": "2100-01-01 00:00:00"})
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{answer}\nEND\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert ask(HOME=str(tmp_path), PATH=str(tmp_path))() == AzureBearer("token-of-az", 4102444800.0)


# -- in the long run


class Clock:
    """Tells the time that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeCredential:
    """Gives tokens that last an hour, or raises."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.error: Exception | None = None
        self.given = 0

    def get_token(self, _scope: str) -> "FakeCredential":
        if self.error is not None:
            raise self.error
        self.given += 1
        self.token, self.expires_on = f"token-{self.given}", int(self._clock.now) + 3600
        return self


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def credential(clock: Clock) -> FakeCredential:
    return FakeCredential(clock)


@pytest.fixture
def tokens(credential: FakeCredential, clock: Clock) -> Tokens:
    return Tokens(lambda: credential, "the test", "do something", clock=clock)


def test_token_is_used_until_five_minutes_before_its_end(tokens: Tokens, clock: Clock) -> None:
    assert tokens().token == "token-1"
    clock.now += 3299
    assert tokens().token == "token-1"
    clock.now += 1
    assert tokens().token == "token-2"


def test_token_that_cannot_be_renewed_is_used_to_its_end(
    tokens: Tokens, clock: Clock, credential: FakeCredential
) -> None:
    tokens()
    credential.error = OSError("hunter2")
    clock.now += 3400
    assert tokens().token == "token-1"
    clock.now += 200
    with pytest.raises(AccessRefusedError, match="the test cannot be used; do something") as caught:
        tokens()
    assert "hunter2" not in str(caught.value)
    credential.error = None
    assert tokens().token == "token-2"


def test_refusal_tells_its_number_and_no_more(stub: Entra) -> None:
    stub.error = "AADSTS7000215"
    with pytest.raises(AccessRefusedError, match=r"service principal gives no token \(AADSTS7000215\)") as caught:
        ask(**principal(stub))()
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_endpoint_that_does_not_answer_is_worth_a_retry(stub: Entra) -> None:
    with pytest.raises(StoreUnavailableError, match="cannot be reached"):
        ask(**principal(stub, AZURE_AUTHORITY_HOST="https://127.0.0.1:1"))()


def test_azure_identity_is_not_imported_for_a_key() -> None:
    program = (
        "import sys; from modelfs.engines import open_store; from modelfs.location import parse;"
        "open_store(parse('as://acct/c'), region=None, connect_timeout_s=1, stall_timeout_s=1, max_connections=1,"
        " environment={'AZURE_STORAGE_KEY': 'aHVudGVyMg=='}); print('azure' in sys.modules, 'botocore' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
