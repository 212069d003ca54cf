"""Azure where it is unlike other stores: folders, who may come in, the process's environment, secrets."""

import gzip
import logging
import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest
import urllib3.exceptions
from stores.azure_venues import AzuriteVenue
from stores.azurite import ACCOUNT, KEY, Azurite, account_sas, container_sas
from stores.canned import Canned, canned
from stores.venues import engine_of_now, open_url

from modelfs.azure_signing import AzureBearer, AzureCredential, AzureKey, AzureSas
from modelfs.blocks import ObjectInfo
from modelfs.credentials_azure import AzureAccess
from modelfs.credentials_sas import SasFile
from modelfs.engines import Engine, azure_reader
from modelfs.errors import AccessRefusedError, ModelfsError, ObjectNotFoundError
from modelfs.location import parse
from modelfs.store import Store, Telling
from modelfs.store_azure import AzureStore

WRONG_KEY = "d3Jvbmc="
INFO = ObjectInfo("m/x", 7, '"e"', 0)


@pytest.fixture
def azure(azurite_server: Azurite) -> AzuriteVenue:
    return AzuriteVenue(azurite_server, "key")


def open_with(azure: AzuriteVenue, credential: Callable[[], AzureCredential] | None) -> Store:
    return AzureStore(
        parse(f"as://{azure.server.place}/{azure.container}/repo"),
        open_reader=azure_reader(engine_of_now.get()),
        access=AzureAccess(azure.server.service_url, ACCOUNT, credential, "a test"),
        connect_timeout_s=1,
        stall_timeout_s=10,
        max_connections=2,
    )


