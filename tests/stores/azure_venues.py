"""Azurite as a venue of the contract suite, once for each kind of credential that it takes."""

import itertools
from typing import Literal

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
