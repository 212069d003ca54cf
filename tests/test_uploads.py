"""Which uploads that have not ended hold something back."""

from modelfs.blocks import ObjectInfo
from modelfs.groups import Group
from modelfs.uploads import HOLDS_S, WHOLE, Upload, Uploads, below, why_open

NOW_NS = 1_800_000_000 * 10**9
HOUR_NS = 3600 * 10**9


def holding(upload: Upload, *listed: ObjectInfo) -> bool:
    uploads = Uploads({"m": [upload]}, frozenset({"m"}))
    return bool(uploads.holding("m", {info.key: info for info in listed}, NOW_NS))


def test_an_upload_holds_for_a_day_and_then_counts_as_abandoned() -> None:
    assert holding(Upload("m/1/x", NOW_NS))
    assert holding(Upload("m/1/x", NOW_NS - int(HOLDS_S * 1e9)))
    assert not holding(Upload("m/1/x", NOW_NS - int(HOLDS_S * 1e9) - 1))
    assert holding(Upload("m/1/x", NOW_NS + HOUR_NS))  # the store's clock is ahead


def test_an_upload_whose_key_was_uploaded_again_since_holds_nothing() -> None:
    upload = Upload("m/1/x", NOW_NS - HOUR_NS)
    assert holding(upload, ObjectInfo("m/1/x", 1, "v", NOW_NS - HOUR_NS - 1))
    assert not holding(upload, ObjectInfo("m/1/x", 1, "v", NOW_NS - HOUR_NS))
    assert not holding(upload, ObjectInfo("m/1/x", 1, "v", NOW_NS))
    assert holding(upload, ObjectInfo("m/1/y", 1, "v", NOW_NS))


def test_a_hidden_upload_holds_nothing() -> None:
    assert not holding(Upload("m/1/.part", NOW_NS))
    assert not holding(Upload("m/1/__pycache__/x", NOW_NS))


def test_what_was_not_asked_is_not_known_and_who_cannot_be_asked_knows_all() -> None:
    assert Uploads().knows("m")
    assert Uploads({}, frozenset({"m"})).knows("m")
    assert not Uploads({}, frozenset({"n"})).knows("m")
    assert Uploads({}, frozenset({WHOLE})).knows("m")


def test_uploads_below_a_group_will_be_objects_of_it() -> None:
    uploads = [Upload(key, NOW_NS) for key in ("m/1/a", "m/1/b/c", "m/12/a", "m/x", "m/1")]
    assert [upload.key for upload in below(uploads, Group("m", "1"))] == ["m/1/a", "m/1/b/c"]
    assert [upload.key for upload in below(uploads, Group("m", ""))] == ["m/x", "m/1"]


def test_the_reason_names_the_oldest_upload_its_begin_and_how_many_more_there_are() -> None:
    first, second = Upload("m/1/a", NOW_NS - HOUR_NS), Upload("m/1/b", NOW_NS)
    assert why_open([], "m/1") == ""
    assert why_open([first], "m/1") == "the upload of a that began at 2027-01-15 07:00:00 UTC has not ended"
    assert why_open([second, first], "m") == (
        "the upload of 1/a that began at 2027-01-15 07:00:00 UTC has not ended, nor have 1 more"
    )
