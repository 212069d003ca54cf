"""Which credential of Azure wins, and for which account."""

import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from modelfs.azure_signing import AzureKey, AzureSas
from modelfs.credentials_azure import AzureAccess, find_azure
from modelfs.credentials_triton import VARIABLE, find_file
from modelfs.errors import UsageError
from modelfs.location import parse

KEY = "aHVudGVyMg=="
OTHER_KEY = "b3RoZXI="
SAS = "sv=2024-11-04&sp=rl&sig=hunter2"
CONNECTION = f"DefaultEndpointsProtocol=https;AccountName=acct;AccountKey={KEY};EndpointSuffix=core.windows.net"
PRINCIPAL = {"AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c", "AZURE_CLIENT_SECRET": "hunter2"}
WORKLOAD = {"AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c", "AZURE_FEDERATED_TOKEN_FILE": "/token"}
URL = "as://acct/container/path"


def find(url: str = URL, **environment: str) -> AzureAccess:
    return find_azure(parse(url), {"HOME": "/absent", **environment})


def test_the_first_of_all_sources_wins() -> None:
    sources: list[tuple[str, Mapping[str, str]]] = [
        ("managed identity", {"AZURE_STORAGE_AUTH_TYPE": "managed_identity"}),
        ("AZURE_STORAGE_KEY", {"AZURE_STORAGE_KEY": KEY}),
        ("AZURE_STORAGE_SAS_TOKEN", {"AZURE_STORAGE_SAS_TOKEN": SAS}),
        ("AZURE_STORAGE_CONNECTION_STRING", {"AZURE_STORAGE_CONNECTION_STRING": CONNECTION}),
        ("service principal", PRINCIPAL),
        ("workload identity", WORKLOAD),
        ("nobody", {}),
    ]
    environment: dict[str, str] = {}
    for kind, variables in reversed(sources):
        environment = {**environment, **variables}
        assert find(**environment).kind == kind
    assert find(f"{URL}?{SAS}", **environment).kind == "the SAS of the URL"


@pytest.mark.parametrize(
    ("auth_type", "kind"),
    [
        ("managed_identity", "managed identity"),
        ("default", "Azure's default chain"),
        ("key", "AZURE_STORAGE_KEY"),
        ("anonymous", "nobody"),
        ("", "AZURE_STORAGE_KEY"),
    ],
)
def test_auth_type_decides_as_in_triton(auth_type: str, kind: str) -> None:
    assert find(AZURE_STORAGE_AUTH_TYPE=auth_type, AZURE_STORAGE_KEY=KEY).kind == kind


def test_nothing_at_all_is_anonymous() -> None:
    access = find()
    assert access.source is None
    assert access.service_url == "https://acct.blob.core.windows.net"


def test_login_of_the_cli_is_used_only_where_there_is_one(tmp_path: Path) -> None:
    program = tmp_path / "az"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert find(HOME=str(tmp_path), PATH=str(tmp_path)).kind == "nobody"
    (tmp_path / ".azure").mkdir()
    (tmp_path / ".azure/azureProfile.json").write_text("{}")
    assert find(HOME=str(tmp_path), PATH=str(tmp_path)).kind == "Azure CLI"
    assert find(AZURE_CONFIG_DIR=str(tmp_path / ".azure"), PATH=str(tmp_path)).kind == "Azure CLI"
    assert find(HOME=str(tmp_path), PATH="/absent").kind == "nobody"


