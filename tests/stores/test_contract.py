"""What every Store does, fake or real: the contract that all above it rely on."""

import threading
from collections.abc import Iterator

import pytest
from stores.azure_venues import AzuriteVenue
from stores.venues import Place, Venue

from modelfs.blocks import ObjectInfo
from modelfs.errors import ObjectNotFoundError, VersionGoneError
from modelfs.spans import Cut, order
from modelfs.store import Levelled, Splittable, Store

ODD_NAMES = [
    "a b",
    " lead",
    "trail ",
    "a+b=c@d",
    "a%20b",
    "%2F%2e",
    "a&b;c,d",
    "(a)[b]{c}",
    "a#b?c",
    "a!$'\"*~^`|<>:",
    "back\\slash",
    "dot.",
    "dots..",
    "...",
    ".hidden",
    "é",
    "e\u0301",
    "日本/モデル",
    "😀",
    "\u2028",
    "n" * 255,
]


def listed(store: Store, folder: str = "") -> dict[str, ObjectInfo]:
    """List everything, or a folder, and see that no key comes twice."""
    found: dict[str, ObjectInfo] = {}
    for page in pages(store, folder):
        for info in page:
            assert info.key not in found
            found[info.key] = info
    return found


def pages(store: Store, folder: str = "") -> Iterator[list[ObjectInfo]]:
    """Yield the pages of a listing, a hundred at most."""
    token: str | None = None
    for _ in range(100):
        page = store.list_page(token, folder)
        yield page.objects
        token = page.next_token
        if token is None:
            return
    pytest.fail("the listing does not end")


def test_empty_prefix_is_an_empty_listing(venue: Venue) -> None:
    assert listed(venue.store) == {}


def test_listing_tells_key_size_version_and_time(venue: Venue) -> None:
    venue.put("m/1/model.onnx", b"12345")
    venue.put("m/config.pbtxt", b"")
    found = listed(venue.store)
    assert {key: info.size for key, info in found.items()} == {"m/1/model.onnx": 5, "m/config.pbtxt": 0}
    for key, info in found.items():
        assert info.key == key
        assert info.version
        assert 10**18 < info.mtime_ns < 10**19  # nanoseconds, of this century


def span_keys(store: Splittable, begin: Cut | None, end: Cut | None) -> list[str]:
    """Return the keys of a span, in the order in which they are told."""
    found: list[str] = []
    token: str | None = None
    for _ in range(100):
        page = store.list_span_page(token, begin, end)
        found += [info.key for info in page.objects]
        token = page.next_token
        if token is None:
            return found
    pytest.fail("the span does not end")


def test_spans_are_the_listing_in_order_and_no_key_is_in_two(venue: Venue) -> None:
    store = venue.store
    if not isinstance(store, Splittable):
        pytest.skip("this store begins no listing in its middle")
    for name in ODD_NAMES:
        if "\\" not in name:
            venue.put(f"m/{name}", b"x")
    keys = sorted(listed(store), key=order)
    for chosen in ((), (0,), (len(keys) - 2,), (3, 4, 9), range(len(keys) - 1)):
        cuts = [Cut(keys[index], keys[index + 1]) for index in chosen]
        spans = list(zip([None, *cuts], [*cuts, None], strict=True))
        assert [key for begin, end in spans for key in span_keys(store, begin, end)] == keys
    cut = Cut("m/a b", "m/a%20b")
    for name in ("a!", "a b!", "a%20a", "a%20b+"):  # each somewhere around the cut
        venue.put(f"m/{name}", b"x")
    parts = [span_keys(store, None, cut), span_keys(store, cut, None)]
    assert [key for part in parts for key in part] == sorted(listed(store), key=order)


def test_a_level_is_the_objects_in_a_folder_and_the_folders_in_it(venue: Venue) -> None:
    store = venue.store
    if not isinstance(store, Levelled):
        pytest.skip("this store lists no level")
    for key in ("top", "m/config.pbtxt", "m/1/a", "m/1/b/c", "m/2/a", "n n+%/1/a", "m-2/1/a"):
        venue.put(key, b"x")
    for folder, objects, folders in (
        ("", {"top"}, {"m/", "n n+%/", "m-2/"}),
        ("m/", {"m/config.pbtxt"}, {"m/1/", "m/2/"}),
        ("m/1/", {"m/1/a"}, {"m/1/b/"}),
        ("n n+%/", set(), {"n n+%/1/"}),
        ("absent/", set(), set()),
    ):
        page = store.list_level_page(None, folder)
        assert page.next_token is None
        assert {info.key for info in page.objects} == objects
        assert sorted(page.folders) == sorted(folders)


def test_listing_of_more_than_a_page_is_complete(listed_venue: Venue) -> None:
    keys = {f"m{number % 7}/1/part-{number:04d}" for number in range(1, 2102)}
    for key in keys:
        listed_venue.put(key, b"x")
    assert listed(listed_venue.store).keys() == keys


def test_page_can_be_asked_for_again(listed_venue: Venue) -> None:
    for number in range(1600):
        listed_venue.put(f"m{number % 7}/{number:04d}", b"x")
    first = listed_venue.store.list_page(None)
    assert first.next_token is not None
    second = listed_venue.store.list_page(first.next_token)
    assert listed_venue.store.list_page(first.next_token) == second
    assert second.next_token is None
    assert len(first.objects) + len(second.objects) == 1600


