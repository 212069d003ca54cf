"""Google Cloud Storage as places of the contract suite: the fault server's dialect, and fake-gcs-server.

The first wants a token, had from a stub of the metadata server; the second wants none.
"""

from collections.abc import Mapping

from faultserver import FaultServer
from google_stub import GoogleStub
from stores.fake_gcs import FakeGcsBucket
from stores.venues import engine_of_now

from modelfs.engines import open_store
from modelfs.location import parse
from modelfs.store import Store

NOBODY = {"HOME": "/nonexistent", "NO_GCE_CHECK": "true"}
"""An environment without Google's credentials."""


def open_gcs(
    url: str, *, environment: Mapping[str, str], endpoint_url: str | None = None, stall_timeout_s: float = 10
) -> Store:
    """Open a store as the worker does, with the engine of now."""
    return open_store(
        parse(url),
        engine=engine_of_now.get(),
        region=None,
        connect_timeout_s=1,
        stall_timeout_s=stall_timeout_s,
        max_connections=8,
        environment=environment,
        endpoint_url=endpoint_url,
    )


class GcsFaultVenue:
    """The fault server, which checks the token."""

    def __init__(self, server: FaultServer, stub: GoogleStub) -> None:
        self.server = server
        self.environment = {"HOME": "/nonexistent", "GCE_METADATA_HOST": stub.host}
        self.store = self.at("repo")
        server.create_bucket("bkt")
        for key in ("repo-2/x", "other"):
            server.put("bkt", key, b"beside")

    def put(self, key: str, data: bytes) -> None:
        self.server.put("bkt", f"repo/{key}", data)

    def delete(self, key: str) -> None:
        self.server.delete("bkt", f"repo/{key}")

    def at(self, prefix: str) -> Store:
        return open_gcs(f"gs://bkt/{prefix}", environment=self.environment, endpoint_url=self.server.url)

    def nowhere(self) -> Store:
        return open_gcs("gs://no-such-bucket/repo", environment=self.environment, endpoint_url=self.server.url)


class FakeGcsVenue:
    """A bucket of fake-gcs-server."""

    def __init__(self, url: str, bucket: str) -> None:
        self._environment = {**NOBODY, "STORAGE_EMULATOR_HOST": url}
        self._bucket = FakeGcsBucket(url, bucket)
        for key in ("repo-2/x", "other"):
            self._bucket.upload(key, b"beside")
        self.store = self.at("repo")

    def put(self, key: str, data: bytes) -> None:
        self._bucket.upload(f"repo/{key}", data)

    def delete(self, key: str) -> None:
        self._bucket.delete(f"repo/{key}")

    def at(self, prefix: str) -> Store:
        return open_gcs(f"gs://{self._bucket.name}/{prefix}", environment=self._environment)

    def nowhere(self) -> Store:
        return open_gcs("gs://no-such-bucket/repo", environment=self._environment)
