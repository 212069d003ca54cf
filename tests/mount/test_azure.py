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


@pytest.mark.parametrize("engine", ["obstore", "fsspec"])
@pytest.mark.parametrize("place", ["URL", "file"])
def test_mount_with_a_sas_is_exact_and_shows_the_token_to_nobody(
    server: Azurite, tmp_path: Path, engine: str, place: str
) -> None:
    sas = container_sas("models")
    signature = sas.rpartition("sig=")[2]
    log, file = tmp_path / "log", tmp_path / "sas"
    url = f"as://{server.place}/models/repository"
    server.put("models", "repository/victim/1/x", b"content")
    options = ["--refresh", "600", "--engine", engine, "--log-level", "debug", "--log-file", str(log)]
    if place == "URL":
        url += f"?{sas}"
    else:
        file.touch(mode=0o600)
        file.write_text(f"{sas}\n")
        options += ["--sas-file", str(file)]
    with mounted(url, tmp_path, *options) as mount:
        for size in SIZES:
            found = (mount.path / "simple/1" / str(size)).read_bytes()
            assert hashlib.sha256(found).digest() == hashlib.sha256(random.Random(size).randbytes(size)).digest()
        assert (mount.path / "ensemble/1").is_dir()
        assert list((mount.path / "ensemble/1").iterdir()) == []
        seen = [Path("/proc/mounts").read_bytes(), mount.command("status", "--json").stdout.encode()]
        for process in mount.processes():
            seen.append(Path(f"/proc/{process}/cmdline").read_bytes())
            seen.append(Path(f"/proc/{process}/environ").read_bytes())
        assert mount.engine() == engine
        assert any(b"models/repository?***" in text for text in seen) is (place == "URL")
        server.delete("models", "repository/victim/1/x")  # so that something is refused, and told
        with pytest.raises(OSError, match="Errno"):
            (mount.path / "victim/1/x").read_bytes()
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
