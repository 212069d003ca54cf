"""The metadata server of Google's machines: when it is asked, and what its answers mean."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google_stub import GoogleStub

from modelfs import gcs_metadata
from modelfs.errors import AccessRefusedError, ModelfsError, StoreUnavailableError


@pytest.fixture
def stub() -> Iterator[GoogleStub]:
    with GoogleStub() as stub:
        yield stub


def test_metadata_server_is_plausible_on_googles_machines_only(tmp_path: Path) -> None:
    product = tmp_path / "product_name"
    assert gcs_metadata.find({}, product=product) is None
    product.write_text("Standard PC (Q35 + ICH9, 2009)\n")
    assert gcs_metadata.find({}, product=product) is None
    assert gcs_metadata.find({"K_SERVICE": "x"}, product=product) is not None
    product.write_text("Google Compute Engine\n")
    assert gcs_metadata.find({}, product=product) is not None
    assert gcs_metadata.find({"NO_GCE_CHECK": "True"}, product=product) is None


@pytest.mark.parametrize(
    ("status", "told", "kind", "says"),
    [
        (404, {}, AccessRefusedError, "has no service account"),
        (403, {}, AccessRefusedError, "may this pod"),
        (503, {}, StoreUnavailableError, "503"),
        (200, {"access_token": 1, "expires_in": 1}, StoreUnavailableError, "no token"),
        (200, {"access_token": "x"}, StoreUnavailableError, "no token"),
        (200, {"access_token": "x", "expires_in": "soon"}, StoreUnavailableError, "no token"),
    ],
)
def test_refusal_of_the_metadata_server_is_ours(
    stub: GoogleStub, status: int, told: dict[str, Any], kind: type[ModelfsError], says: str
) -> None:
    stub.refusal = (status, told)
    with pytest.raises(kind, match=says):
        gcs_metadata.MetadataServer(stub.host).ask()


def test_metadata_server_that_is_another_is_not_believed(stub: GoogleStub) -> None:
    stub.flavor = ""
    with pytest.raises(AccessRefusedError, match="another"):
        gcs_metadata.MetadataServer(stub.host).ask()


def test_metadata_server_that_is_away_is_unavailable() -> None:
    with GoogleStub() as stub:
        host = stub.host
    with pytest.raises(StoreUnavailableError, match="metadata server"):
        gcs_metadata.MetadataServer(host).ask()
