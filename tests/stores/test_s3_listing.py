"""What a listing's XML means, and what is no listing."""

from datetime import UTC, datetime, timedelta
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfs.answers import SenselessError, parse_date_ns
from modelfs.blocks import ObjectInfo
from modelfs.s3_listing import parse_page
from modelfs.store import Page

NAMESPACE = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def entry(
    key: str = "repo/m/x", size: str = "5", etag: str = "&quot;e&quot;", date: str = "2024-05-01T10:11:12.345Z"
) -> str:
    fields = f"<Key>{key}</Key><LastModified>{date}</LastModified><ETag>{etag}</ETag><Size>{size}</Size>"
    return f"<Contents>{fields}</Contents>"


def listing(*entries: str, more: str = "<IsTruncated>false</IsTruncated>", namespace: str = NAMESPACE) -> bytes:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult{namespace}><Name>b</Name>{more}{"".join(entries)}'
        "</ListBucketResult>"
    ).encode()


X = ObjectInfo("m/x", 5, '"e"', 1714558272345000000)


@pytest.mark.parametrize("namespace", [NAMESPACE, "", ' xmlns="http://elsewhere/"'])
def test_entry_is_read_with_or_without_a_namespace(namespace: str) -> None:
    assert parse_page(listing(entry(), namespace=namespace), prefix="repo/") == Page([X], None)


def test_token_is_given_only_while_the_listing_goes_on() -> None:
    token = "<NextContinuationToken>t/+=</NextContinuationToken>"
    assert parse_page(listing(more=f"<IsTruncated>true</IsTruncated>{token}"), prefix="").next_token == "t/+="
    assert parse_page(listing(more=f"<IsTruncated>false</IsTruncated>{token}"), prefix="").next_token is None


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("a+b%2B%20c", "a b+ c"),
        ("%E6%97%A5/x", "日/x"),
        ("a%0Ab%09%01", "a\nb\t\x01"),
        ("a%2F%2Fb/../c", "a//b/../c"),
        ("%25%32%35", "%25"),
        ("%FF", "\udcff"),
    ],
)
def test_key_is_decoded_as_s3_encodes_it(written: str, key: str) -> None:
    more = "<IsTruncated>false</IsTruncated><EncodingType>url</EncodingType>"
    (found,) = parse_page(listing(entry(f"repo/{written}"), more=more), prefix="repo/").objects
    assert found.key == key


def test_key_is_taken_as_it_is_where_the_store_did_not_encode_it() -> None:
    (found,) = parse_page(listing(entry("repo/a+b%20c&amp;d")), prefix="repo/").objects
    assert found.key == "a+b%20c&d"


def test_store_that_lists_beside_the_folder_is_refused() -> None:
    more = "<IsTruncated>false</IsTruncated>"
    assert parse_page(listing(entry("repo/m/x"), more=more), prefix="repo/", folder="m/").objects == [X]
    with pytest.raises(SenselessError, match="outside the prefix"):
        parse_page(listing(entry("repo/m-2/x"), more=more), prefix="repo/", folder="m/")


def test_marker_of_the_repository_itself_is_left_out() -> None:
    assert parse_page(listing(entry("repo/"), entry()), prefix="repo/") == Page([X], None)


def test_etag_has_its_quotes_also_where_the_store_leaves_them_out() -> None:
    assert parse_page(listing(entry(etag="e")), prefix="repo/").objects == [X]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html></html>",
        b"not XML",
        listing()[:-1],
        listing(entry())[:-40],
        listing(more=""),
        listing(more="<IsTruncated>maybe</IsTruncated>"),
        listing(more="<IsTruncated>true</IsTruncated>"),
        listing(entry("")),
        listing(entry("elsewhere/x")),
        listing(entry("repo")),
        listing(entry(size="")),
        listing(entry(size="-1")),
        listing(entry(size="1.5")),
        listing(entry(size=str(2**63))),
        listing(entry(size="9" * 5000)),
        listing(entry(size="٣")),
        listing(entry(etag="")),
        listing(entry(date="")),
        listing(entry(date="yesterday")),
        listing(entry(date="2024-13-01T10:11:12Z")),
        listing(entry(date="2024-05-01T10:11:12+02:00")),
        listing(entry("repo/&unknown;")),
        listing(entry())
        .replace(b"?>", b'?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>')
        .replace(b"m/x", b"&b;"),
        listing(entry()).decode().replace("UTF-8", "UTF-16").encode("utf-16"),
        listing(entry()).decode().replace("UTF-8", "UTF-16").encode("utf-16-le"),
        listing(entry()).replace(b"UTF-8", b"cp037").replace(b"m/x", b"\xff"),
        listing(entry()).replace(b"m/x", b"\xff"),
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
    whole = listing(entry(), entry("repo/y"))
    with pytest.raises(SenselessError):
        parse_page(whole[: cut % len(whole)], prefix="repo/")


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), min_size=1))
def test_plain_key_comes_out_as_it_went_in(key: str) -> None:
    (found,) = parse_page(listing(entry(escape(f"repo/{key}"))), prefix="repo/").objects
    assert found.key == key


@given(st.integers(-2_000_000_000, 50_000_000_000), st.integers(0, 999_999_999), st.integers(0, 9))
def test_date_is_exact_to_the_nanosecond(second: int, nanosecond: int, digits: int) -> None:
    fraction = f"{nanosecond:09d}"[:digits]
    text = (
        (EPOCH + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%S") + (f".{fraction}" if fraction else "") + "Z"
    )
    assert parse_date_ns(text) == second * 10**9 + int(fraction.ljust(9, "0"))