def test_folder_is_listed_without_its_neighbours_of_the_same_letters(venue: Venue) -> None:
    for key in ("m/1/model.onnx", "m/config.pbtxt", "m-2/x", "mm/x", "M/x", "n/m/x", "m.txt"):
        venue.put(key, key.encode())
    everything = listed(venue.store)
    found = listed(venue.store, "m/")
    assert found == {key: everything[key] for key in ("m/1/model.onnx", "m/config.pbtxt")}
    assert bytes(venue.store.read(found["m/config.pbtxt"], 0, 14)) == b"m/config.pbtxt"
    assert listed(venue.store, "m/1/").keys() == {"m/1/model.onnx"}


def test_folder_that_is_not_there_is_an_empty_listing(venue: Venue) -> None:
    venue.put("file", b"x")
    venue.put("m/x", b"x")
    for folder in ("absent/", "file/", "m/x/", "m/absent/"):
        assert listed(venue.store, folder) == {}


def test_empty_folder_in_a_folder_is_listed_by_its_marker(venue: Venue) -> None:
    venue.put("ensemble/1/", b"")
    assert listed(venue.store, "ensemble/").keys() == {"ensemble/1/"}


@pytest.mark.parametrize("name", ["a b", "a+b=c@d", "a%20b", "a#b?c", "日本", "..."])
def test_folder_of_an_odd_name_is_listed(venue: Venue, name: str) -> None:
    venue.put(f"{name}/1/x", b"x")
    venue.put("a/1/x", b"x")
    assert listed(venue.store, f"{name}/").keys() == {f"{name}/1/x"}


def test_folder_of_more_than_a_page_is_listed_page_by_page(listed_venue: Venue) -> None:
    keys = {f"m/1/part-{number:04d}" for number in range(1200)} | {f"m/{number % 3}/b{number}" for number in range(30)}
    for key in [*keys, "m2/x"]:
        listed_venue.put(key, b"x")
    assert listed(listed_venue.store, "m/").keys() == keys


def test_folder_marker_keeps_its_slash(venue: Venue) -> None:
    venue.put("ensemble/1/", b"")
    venue.put("ensemble/config.pbtxt", b"x")
    found = listed(venue.store)
    assert found.keys() == {"ensemble/1/", "ensemble/config.pbtxt"}
    assert found["ensemble/1/"].size == 0


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_name_is_listed_and_read_as_it_is(venue: Venue, name: str) -> None:
    if "\\" in name and isinstance(venue, AzuriteVenue):
        pytest.skip("Azure writes a backslash of a name as a slash")
    venue.put(f"m/{name}", name.encode())
    found = listed(venue.store)
    assert found.keys() == {f"m/{name}"}
    length = len(name.encode())
    assert bytes(venue.store.read(found[f"m/{name}"], 0, length)) == name.encode()


@pytest.mark.parametrize(("offset", "length"), [(0, 1), (0, 1000), (999, 1), (1, 998), (500, 17)])
def test_read_is_exactly_the_range(venue: Venue, offset: int, length: int) -> None:
    data = bytes(number * 7 % 251 for number in range(1000))
    venue.put("m/x", data)
    read = venue.store.read(listed(venue.store)["m/x"], offset, length)
    assert read == data[offset : offset + length]
    assert isinstance(read, memoryview)
    assert read.readonly
    assert read.contiguous
    assert read.format == "B"


def test_read_of_a_replaced_object_is_refused(venue: Venue) -> None:
    venue.put("m/x", b"old content")
    old = listed(venue.store)["m/x"]
    venue.put("m/x", b"new content")
    with pytest.raises(VersionGoneError, match="m/x"):
        venue.store.read(old, 0, 3)
    new = listed(venue.store)["m/x"]
    assert new.version != old.version
    assert bytes(venue.store.read(new, 0, 3)) == b"new"


def test_read_of_a_deleted_object_is_refused(venue: Venue) -> None:
    venue.put("m/x", b"old content")
    old = listed(venue.store)["m/x"]
    venue.delete("m/x")
    assert listed(venue.store).get("m/x") is None
    with pytest.raises(VersionGoneError, match="m/x"):
        venue.store.read(old, 0, 3)


def test_replacement_that_is_shorter_is_refused_beyond_its_end(venue: Venue) -> None:
    venue.put("m/x", b"x" * 1000)
    old = listed(venue.store)["m/x"]
    venue.put("m/x", b"x")
    with pytest.raises(VersionGoneError):
        venue.store.read(old, 900, 100)


def test_reads_run_side_by_side(venue: Venue) -> None:
    data = bytes(range(256)) * 64
    venue.put("m/x", data)
    info = listed(venue.store)["m/x"]
    wrong: list[int] = []

    def read(offset: int) -> None:
        if venue.store.read(info, offset, 1024) != data[offset : offset + 1024]:
            wrong.append(offset)

    threads = [threading.Thread(target=read, args=(number * 1024,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert wrong == []


def test_prefix_ends_at_a_slash(place: Place) -> None:
    place.put("m/x", b"x")
    assert listed(place.store).keys() == {"m/x"}  # and not repo-2/x


def test_without_a_prefix_everything_is_listed(place: Place) -> None:
    place.put("m/x", b"x")
    everything = place.at("")
    found = listed(everything)
    assert found.keys() == {"repo/m/x", "repo-2/x", "other"}
    assert bytes(everything.read(found["repo-2/x"], 0, 6)) == b"beside"


def test_deeper_prefix_lists_what_is_below_it(place: Place) -> None:
    place.put("a b/+/m/x", b"x")
    deep = place.at("repo/a b/+")
    found = listed(deep)
    assert found.keys() == {"m/x"}
    assert bytes(deep.read(found["m/x"], 0, 1)) == b"x"


def test_missing_bucket_or_folder_is_not_found(place: Place) -> None:
    with pytest.raises(ObjectNotFoundError):
        place.nowhere().list_page(None)
