"""Whose listings may be shared: stores that send the same requests with the same credentials, and no others."""

import itertools
from collections.abc import Mapping

import pytest

from modelfs import location
from modelfs.engines import open_store
from modelfs.store import Shareable

KEYS = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}
S3 = "s3://127.0.0.1:9000/bucket/models"
AZURE = "as://127.0.0.1:10000/account/models/repository"
KEY = {"AZURE_STORAGE_KEY": "a2V5"}
GCS = "gs://bucket/models"
EMULATOR = {"STORAGE_EMULATOR_HOST": "127.0.0.1:4443"}


def identity(url: str, environment: Mapping[str, str], **options: object) -> tuple[str, ...]:
    settings = {"region": None, "connect_timeout_s": 1.0, "stall_timeout_s": 1.0, "max_connections": 4, **options}
    store = open_store(location.parse(url), environment={"HOME": "/nowhere", **environment}, **settings)  # type: ignore[arg-type]
    assert isinstance(store, Shareable)
    return tuple(store.identify())


@pytest.mark.parametrize(
    "ways",
    [
        [
            (S3, KEYS, {}),
            ("s3://127.0.0.1:9000/bucket/other", KEYS, {}),
            ("s3://127.0.0.1:9000/other/models", KEYS, {}),
            ("s3://127.0.0.1:9001/bucket/models", KEYS, {}),
            (S3, {**KEYS, "AWS_ACCESS_KEY_ID": "another"}, {}),
            (S3, {**KEYS, "AWS_SECRET_ACCESS_KEY": "another"}, {}),
            (S3, {**KEYS, "AWS_SESSION_TOKEN": "token"}, {}),
            (S3, KEYS, {"sign_requests": False}),
            (S3, KEYS, {"region": "eu-central-1"}),
            (S3, KEYS, {"request_payer": True}),
            (S3, KEYS, {"expected_bucket_owner": "123456789012"}),
            (S3, KEYS, {"engine": "obstore"}),
        ],
        [
            (AZURE, KEY, {}),
            ("as://127.0.0.1:10000/account/models/other", KEY, {}),
            ("as://127.0.0.1:10000/account/other/repository", KEY, {}),
            ("as://127.0.0.1:10000/other/models/repository", KEY, {}),
            (AZURE, {"AZURE_STORAGE_KEY": "b3RoZXI="}, {}),
            (AZURE, KEY, {"sign_requests": False}),
            (f"{AZURE}?sv=2021-12-02&sig=one", {}, {}),
            (f"{AZURE}?sv=2021-12-02&sig=two", {}, {}),
        ],
        [
            (GCS, EMULATOR, {}),
            ("gs://bucket/other", EMULATOR, {}),
            ("gs://other/models", EMULATOR, {}),
            (GCS, {"STORAGE_EMULATOR_HOST": "127.0.0.1:4444"}, {}),
            (GCS, {**EMULATOR, "GOOGLE_CLOUD_QUOTA_PROJECT": "project"}, {}),
        ],
    ],
    ids=["s3", "azure", "gcs"],
)
def test_whatever_changes_a_request_changes_the_identity(
    ways: list[tuple[str, dict[str, str], dict[str, object]]],
) -> None:
    found = [identity(url, environment, **options) for url, environment, options in ways]
    for (number, one), (other_number, other) in itertools.combinations(enumerate(found), 2):
        assert one != other, (ways[number], ways[other_number])
    assert [identity(url, environment, **options) for url, environment, options in ways] == found


def test_a_local_folder_has_nothing_to_share() -> None:
    store = open_store(
        location.parse("/srv/models"),
        environment={},
        region=None,
        connect_timeout_s=1,
        stall_timeout_s=1,
        max_connections=4,
    )
    assert not isinstance(store, Shareable)
