"""Places that only fsspec knows, and that cannot be pinned: a web server, and fsspec's own files in memory."""

import fsspec
from stores.venues import ENVIRONMENT
from web_server import WebServer

from modelfs.engines import open_store
from modelfs.location import parse
from modelfs.store import Store


def open_unpinned(url: str, *, stall_timeout_s: float = 10, ca_bundle: str | None = None) -> Store:
    """Open a store as the worker does, with the flags that it takes."""
    return open_store(
        parse(url),
        engine="fsspec",
        allow_unpinned=True,
        region=None,
        connect_timeout_s=1,
        stall_timeout_s=stall_timeout_s,
        max_connections=8,
        environment=ENVIRONMENT,
        ca_bundle=ca_bundle,
    )


class WebVenue:
    """A web server."""

    def __init__(self, server: WebServer) -> None:
        self.server = server
        self.store = self.at("repo")
        server.put("/repo/", b"")
        for key in ("repo-2/x", "other"):
            server.put(f"/{key}", b"beside")

    def put(self, key: str, data: bytes) -> None:
        self.server.put(f"/repo/{key}", data)

    def delete(self, key: str) -> None:
        self.server.delete(f"/repo/{key}")

    def at(self, prefix: str) -> Store:
        return open_unpinned(f"{self.server.url}/{prefix.replace(' ', '%20')}")

    def nowhere(self) -> Store:
        return open_unpinned(f"{self.server.url}/no-such-folder")


class FsspecMemoryVenue:
    """fsspec's memory://, below a folder of the test's own: the process has one for all."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._fs = fsspec.filesystem("memory")
        self.store = self.at("repo")
        self._fs.makedirs(f"/{folder}/repo")
        for key in ("repo-2/x", "other"):
            self._fs.pipe_file(f"/{folder}/{key}", b"beside")

    def put(self, key: str, data: bytes) -> None:
        path = f"/{self._folder}/repo/{key}"
        if key.endswith("/"):
            self._fs.makedirs(path)
        else:
            self._fs.pipe_file(path, data)

    def delete(self, key: str) -> None:
        self._fs.rm_file(f"/{self._folder}/repo/{key}")

    def at(self, prefix: str) -> Store:
        return open_unpinned(f"memory://{self._folder}/{prefix}")

    def nowhere(self) -> Store:
        return open_unpinned(f"memory://{self._folder}/no-such-folder")
