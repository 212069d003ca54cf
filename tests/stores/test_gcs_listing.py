"""What a listing of GCS's JSON API means, and what is no listing."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfs.answers import SenselessError
from modelfs.blocks import ObjectInfo
from modelfs.gcs_listing import parse_page
from modelfs.store import Page


def entry(name: Any = "repo/m/x", **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "size": "5",
        "generation": "1714558272345678",
        "timeCreated": "2024-05-01T10:11:12.345Z",
        **more,
    }


def listing(*items: Any, **more: Any) -> bytes:
    return json.dumps({"kind": "storage#objects", "items": list(items), **more}).encode()


X = ObjectInfo("m/x", 5, "1714558272345678", 1714558272345000000)


def test_entry_is_read() -> None:
    assert parse_page(listing(entry()), prefix="repo/") == Page([X], None)


def test_numbers_of_emulators_are_numbers_too() -> None:
    assert parse_page(listing(entry(size=5, generation=1714558272345678)), prefix="repo/") == Page([X], None)


def test_page_may_be_empty_and_go_on() -> None:
    assert parse_page(b'{"kind": "storage#objects", "nextPageToken": "t/+="}', prefix="") == Page([], "t/+=")
    assert parse_page(b'{"kind": "storage#objects"}', prefix="") == Page([], None)
    assert parse_page(b'{"kind": "storage#objects", "nextPageToken": ""}', prefix="") == Page([], None)


def test_marker_of_the_repository_itself_is_left_out_and_others_keep_their_slash() -> None:
    page = parse_page(listing(entry("repo/"), entry("repo/m/1/", size="0")), prefix="repo/")
    assert [info.key for info in page.objects] == ["m/1/"]


@given(st.text(min_size=1))
def test_key_comes_out_as_it_went_in(key: str) -> None:
    (found,) = parse_page(listing(entry(f"repo/{key}")), prefix="repo/").objects
    assert found.key == key


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not JSON",
        b"<html></html>",
        b"[]",
        b"{}",
        b"null",
        b"[" * 100_000,
        b'{"kind": "storage#buckets"}',
        b'{"kind": "storage#objects", "items": {}}',
        b'{"kind": "storage#objects", "nextPageToken": 3}',
        listing()[:-1],
        listing(entry())[:-40],
        listing("x"),
        listing(entry("")),
        listing(entry(3)),
        listing(entry("elsewhere/x")),
        listing(entry("repo")),
        listing(entry(size="")),
        listing(entry(size="-1")),
        listing(entry(size="1.5")),
        listing(entry(size=1.5)),
        listing(entry(size=True)),
        listing(entry(size="٣")),
        listing(entry(generation="")),
        listing(entry(generation=None)),
        listing(entry(generation="x")),
        listing(entry(timeCreated="")),
        listing(entry(timeCreated=3)),
        listing(entry(timeCreated="yesterday")),
        listing(entry(timeCreated="2024-05-01T10:11:12+02:00")),
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
