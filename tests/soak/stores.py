"""Stores that hold a repository for a scenario: three dialects of the fault server, and an emulator of each cloud.

Law: a Bucket only writes; what reads is a mount of its ``url``. Paths are those of the repository; one that ends in "/"
is a folder's marker, written as the cloud's own tools leave it.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import embedded_s3
from embedded_s3 import EmbeddedS3
from faultserver import DialectName, Fault, FaultServer, Keys, Stall
from mount.mounting_for_tests import ACCESS_KEY, SECRET_KEY
from stores.azurite import KEY, azurite
from stores.fake_gcs import FakeGcsBucket, fake_gcs_program, fake_gcs_server

LONG_AGO_NS = 1_700_000_000 * 10**9
PREFIX = "repository"
NAME = "models"


@dataclass(frozen=True, slots=True)
class Bucket:
    """A repository in a store. ``put`` and ``delete`` take paths below it.

    ``held`` is a context in which no listing is answered, so that what is written in it is seen at once; where the
    store cannot do that, listings may see a part.
    """

    url: str
    environment: Mapping[str, str]
    put: Callable[[str, bytes], None]
    delete: Callable[[str], None]
    held: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext
    options: tuple[str, ...] = ()
    server: FaultServer | None = None


def s3_url(server: FaultServer) -> str:
    """Return Triton's own form of a private S3 store's URL."""
    return f"s3://127.0.0.1:{server.port}/{NAME}/{PREFIX}"


@contextmanager
def fault_bucket(dialect: DialectName) -> Iterator[Bucket]:
    """Run the fault server in one dialect. What is put before anything was listed is old."""
    with FaultServer(dialect, keys=Keys(ACCESS_KEY, SECRET_KEY) if dialect == "s3" else None) as server:
        server.create_bucket(NAME)
        environment: dict[str, str] = {}
        url = s3_url(server)
        if dialect == "gcs":
            url, environment = f"gs://{NAME}/{PREFIX}", {"STORAGE_EMULATOR_HOST": server.url}
        elif dialect != "s3":
            url = f"as://127.0.0.1:{server.port}/account/{NAME}/{PREFIX}"

        def put(path: str, data: bytes) -> None:
            is_first = not server.requests(kind="list")
            server.put(NAME, f"{PREFIX}/{path}", data, mtime_ns=LONG_AGO_NS if is_first else None)

        @contextmanager
        def held() -> Iterator[None]:
            stall = server.fail(Fault(Stall(), kind="list"))
            try:
                yield
            finally:
                server.heal(stall)

        def delete(path: str) -> None:
            server.delete(NAME, f"{PREFIX}/{path}")

        yield Bucket(url, environment, put, delete, held, server=server)


@contextmanager
def moto_bucket() -> Iterator[Bucket]:
    """Run moto's S3."""
    with tempfile.TemporaryDirectory(prefix="modelfs-soak-") as scratch, EmbeddedS3(Path(scratch)) as store:
        environment = {
            "AWS_ACCESS_KEY_ID": embedded_s3.ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": embedded_s3.SECRET_KEY,
            "AWS_DEFAULT_REGION": embedded_s3.REGION,
        }
        with contextlib.closing(store.client()) as client:
            client.create_bucket(Bucket=NAME)

            def put(path: str, data: bytes) -> None:
                client.put_object(Bucket=NAME, Key=f"{PREFIX}/{path}", Body=data)

            def delete(path: str) -> None:
                client.delete_object(Bucket=NAME, Key=f"{PREFIX}/{path}")

            yield Bucket(f"s3://127.0.0.1:{store.port}/{NAME}/{PREFIX}", environment, put, delete)


@contextmanager
def fake_gcs_bucket() -> Iterator[Bucket]:
    """Run fake-gcs-server."""
    program = fake_gcs_program()
    if program is None:
        raise RuntimeError("there is no fake-gcs-server for this machine")
    with fake_gcs_server(program) as url:
        bucket = FakeGcsBucket(url, NAME)
        yield Bucket(
            f"gs://{NAME}/{PREFIX}",
            {"STORAGE_EMULATOR_HOST": url},
            lambda path, data: bucket.upload(f"{PREFIX}/{path}", data),
            lambda path: bucket.delete(f"{PREFIX}/{path}"),
        )


@contextmanager
def azurite_bucket() -> Iterator[Bucket]:
    """Run Azurite."""
    with tempfile.TemporaryDirectory(prefix="modelfs-soak-") as scratch, azurite(Path(scratch)) as server:
        server.create_container(NAME)

        def put(path: str, data: bytes) -> None:
            is_folder = path.endswith("/")  # as Hadoop and azcopy leave one
            metadata = {"hdi_isfolder": "true"} if is_folder else None
            server.put(NAME, f"{PREFIX}/{path.rstrip('/')}", data, metadata)

        def delete(path: str) -> None:
            server.delete(NAME, f"{PREFIX}/{path.rstrip('/')}")

        yield Bucket(f"as://{server.place}/{NAME}/{PREFIX}", {"AZURE_STORAGE_KEY": KEY}, put, delete)


STORES: dict[str, Callable[[], AbstractContextManager[Bucket]]] = {
    "S3": lambda: fault_bucket("s3"),
    "GCS": lambda: fault_bucket("gcs"),
    "Azure": lambda: fault_bucket("azure"),
    "moto": moto_bucket,
    "fake-gcs-server": fake_gcs_bucket,
    "Azurite": azurite_bucket,
}
