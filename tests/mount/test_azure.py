"""A repository in Azure, mounted by the command line as a user mounts it: Azurite stands for Azure."""

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from mount.mounting_for_tests import mounted
from stores.azurite import ACCOUNT, KEY, Azurite, azurite, container_sas

SIZES = (0, 1, 4097, 131_072, 9_000_001)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    with azurite(tmp_path_factory.mktemp("azurite")) as found:
        found.create_container("models")
        for size in SIZES:
            found.put("models", f"repository/simple/1/{size}", random.Random(size).randbytes(size))
        found.put("models", "repository/ensemble/1", b"", {"hdi_isfolder": "true"})
        found.put("models", "repository/ensemble/config.pbtxt", b'name: "ensemble"')
        yield found


def test_mount_with_a_sas_is_exact_and_shows_the_token_to_nobody(server: Azurite, tmp_path: Path) -> None:
    sas = container_sas("models")
    signature = sas.rpartition("sig=")[2]
    log = tmp_path / "log"
    url = f"as://{server.place}/models/repository?{sas}"
    with mounted(url, tmp_path, "--log-level", "debug", "--log-file", str(log)) as mount:
        for size in SIZES:
            found = (mount.path / "simple/1" / str(size)).read_bytes()
            assert hashlib.sha256(found).digest() == hashlib.sha256(random.Random(size).randbytes(size)).digest()
        assert (mount.path / "ensemble/1").is_dir()
        assert list((mount.path / "ensemble/1").iterdir()) == []
        seen = [Path("/proc/mounts").read_bytes(), mount.command("status", "--json").stdout.encode()]
        for process in mount.processes():
            seen.append(Path(f"/proc/{process}/cmdline").read_bytes())
            seen.append(Path(f"/proc/{process}/environ").read_bytes())
        assert any(b"models/repository?***" in text for text in seen)
    seen.append(log.read_bytes())
    for text in seen:
        assert signature.encode() not in text
        assert unquote(signature).encode() not in text


@pytest.mark.parametrize("kind", ["key", "connection string"])
def test_mount_with_a_secret_of_the_environment_is_exact(server: Azurite, tmp_path: Path, kind: str) -> None:
    url, variables = f"as://{server.place}/models/repository", {"AZURE_STORAGE_KEY": KEY}
    if kind == "connection string":
        url = f"as://{ACCOUNT}/models/repository"
        variables = {"AZURE_STORAGE_CONNECTION_STRING": server.connection_string}
    with mounted(url, tmp_path, **variables) as mount:
        size = SIZES[-1]
        assert (mount.path / "simple/1" / str(size)).read_bytes() == random.Random(size).randbytes(size)
        assert KEY not in mount.command("status", "--json").stdout


def test_wrong_key_is_one_sentence_and_no_mount(server: Azurite, tmp_path: Path) -> None:
    url = f"as://{server.place}/models/repository"
    refused = pytest.raises(AssertionError, match=r"403 Auth.*key, SAS or token is wrong|403 AuthorizationFailure")
    with refused as caught, mounted(url, tmp_path, AZURE_STORAGE_KEY="d3Jvbmc="):
        pass
    assert "d3Jvbmc=" not in str(caught.value)