def both(store: Store) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return both kinds of request."""
    return lambda: store.list_page(None), lambda: store.read(INFO, 0, 7)


def test_hadoop_folder_is_a_marker_and_no_file(azure: AzuriteVenue) -> None:
    azure.server.put(azure.container, "repo/e/1", b"", {"hdi_isfolder": "true"})
    azure.server.put(azure.container, "repo/e/other", b"", {"color": "blue"})
    assert {info.key for info in azure.store.list_page(None).objects} == {"e/1/", "e/other"}


def test_backslash_is_a_slash_to_azure(azure: AzuriteVenue) -> None:
    azure.put("a\\b", b"x")
    assert [info.key for info in azure.store.list_page(None).objects] == ["a/b"]


@pytest.mark.usefixtures("each_engine")
def test_compressed_blob_is_read_as_it_is_stored(azure: AzuriteVenue) -> None:
    data = gzip.compress(b"content" * 100)
    azure.server.put(azure.container, "repo/m/x", data, headers={"x-ms-blob-content-encoding": "gzip"})
    (info,) = azure.store.list_page(None).objects
    assert info.size == len(data)
    assert bytes(azure.store.read(info, 0, len(data))) == data
    assert bytes(azure.store.read(info, 3, 5)) == data[3:8]


def test_public_container_is_read_without_credentials(each_engine: Engine, azurite_server: Azurite) -> None:
    azurite_server.create_container(name := f"public-{each_engine}", public=True)
    azurite_server.put(name, "repo/m/x", b"content")
    store = open_url(f"as://{azurite_server.place}/{name}/repo", environment={})
    (info,) = store.list_page(None).objects
    assert bytes(store.read(info, 0, 7)) == b"content"


def test_private_container_without_credentials_says_what_to_set(azure: AzuriteVenue) -> None:
    azure.put("m/x", b"content")
    with pytest.raises((AccessRefusedError, ObjectNotFoundError), match="AZURE_STORAGE_KEY"):
        open_with(azure, None).list_page(None)


@pytest.mark.parametrize(
    ("sas", "says"),
    [
        (account_sas("rl", ends="2024-01-01T00:00:00Z"), "the SAS expired at 2024-01-01T00:00:00Z"),
        (account_sas("r"), "does not permit to read and to list"),
        (account_sas("rl", types="o"), "not for containers and objects"),
    ],
)
def test_refused_sas_says_why_as_far_as_it_can_be_told(azure: AzuriteVenue, sas: str, says: str) -> None:
    store = open_url(f"as://{azure.server.place}/{azure.container}/repo?{sas}", environment={})
    with pytest.raises(AccessRefusedError, match=says):
        store.list_page(None)


@pytest.mark.usefixtures("each_engine")
def test_sas_is_taken_as_people_paste_it(azure: AzuriteVenue) -> None:
    azure.put("m/x", b"content")
    sas = container_sas(azure.container)
    for text in (f"?{sas}", f"'?{sas}'", f'"{sas}"', unquote(sas)):
        url = f"as://{azure.server.place}/{azure.container}/repo"
        for store in (
            open_url(f"{url}?{text}", environment={}),
            open_url(url, environment={"AZURE_STORAGE_SAS_TOKEN": f"{text}\n"}),
        ):
            (info,) = store.list_page(None).objects
            assert bytes(store.read(info, 0, 7)) == b"content"


@pytest.mark.usefixtures("each_engine")
def test_rotated_credential_is_used_by_the_next_request(azure: AzuriteVenue) -> None:
    azure.put("m/x", b"content")
    right: list[AzureCredential] = [AzureKey(ACCOUNT, KEY)]
    sas = AzureSas.of(account_sas())
    assert sas is not None
    now: list[AzureCredential] = right
    store = open_with(azure, lambda: now[0])
    (info,) = azure.store.list_page(None).objects
    for call in (lambda: store.list_page(None), lambda: store.read(info, 0, 7)):
        for credential in (AzureKey(ACCOUNT, KEY), sas):
            now = [AzureKey(ACCOUNT, WRONG_KEY)]
            with pytest.raises(AccessRefusedError):
                call()
            now = [credential]
            call()


@pytest.mark.usefixtures("each_engine")
def test_bearer_token_is_sent_by_listings_and_reads() -> None:
    for status, says in ((401, "InvalidAuthenticationInfo"), (403, "AuthorizationPermissionMismatch")):
        with canned(Canned(status, f"<Error><Code>{says}</Code></Error>")) as url:
            store = AzureStore(
                parse("as://acct/c"),
                open_reader=azure_reader(engine_of_now.get()),
                access=AzureAccess(url, "acct", lambda: AzureBearer("hunter2", 2e9), "a test"),
                connect_timeout_s=1,
                stall_timeout_s=5,
                max_connections=2,
            )
            for call in both(store):
                with pytest.raises(AccessRefusedError, match=says) as caught:
                    call()
                assert "hunter2" not in str(caught.value)


@pytest.mark.usefixtures("each_engine")
def test_process_environment_does_not_disturb_a_store(azure: AzuriteVenue, monkeypatch: pytest.MonkeyPatch) -> None:
    azure.put("m/x", b"content")
    nowhere = "http://127.0.0.1:1"
    for name, value in {
        "AZURE_STORAGE_ACCOUNT_NAME": "wrong",
        "AZURE_STORAGE_ACCOUNT_KEY": WRONG_KEY,
        "AZURE_STORAGE_ACCESS_KEY": WRONG_KEY,
        "AZURE_STORAGE_SAS_KEY": "sig=wrong",
        "AZURE_STORAGE_SAS_TOKEN": "sig=wrong",
        "AZURE_STORAGE_TOKEN": "wrong",
        "AZURE_STORAGE_ENDPOINT": nowhere,
        "AZURE_ENDPOINT": nowhere,
        "AZURE_STORAGE_USE_EMULATOR": "true",
        "AZURE_USE_AZURE_CLI": "true",
        "AZURE_USE_FABRIC_ENDPOINT": "true",
        "AZURE_CREDENTIAL_TYPE": "azure_cli",
        "AZURE_SKIP_SIGNATURE": "true",
        "AZURE_CONTAINER_NAME": "wrong",
        "AZURE_CLIENT_ID": "wrong",
        "AZURE_CLIENT_SECRET": "wrong",
        "AZURE_TENANT_ID": "wrong",
        "HTTP_PROXY": nowhere,
        "http_proxy": nowhere,
        "ALL_PROXY": nowhere,
        "SSL_CERT_FILE": "/absent",
    }.items():
        monkeypatch.setenv(name, value)
    (info,) = azure.store.list_page(None).objects
    store = open_with(azure, lambda: AzureKey(ACCOUNT, KEY))
    assert store.list_page(None).objects == [info]
    assert bytes(store.read(info, 0, 7)) == b"content"


def test_end_that_is_told_is_that_of_the_sas_of_now(azure: AzuriteVenue, tmp_path: Path) -> None:
    file = tmp_path / "sas"
    file.touch(mode=0o600)
    file.write_text(account_sas(ends="2030-01-01T00:00:00Z"))
    store = open_with(azure, SasFile(file))
    assert isinstance(store, Telling)
    assert store.facts().expires_at_s == 1893456000
    assert not store.facts().renews
    file.write_text(account_sas(ends="2031-01-01T00:00:00Z"))
    os.utime(file, (1, 1))  # so that the stamp differs also where the clock is coarse
    assert store.facts().expires_at_s == 1924992000


def test_end_of_a_token_is_told_and_that_it_is_renewed(azure: AzuriteVenue) -> None:
    store = open_with(azure, lambda: AzureBearer("hunter2", 2e9))
    assert isinstance(store, Telling)
    assert (store.facts().expires_at_s, store.facts().renews) == (2e9, True)


# -- secrets


@pytest.mark.usefixtures("each_engine")
def test_sas_is_in_no_message_cause_or_log(
    azure: AzuriteVenue, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.root, "level", logging.DEBUG)
    caplog.set_level(logging.DEBUG)
    sas = account_sas("rl", ends="2024-01-01T00:00:00Z")
    signature = sas.rpartition("sig=")[2]
    stores = [
        open_url(f"as://{azure.server.place}/{azure.container}/repo?{sas}", environment={}),
        open_url(f"as://127.0.0.1:1/acct/c?{sas}", environment={}),
        open_url("as://127.0.0.1:1/acct/c", environment={"AZURE_STORAGE_SAS_TOKEN": sas}),
    ]
    with canned(Canned(200, "no listing")) as url:
        stores.append(open_url(f"as://{url}/acct/c?{sas}", environment={}))
        for call in (call for store in stores for call in both(store)):
            with pytest.raises(ModelfsError) as caught:
                call()
            error: BaseException | None = caught.value
            while error is not None:
                assert not isinstance(error, urllib3.exceptions.HTTPError)  # some of them quote the URL
                assert "sig=" not in str(error)
                assert signature not in str(error)
                error = error.__cause__
    for text in (caplog.text, *map(repr, stores)):
        assert signature not in text
        assert unquote(signature) not in text