@pytest.mark.parametrize(
    ("url", "service"),
    [
        (URL, "https://other.blob.core.windows.net"),
        ("as://acct.blob.core.windows.net/c", "https://other.blob.core.windows.net"),
        ("as://acct.blob.core.chinacloudapi.cn/c", "https://other.blob.core.chinacloudapi.cn"),
        ("as://127.0.0.1:10000/acct/c", "http://127.0.0.1:10000/other"),
        ("as://models.contoso.com/c", "https://models.contoso.com"),
    ],
)
def test_account_of_the_environment_replaces_the_urls_as_in_triton(
    url: str, service: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        access = find(url, AZURE_STORAGE_ACCOUNT="other", AZURE_STORAGE_KEY=KEY)
    assert access.service_url == service
    assert access.source is not None
    assert access.source() == AzureKey("other", KEY)
    assert ("account=other" in caplog.text) == ("contoso" not in url)


def test_account_of_the_environment_that_is_the_urls_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    assert find(AZURE_STORAGE_ACCOUNT="acct", AZURE_STORAGE_KEY=KEY).account == "acct"
    assert not caplog.text


def test_sas_of_the_url_belongs_to_the_urls_account() -> None:
    access = find(f"{URL}?{SAS}", AZURE_STORAGE_ACCOUNT="other", AZURE_STORAGE_KEY=KEY)
    assert access.service_url == "https://acct.blob.core.windows.net"
    assert access.source is not None
    assert access.source() == AzureSas.of(SAS)


@pytest.mark.parametrize(
    ("connection", "service"),
    [
        (CONNECTION, "https://acct.blob.core.windows.net"),
        (f'"{CONNECTION};"', "https://acct.blob.core.windows.net"),
        (CONNECTION.replace("windows.net", "chinacloudapi.cn"), "https://acct.blob.core.chinacloudapi.cn"),
        (CONNECTION + ";BlobEndpoint=http://127.0.0.1:9/acct/", "http://127.0.0.1:9/acct"),
        (f"BlobEndpoint=https://models.contoso.com;SharedAccessSignature=?{SAS}", "https://models.contoso.com"),
        ("UseDevelopmentStorage=true", "http://127.0.0.1:10000/devstoreaccount1"),
    ],
)
def test_connection_string_tells_where_the_blobs_are(connection: str, service: str) -> None:
    access = find(AZURE_STORAGE_CONNECTION_STRING=connection)
    assert access.service_url == service
    assert access.source is not None


def test_host_of_the_url_wins_over_the_environments() -> None:
    access = find("as://acct.blob.core.windows.net/c", AZURE_STORAGE_BLOB_ENDPOINT="http://127.0.0.1:1/acct")
    assert access.service_url == "https://acct.blob.core.windows.net"
    assert find(AZURE_STORAGE_BLOB_ENDPOINT="http://127.0.0.1:1/acct/").service_url == "http://127.0.0.1:1/acct"


def test_setting_wins_over_the_environments_endpoint_and_credentials() -> None:
    environment = {"AZURE_STORAGE_CONNECTION_STRING": CONNECTION, "AZURE_STORAGE_BLOB_ENDPOINT": "https://one"}
    access = find_azure(parse(URL), environment, endpoint_url="https://two/")
    assert (access.service_url, access.kind) == ("https://two", "AZURE_STORAGE_CONNECTION_STRING")
    assert find_azure(parse(URL), environment, is_anonymous=True).source is None
    assert find_azure(parse(f"{URL}?{SAS}"), environment, is_anonymous=True).source is not None


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"AZURE_STORAGE_AUTH_TYPE": "hunter2"}, "AZURE_STORAGE_AUTH_TYPE is none of"),
        ({"AZURE_STORAGE_AUTH_TYPE": "key"}, "AZURE_STORAGE_KEY is not set"),
        ({"AZURE_STORAGE_KEY": "hunter2!"}, "not the Base64 text"),
        ({"AZURE_STORAGE_SAS_TOKEN": "hunter2"}, "AZURE_STORAGE_SAS_TOKEN is no SAS token"),
        ({"AZURE_STORAGE_CONNECTION_STRING": "hunter2"}, "not NAME=VALUE"),
        ({"AZURE_STORAGE_CONNECTION_STRING": "AccountName=hunter2"}, "neither AccountKey nor"),
        ({"AZURE_STORAGE_CONNECTION_STRING": f"AccountKey={KEY}"}, "no account"),
        ({"AZURE_CLIENT_SECRET": "hunter2"}, "AZURE_TENANT_ID and AZURE_CLIENT_ID"),
        ({"AZURE_STORAGE_BLOB_ENDPOINT": "http://azurite:1", **PRINCIPAL}, "unencrypted"),
        ({"AZURE_STORAGE_BLOB_ENDPOINT": "https://me:hunter2@host"}, "no address"),
    ],
)
def test_wrong_variable_is_one_sentence_without_a_secret(environment: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        find(**environment)
    assert "hunter2" not in str(caught.value)
    assert KEY not in str(caught.value)


def test_sas_of_the_url_that_is_none_is_refused_without_being_shown() -> None:
    with pytest.raises(UsageError, match="quote it where a shell reads it") as caught:
        find(f"{URL}?hunter2")
    assert "hunter2" not in str(caught.value)


def test_end_of_a_sas_is_told(caplog: pytest.LogCaptureFixture) -> None:
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    with caplog.at_level(logging.INFO):
        find(f"{URL}?{SAS}&se=2024-05-01")
        find(f"{URL}?{SAS}&se={soon}")
        find(f"{URL}?{SAS}&se=2999-01-01")
        find(f"{URL}?{SAS}")
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING", "INFO"]
    assert "expires=2024-05-01T00:00:00Z" in caplog.text
    assert "hunter2" not in caplog.text


def test_tritons_file_stands_for_all_credentials_and_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "cloud.json"

    def write(key: str) -> None:
        new = tmp_path / "new"
        new.write_text(json.dumps({"as": {"": {"account_str": "other", "account_key": key}, "as://acct/c2": {}}}))
        new.chmod(0o600)
        new.rename(path)

    write(KEY)
    environment = {VARIABLE: str(path), "AZURE_STORAGE_ACCOUNT": "wrong", "AZURE_STORAGE_SAS_TOKEN": SAS, **PRINCIPAL}
    location = parse(URL)
    access = find_azure(location, environment, find_file(location, environment))
    assert access.source is not None
    assert access.source() == AzureKey("other", KEY)
    assert access.kind == f"{VARIABLE}={path}, entry '' (AZURE_STORAGE_KEY)"
    write(OTHER_KEY)
    assert access.source() == AzureKey("other", OTHER_KEY)
    elsewhere = parse("as://acct/c2")
    nobody = find_azure(elsewhere, environment, find_file(elsewhere, environment))
    assert (nobody.source, nobody.kind) == (None, "nobody")
    with_sas = parse(f"{URL}?{SAS}")
    assert find_azure(with_sas, environment, find_file(with_sas, environment)).kind == "the SAS of the URL"


def test_nothing_shows_a_secret() -> None:
    for environment in ({"AZURE_STORAGE_KEY": KEY}, {"AZURE_STORAGE_SAS_TOKEN": SAS}, PRINCIPAL):
        access = find(**environment)
        assert "hunter2" not in repr(access)
        assert KEY not in repr(access)
