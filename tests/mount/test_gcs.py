"""A real mount of Google Cloud Storage: to the byte, with tokens that are renewed, and anonymously on an emulator."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from faultserver import Bearer, FaultServer, Stamped
from google_stub import GoogleStub
from mount.mounting_for_tests import mounted, wait_until

SIZES = (0, 1, 4097, 20_000_001)


@pytest.fixture
def stub() -> Iterator[GoogleStub]:
    with GoogleStub() as stub:
        yield stub


def fill(server: FaultServer, version: str = "v1") -> None:
    for size in SIZES:
        server.put("models", f"repository/m/1/{size}", Stamped(f"{size}", version, size))


def check(folder: Path, version: str = "v1") -> None:
    for size in SIZES:
        assert (folder / "m" / "1" / str(size)).read_bytes() == Stamped(f"{size}", version, size).read(0, size)


def test_files_are_exact_and_a_token_that_ends_in_between_is_renewed(stub: GoogleStub, tmp_path: Path) -> None:
    keys = Bearer("token-1")
    stub.lifetime_s = 4
    with FaultServer("gcs", keys=keys) as server:
        fill(server)
        options = ("--endpoint-url", server.url, "--refresh", "1")
        with mounted("gs://models/repository", tmp_path, *options, GCE_METADATA_HOST=stub.host) as mount:
            check(mount.path)
            keys.tokens = {"token-2"}
            fill(server, "v2")
            wait_until(lambda: stub.newest != "token-1")
            keys.tokens |= {f"token-{number}" for number in range(2, 100)}
            wait_until(lambda: any(request.status == 200 for request in server.requests(kind="list")[-1:]))
            wait_until(lambda: _is(mount.path, "v2"))
            check(mount.path, "v2")


def test_emulator_is_read_without_a_token(stub: GoogleStub, tmp_path: Path) -> None:
    with FaultServer("gcs") as server:
        fill(server)
        environment = {"STORAGE_EMULATOR_HOST": server.url, "GCE_METADATA_HOST": stub.host}
        with mounted("gs://models/repository", tmp_path, **environment) as mount:
            check(mount.path)
        assert all("authorization" not in request.headers for request in server.requests())
        assert stub.asked == []


def _is(folder: Path, version: str) -> bool:
    with (folder / "m" / "1" / "4097").open("rb") as file:
        return file.read() == Stamped("4097", version, 4097).read(0, 4097)
