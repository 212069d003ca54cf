"""Azure as places of the contract suite: Azurite, once for each kind of credential that it takes, and the fault server.

The latter has a hierarchical namespace, which Azurite lacks, and gives its listings in no order.
"""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Literal

import pytest
from faultserver import FaultServer
from stores.azurite import ACCOUNT, KEY, Azurite, account_sas, container_sas
from stores.venues import open_url

from modelfs.store import Store

Kind = Literal["key", "account SAS", "container SAS", "connection string"]
KINDS: tuple[Kind, ...] = ("key", "account SAS", "container SAS", "connection string")
"""A user-delegation SAS cannot be had: Azurite signs none, since it has no Entra ID behind it."""

_numbers = itertools.count()


class AzuriteVenue:
    """A new container of Azurite."""

    def __init__(self, server: Azurite, kind: Kind) -> None:
        self.server = server
        self.container = f"container-{next(_numbers)}"
        self._kind = kind
        server.create_container(self.container)
        for key in ("repo-2/x", "other"):
            server.put(self.container, key, b"beside")
        self.store = self.at("repo")

    def put(self, key: str, data: bytes) -> None:
        self.server.put(self.container, f"repo/{key}", data)

    def delete(self, key: str) -> None:
        self.server.delete(self.container, f"repo/{key}")

    def begin_upload(self, key: str) -> Callable[[bytes | None], None]:
        key = f"repo/{key}"
        self.server.put_block(self.container, key, b"block")

        def end(data: bytes | None) -> None:
            if data is None:
                pytest.skip("nobody can take back blocks: they go after a week")
            self.server.put_block(self.container, key, data)
            self.server.commit(self.container, key)

        return end

    def at(self, prefix: str) -> Store:
        return self._open(self.container, prefix)

    def nowhere(self) -> Store:
        return self._open("no-such-container", "repo")

    def _open(self, container: str, prefix: str) -> Store:
        if self._kind == "connection string":
            environment = {"AZURE_STORAGE_CONNECTION_STRING": self.server.connection_string}
            return open_url(f"as://{ACCOUNT}/{container}/{prefix}", environment=environment)
        url = f"as://{self.server.place}/{container}/{prefix}"
        if self._kind == "key":
            return open_url(url, environment={"AZURE_STORAGE_KEY": KEY})
        sas = account_sas() if self._kind == "account SAS" else container_sas(container)
        return open_url(f"{url}?{sas}", environment={})


class AzureFaultVenue:
    """The fault server in Azure's dialect, which wants no credentials here."""

    def __init__(self, server: FaultServer) -> None:
        self.server = server
        self.store = self.at("repo")
        server.create_bucket("bkt")
        for key in ("repo-2/x", "other"):
            server.put("bkt", key, b"beside")

    def put(self, key: str, data: bytes) -> None:
        self.server.put("bkt", f"repo/{key}", data)

    def delete(self, key: str) -> None:
        self.server.delete("bkt", f"repo/{key}")

    def begin_upload(self, key: str) -> Callable[[bytes | None], None]:
        key = f"repo/{key}"
        return partial(self.server.end_upload, "bkt", key, self.server.begin_upload("bkt", key))

    def at(self, prefix: str) -> Store:
        return open_url(f"as://127.0.0.1:{self.server.port}/account/bkt/{prefix}", environment={})

    def nowhere(self) -> Store:
        return open_url(f"as://127.0.0.1:{self.server.port}/account/no-such-bucket/repo", environment={})
