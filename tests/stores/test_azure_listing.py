"""What a listing of Azure means, and what is none."""

from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfs.answers import SenselessError
from modelfs.azure_listing import parse_page
from modelfs.blocks import ObjectInfo
from modelfs.store import Page

DATE = "Wed, 01 May 2024 10:11:12 GMT"
SECOND_NS = 1714558272 * 10**9


def blob(
    name: str = "<Name>repo/m/x</Name>",
    *,
    size: str = "5",
    etag: str = "0x8D",
    date: str = DATE,
    more: str = "",
    meta: str = "",
) -> str:
    properties = (
        f"<Last-Modified>{date}</Last-Modified><Etag>{etag}</Etag><Content-Length>{size}</Content-Length>{more}"
    )
    return f"<Blob>{name}<Properties>{properties}</Properties>{meta}<OrMetadata/></Blob>"


def listing(*blobs: str, marker: str = "<NextMarker/>") -> bytes:
    return (
        '\ufeff<?xml version="1.0" encoding="utf-8"?><EnumerationResults ServiceEndpoint="https://a/">'
        f"<Prefix>repo/</Prefix><Blobs>{''.join(blobs)}</Blobs>{marker}</EnumerationResults>"
    ).encode()


X = ObjectInfo("m/x", 5, '"0x8D"', SECOND_NS)


def test_entry_has_its_etag_with_quotes_and_its_time_in_nanoseconds() -> None:
    assert parse_page(listing(blob()), prefix="repo/") == Page([X], None)
    assert parse_page(listing(blob(etag="&quot;0x8D&quot;")), prefix="repo/") == Page([X], None)


def test_marker_asks_for_the_next_page() -> None:
    assert parse_page(listing(marker="<NextMarker>2!76!a/+=</NextMarker>"), prefix="").next_token == "2!76!a/+="
    assert parse_page(listing(marker="<NextMarker></NextMarker>"), prefix="").next_token is None


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("<Name>repo/a+b%20c&amp;d</Name>", "a+b%20c&d"),
        ('<Name Encoded="true">repo/a%EF%BF%BEb%25</Name>', "a\ufffeb%"),
        ('<Name Encoded="false">repo/%25</Name>', "%25"),
        ('<Name Encoded="true">repo/%FF</Name>', "\udcff"),
    ],
)
def test_name_is_decoded_only_where_it_says_so(name: str, key: str) -> None:
    (found,) = parse_page(listing(blob(name)), prefix="repo/").objects
    assert found.key == key


@pytest.mark.parametrize(
    ("more", "meta"),
    [
        ("<ResourceType>directory</ResourceType>", ""),
        ("", "<Metadata><hdi_isfolder>true</hdi_isfolder></Metadata>"),
        ("", "<Metadata><other>1</other><Hdi_IsFolder>True</Hdi_IsFolder></Metadata>"),
    ],
)
def test_folder_of_a_hierarchical_namespace_or_of_hadoop_is_a_marker(more: str, meta: str) -> None:
    for name in ("repo/m/1", "repo/m/1/"):
        (found,) = parse_page(
            listing(blob(f"<Name>{name}</Name>", size="0", more=more, meta=meta)), prefix="repo/"
        ).objects
        assert found == ObjectInfo("m/1/", 0, '"0x8D"', SECOND_NS)


@pytest.mark.parametrize(
    ("more", "meta"),
    [
        ("<ResourceType>file</ResourceType>", ""),
        ("", "<Metadata><hdi_isfolder>false</hdi_isfolder></Metadata>"),
        ("", "<Metadata/>"),
    ],
)
def test_file_stays_a_file(more: str, meta: str) -> None:
    assert parse_page(listing(blob(more=more, meta=meta)), prefix="repo/").objects == [X]


def test_folder_without_a_length_is_a_marker() -> None:
    entry = blob(more="<ResourceType>directory</ResourceType>").replace("<Content-Length>5</Content-Length>", "")
    (found,) = parse_page(listing(entry), prefix="repo/").objects
    assert (found.key, found.size) == ("m/x/", 0)


def test_marker_of_the_repository_itself_is_left_out() -> None:
    own = blob("<Name>repo/</Name>", size="0")
    assert parse_page(listing(own, blob()), prefix="repo/") == Page([X], None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html></html>",
        b"not XML",
        listing()[:-1],
        listing(blob())[:-40],
        listing(marker=""),
        listing(blob("<Name></Name>")),
        listing(blob("")),
        listing(blob("<Name>elsewhere/x</Name>")),
        listing(blob("<Name>repo</Name>")),
        listing(blob(size="")),
        listing(blob(size="-1")),
        listing(blob(size="٣")),
        listing(blob(etag="")),
        listing(blob(date="")),
        listing(blob(date="yesterday")),
        listing(blob(date="Wed, 01 May 2024 10:11:12 +0200")),
        listing(blob(date="2024-05-01T10:11:12Z")),
        listing(blob()).replace(b"?>", b'?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>'),
        listing(blob()).replace(b"m/x", b"\xff"),
    ],
)
def test_anything_else_is_senseless(body: bytes) -> None:
    with pytest.raises(SenselessError):
        parse_page(body, prefix="repo/")


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_body_raises_anything_else(body: bytes) -> None:
    with pytest.raises(SenselessError):
        parse_page(body, prefix="")


@given(st.integers(0, 1000))
def test_listing_cut_anywhere_is_senseless(cut: int) -> None:
    whole = listing(blob(), blob("<Name>repo/y</Name>"))
    with pytest.raises(SenselessError):
        parse_page(whole[: cut % len(whole)], prefix="repo/")


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), min_size=1))
def test_plain_name_comes_out_as_it_went_in(name: str) -> None:
    (found,) = parse_page(listing(blob(f"<Name>{escape('repo/' + name)}</Name>")), prefix="repo/").objects
    assert found.key == name
