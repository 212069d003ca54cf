"""``write_small``: one object put into each kind of store, and how each refuses it."""

import os
from pathlib import Path

import pytest
from faultserver import Fault, FaultServer, Status
from stores.azure_venues import AzuriteVenue
from stores.azurite import ACCOUNT, Azurite, account_sas, container_sas
from stores.venues import ENVIRONMENT, FaultVenue, LocalVenue, Venue, open_url

from modelfs.errors import AccessRefusedError, ModelfsError, ObjectNotFoundError, StoreUnavailableError
from modelfs.store import Store, Writable
from modelfs.store_unpinned import UnpinnedStore

KEY = "m/1/.modelfs-seal.json"
ODD = "mö del/1/a+b&c=d,e'~.json"


def write(store: Store, key: str, data: bytes) -> None:
    assert isinstance(store, Writable)
    store.write_small(key, data)


def content(store: Store, key: str) -> bytes:
    (info,) = (each for each in store.list_page(None).objects if each.key == key)
    return bytes(store.read(info, 0, info.size))


@pytest.mark.parametrize("key", [KEY, ODD])
def test_what_is_written_is_listed_and_read(place: Venue, key: str) -> None:
    if isinstance(place.store, UnpinnedStore):
        assert not isinstance(place.store, Writable)
        return
    if "SAS" in str(getattr(place, "_kind", "")):  # the suite's may read and list
        with pytest.raises(AccessRefusedError):
            write(place.store, key, b"data")
        return
    place.put(f"{key.rpartition('/')[0]}/model.onnx", b"weights")
    for data in (b'{"format": 1}', b"another, longer than the first"):
        write(place.store, key, data)
        assert content(place.store, key) == data
    assert {info.key for info in place.store.list_page(None).objects} == {key, f"{key.rpartition('/')[0]}/model.onnx"}


def test_sas_that_may_write_writes(azurite_server: Azurite) -> None:
    venue = AzuriteVenue(azurite_server, "key")
    for sas in (account_sas("rlcw"), container_sas(venue.container, "rlcw")):
        store = open_url(f"as://{azurite_server.place}/{venue.container}/repo?{sas}", environment={})
        write(store, KEY, b"data")
        assert content(store, KEY) == b"data"


def test_sas_that_may_only_read_is_told_what_it_lacks(azurite_server: Azurite) -> None:
    venue = AzuriteVenue(azurite_server, "container SAS")
    with pytest.raises(AccessRefusedError, match=r"SAS with create and write \(rlcw\)"):
        write(venue.store, KEY, b"data")


@pytest.mark.parametrize("sas", [account_sas(), ""])
def test_refusal_shows_no_secret(azurite_server: Azurite, sas: str) -> None:
    venue = AzuriteVenue(azurite_server, "key")
    url = f"as://{azurite_server.place}/{venue.container}/repo" + (f"?{sas}" if sas else "")
    with pytest.raises(ModelfsError) as caught:
        write(open_url(url, environment={}), KEY, b"data")
    assert "sig=" not in str(caught.value) + str(caught.value.__cause__) + str(caught.value.__context__)
    assert ACCOUNT in str(caught.value)


def test_s3_that_refuses_names_the_permission(fault_venue: FaultVenue) -> None:
    fault_venue.server.fail(Fault(Status(403), kind="put"))
    with pytest.raises(AccessRefusedError, match="s3:PutObject"):
        write(fault_venue.store, KEY, b"data")


def test_s3_that_does_not_know_the_secret_says_so(fault_venue: FaultVenue) -> None:
    environment = {**ENVIRONMENT, "AWS_SECRET_ACCESS_KEY": "wrong"}
    with pytest.raises(AccessRefusedError, match="the secret key is wrong"):
        write(open_url(f"s3://{fault_venue.server.url}/bkt/repo", environment=environment), KEY, b"data")


@pytest.mark.parametrize("status", [500, 503])
def test_store_in_trouble_is_worth_a_retry(fault_venue: FaultVenue, status: int) -> None:
    fault_venue.server.fail(Fault(Status(status), kind="put", times=1))
    with pytest.raises(StoreUnavailableError):
        write(fault_venue.store, KEY, b"data")
    write(fault_venue.store, KEY, b"data")
    assert content(fault_venue.store, KEY) == b"data"


def test_bucket_that_is_not_there_is_told() -> None:
    with FaultServer() as server, pytest.raises(ObjectNotFoundError, match="no such bucket"):
        write(open_url(f"s3://{server.url}/none/repo"), KEY, b"data")


def test_gcs_that_refuses_names_the_role(gcs_venue: Venue) -> None:
    gcs_venue.server.fail(Fault(Status(403), kind="put"))  # type: ignore[attr-defined]  # a fault venue
    with pytest.raises(AccessRefusedError, match=r"roles/storage\.objectUser"):
        write(gcs_venue.store, KEY, b"data")


def test_local_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    venue = LocalVenue(tmp_path)
    with pytest.raises(ObjectNotFoundError, match="No such file"):
        write(venue.store, KEY, b"data")
    venue.put("m/1/x", b"x")
    write(venue.store, KEY, b"data")
    os.umask(umask := os.umask(0o77))
    assert (tmp_path / "repo" / KEY).stat().st_mode & 0o777 == 0o666 & ~umask
    (tmp_path / "repo/m/1/folder").mkdir()
    with pytest.raises(StoreUnavailableError, match="Is a directory"):
        write(venue.store, "m/1/folder", b"data")
    assert sorted(os.listdir(tmp_path / "repo/m/1")) == [".modelfs-seal.json", "folder", "x"]
