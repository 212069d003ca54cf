"""``list_uploads_page``: which uploads have begun and not ended, as each kind of store tells it."""

import time
from collections.abc import Iterator

import pytest
from faultserver import Fault, FaultServer, Status
from stores.azure_venues import AzureFaultVenue, AzuriteVenue
from stores.azurite import Azurite
from stores.test_contract import ODD_NAMES, listed
from stores.venues import FaultVenue, MotoVenue, Place, Uploading, Venue

from modelfs import store as protocols
from modelfs.errors import AccessRefusedError, StoreRefusedError, StoreUnavailableError
from modelfs.late_store import LateStore
from modelfs.store import Store
from modelfs.uploads import Upload


def uploads_of(store: Store, folder: str = "") -> dict[str, Upload]:
    """Return what a store tells of uploads that are no objects, by key."""
    assert isinstance(store, protocols.Uploading)
    found = {upload.key: upload for upload in _pages(store, folder)}
    return {key: upload for key, upload in found.items() if key not in listed(store)}


def _pages(store: protocols.Uploading, folder: str) -> Iterator[Upload]:
    token: str | None = None
    for _ in range(100):
        page = store.list_uploads_page(token, folder)
        yield from page.uploads
        token = page.next_token
        if token is None:
            return
    pytest.fail("the uploads do not end")


def uploading(venue: Venue) -> Uploading:
    """Return the venue, where its store tells of uploads at all."""
    assert isinstance(venue, Uploading) == isinstance(venue.store, protocols.Uploading)
    if not isinstance(venue, Uploading):
        pytest.skip("this store tells of no uploads")
    return venue


def test_an_upload_is_told_from_its_begin_to_its_end_and_is_an_object_then(venue: Venue) -> None:
    place = uploading(venue)
    venue.put("m/1/model.onnx", b"whole")
    venue.put("m/1/empty", b"")
    assert uploads_of(venue.store) == {}
    before_s = int(time.time())
    end = place.begin_upload("m/1/weights.bin")
    assert sorted(listed(venue.store)) == ["m/1/empty", "m/1/model.onnx"]
    (upload,) = uploads_of(venue.store).values()
    assert upload.key == "m/1/weights.bin"
    if not isinstance(venue, MotoVenue):  # which dates all of them 2010
        assert before_s - 1 <= upload.begun_ns // 10**9 <= time.time() + 1
    end(b"weights")
    assert uploads_of(venue.store) == {}
    assert listed(venue.store)["m/1/weights.bin"].size == len(b"weights")


def test_folders_and_empty_files_are_no_uploads(listed_venue: Venue) -> None:
    uploading(listed_venue)
    for key in ("m/1/", "m/2/empty", "n/"):
        listed_venue.put(key, b"")
    assert uploads_of(listed_venue.store) == {}


@pytest.mark.parametrize("hierarchical", [False, True])
def test_a_folder_of_azure_is_no_upload(hierarchical: bool) -> None:  # noqa: FBT001  parametrized
    with FaultServer("azure, hierarchical" if hierarchical else "azure") as server:
        venue = AzureFaultVenue(server)
        venue.put("m/1/", b"")
        assert isinstance(venue.store, protocols.Uploading)
        assert venue.store.list_uploads_page(None).uploads == []


def test_a_folder_that_tools_mark_on_azure_is_no_upload(azurite_server: Azurite) -> None:
    venue = AzuriteVenue(azurite_server, "key")
    azurite_server.put(venue.container, "repo/m/1", b"", {"hdi_isfolder": "true"})
    assert list(listed(venue.store)) == ["m/1/"]
    assert uploads_of(venue.store) == {}


def test_an_upload_that_is_given_up_is_told_no_more(listed_venue: Venue) -> None:
    end = uploading(listed_venue).begin_upload("m/1/weights.bin")
    assert list(uploads_of(listed_venue.store)) == ["m/1/weights.bin"]
    end(None)
    assert uploads_of(listed_venue.store) == {}
    assert listed(listed_venue.store) == {}


def test_uploads_of_a_folder_are_those_below_it(listed_venue: Venue) -> None:
    place = uploading(listed_venue)
    for key in ("m/1/a", "m/2/b", "m-2/1/x", "mm/1/x", "n"):
        place.begin_upload(key)
    assert sorted(uploads_of(listed_venue.store, "m/")) == ["m/1/a", "m/2/b"]
    assert uploads_of(listed_venue.store, "none/") == {}
    assert sorted(uploads_of(listed_venue.store)) == ["m-2/1/x", "m/1/a", "m/2/b", "mm/1/x", "n"]


@pytest.mark.parametrize("name", ["fault_venue", "azure_venue"])
def test_uploads_beside_the_repository_are_none_of_it(name: str, request: pytest.FixtureRequest) -> None:
    venue: FaultVenue | AzureFaultVenue = request.getfixturevalue(name)
    venue.server.begin_upload("bkt", "repo-2/1/x")
    assert uploads_of(venue.store) == {}


def test_odd_names_are_told_as_they_are(listed_venue: Venue) -> None:
    place = uploading(listed_venue)
    names = [name for name in ODD_NAMES if "\\" not in name]  # Azurite takes that for a slash
    for name in names:
        place.begin_upload(f"m/{name}")
    assert sorted(uploads_of(listed_venue.store, "m/")) == sorted(f"m/{name}" for name in names)


@pytest.mark.parametrize("name", ["fault_venue", "azure_venue"])
def test_more_than_a_page_of_uploads_is_told_in_pages(name: str, request: pytest.FixtureRequest) -> None:
    venue: FaultVenue | AzureFaultVenue = request.getfixturevalue(name)
    keys = [f"m/1/part {number:04} +" for number in range(1500)]
    for key in keys:
        venue.begin_upload(key)
    venue.begin_upload(keys[999])  # S3 tells several uploads of one key
    assert isinstance(venue.store, protocols.Uploading)
    first = venue.store.list_uploads_page(None, "m/")
    assert len(first.uploads) == 1000
    assert first.next_token is not None
    assert sorted(uploads_of(venue.store, "m/")) == keys


@pytest.mark.parametrize(
    ("status", "error"), [(403, AccessRefusedError), (501, StoreRefusedError), (503, StoreUnavailableError)]
)
@pytest.mark.parametrize("name", ["fault_venue", "azure_venue"])
def test_a_refusal_is_one_of_our_errors(
    name: str, status: int, error: type[Exception], request: pytest.FixtureRequest
) -> None:
    venue: FaultVenue | AzureFaultVenue = request.getfixturevalue(name)
    venue.server.fail(Fault(Status(status), kind="uploads"))
    assert isinstance(venue.store, protocols.Uploading)
    with pytest.raises(error):
        venue.store.list_uploads_page(None)
    assert venue.store.list_page(None).objects == []


def test_a_store_that_is_opened_late_tells_what_it_can(place: Place) -> None:
    late = LateStore(lambda: place.store)
    if isinstance(place, Uploading):
        place.begin_upload("m/1/x")
        assert list(uploads_of(late)) == ["m/1/x"]
    else:
        assert late.list_uploads_page(None).uploads == []
