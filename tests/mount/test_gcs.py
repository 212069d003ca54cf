"""A real mount of Google Cloud Storage: to the byte, with tokens that are renewed, and anonymously on an emulator."""

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from faultserver import Bearer, Fault, FaultServer, Stamped, Status, TotalRate
from google_stub import GoogleStub, private_key, service_account
from mount.mounting_for_tests import mounted, wait_until

SIZES = (0, 1, 4097, 20_000_001)


@pytest.fixture
def stub() -> Iterator[GoogleStub]:
    with GoogleStub() as stub:
        yield stub


def write(path: Path, content: object) -> None:
    """Replace a file at once, as those who rotate keys do."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(json.dumps(content))
    new.chmod(0o600)
    new.rename(path)


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


def test_key_file_that_is_replaced_in_mid_read_does_not_disturb_it(stub: GoogleStub, tmp_path: Path) -> None:
    content, keys, key_file = Stamped("x", "v1", 60_000_000), Bearer("token-1"), tmp_path / "key.json"
    write(key_file, service_account(stub, private_key()))
    write(tmp_path / "triton.json", {"gs": {"": "absent.json", "gs://models": str(key_file)}})
    with FaultServer("gcs", keys=keys) as server:
        server.put("models", "repository/m/1/x", content)
        given = {"TRITON_CLOUD_CREDENTIAL_PATH": str(tmp_path / "triton.json")}
        options = ("--endpoint-url", server.url, "--memory", "16M")
        with mounted("gs://models/repository", tmp_path, *options, **given) as mount:
            server.fail(Fault(TotalRate(60e6), kind="get"))
            data = bytearray()
            with (mount.path / "m" / "1" / "x").open("rb", buffering=0) as file:
                while chunk := file.read(1 << 20):
                    data += chunk
                    if len(data) == 8 << 20:
                        keys.tokens = {"token-2"}
                        renewed = service_account(stub, private_key())
                        threading.Timer(1, write, [key_file, renewed]).start()  # a little later, as it does
            assert bytes(data) == content.read(0, content.size)
            assert [each for each in server.requests(kind="get") if each.status == 401]


@pytest.mark.parametrize("engine", ["obstore", "fsspec"])
def test_neither_key_nor_token_is_told_anywhere(stub: GoogleStub, tmp_path: Path, engine: str) -> None:
    pem, stub.prefix, log = private_key(), "MARKtoken-", tmp_path / "debug.log"
    marks = [b"MARKtoken", b"PRIVATE KEY", *(line.encode() for line in pem.splitlines()[1:-2])]
    write(tmp_path / "key.json", service_account(stub, pem))
    with FaultServer("gcs", keys=Bearer("MARKtoken-1")) as server:
        fill(server)
        server.put("models", "repository/m/1/large", Stamped("large", "v1", 60_000_000))
        options = ["--endpoint-url", server.url, "--engine", engine, "--log-level", "debug", "--log-file", str(log)]
        options += ["--read-deadline", "2"]
        given = {"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "key.json")}
        with mounted("gs://models/repository", tmp_path, *options, **given) as mount:
            check(mount.path)
            large = mount.path / "m" / "1" / "large"
            for offset, status in ((20_000_000, 401), (40_000_000, 500)):
                fault = server.fail(Fault(Status(status)))
                with pytest.raises(OSError, match="Errno"), large.open("rb", buffering=0) as file:
                    os.pread(file.fileno(), 4096, offset)
                assert fault.hits
                server.heal(fault)
            assert mount.engine() == engine
            told = mount.command("status", "--json")
            seen = [told.stdout.encode(), told.stderr.encode(), Path("/proc/mounts").read_bytes(), log.read_bytes()]
            for pid in mount.processes():
                seen += [Path(f"/proc/{pid}/cmdline").read_bytes(), Path(f"/proc/{pid}/environ").read_bytes()]
            seen += [path.read_bytes() for path in tmp_path.glob("run/**/*") if path.is_file()]
        assert b"m/1/large" in b"".join(seen), "the marks were looked for in the wrong place"
        for mark in marks:
            assert not any(mark in each for each in seen), mark


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
