"""Azurite, Microsoft's own emulator of Azure's blobs, and what its users make beside it: SAS tokens.

Law: it runs on a free port of loopback, keeps everything in memory and ends with its context. What signs here is not
what modelfs signs with, but for the one line of HMAC: two readings of the specification check each other.
"""

import base64
import contextlib
import hashlib
import hmac
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
import urllib3

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The account and key of every emulator, from Azure's documentation."""

_PROGRAM = Path(__file__).resolve().parents[2] / ".cache/azurite/node_modules/azurite/dist/src/blob/main.js"
_VERSION = "2022-11-02"
_PATIENCE_S = 60.0
_BLOCK = "YmxvY2sx"  # block1


@dataclass(frozen=True, slots=True)
class Azurite:
    """A running Azurite. ``url`` is its address without the account."""

    url: str

    @property
    def service_url(self) -> str:
        """Return the address of the account's blobs."""
        return f"{self.url}/{ACCOUNT}"

    @property
    def place(self) -> str:
        """Return what stands after as:// for this account."""
        return self.service_url.removeprefix("http://")

    @property
    def port(self) -> int:
        """Return its port."""
        return int(self.url.rpartition(":")[2])

    @property
    def connection_string(self) -> str:
        """Return it as Azure's portal shows it."""
        return f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={self.service_url};"

    def create_container(self, name: str, *, public: bool = False) -> None:
        """Make a container. A public one may be read and listed by everybody."""
        headers = {"x-ms-blob-public-access": "container"} if public else {}
        self._send("PUT", f"{name}?restype=container", headers, b"")

    def put(
        self,
        container: str,
        name: str,
        data: bytes,
        metadata: Mapping[str, str] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Store a blob, over what was there."""
        sent = {"x-ms-blob-type": "BlockBlob", **(headers or {})}
        sent |= {f"x-ms-meta-{key}": value for key, value in (metadata or {}).items()}
        self._send("PUT", f"{container}/{quote(name, safe='/')}", sent, data)

    def put_block(self, container: str, name: str, data: bytes) -> None:
        """Upload a block of a blob, which is none before it is committed."""
        self._send("PUT", f"{container}/{quote(name, safe='/')}?comp=block&blockid={_BLOCK}", {}, data)

    def commit(self, container: str, name: str) -> None:
        """Have the block be the blob."""
        document = f'<?xml version="1.0" encoding="utf-8"?><BlockList><Latest>{_BLOCK}</Latest></BlockList>'
        self._send("PUT", f"{container}/{quote(name, safe='/')}?comp=blocklist", {}, document.encode())

    def delete(self, container: str, name: str) -> None:
        """Remove a blob."""
        self._send("DELETE", f"{container}/{quote(name, safe='/')}", {}, b"")

    def _send(self, method: str, path: str, headers: Mapping[str, str], data: bytes) -> None:
        url = f"{self.service_url}/{path}{'&' if '?' in path else '?'}{account_sas('rwdlac')}"
        sent = {**headers, "x-ms-version": _VERSION}
        reply = _pool.request(method, url, headers=sent, body=data, retries=False, timeout=_PATIENCE_S)
        assert reply.status in {200, 201, 202}, reply.data


_pool = urllib3.PoolManager(maxsize=8)


@contextlib.contextmanager
def azurite(folder: Path, *options: str, port: int = 0, key: str = KEY, keeps: bool = False) -> Iterator[Azurite]:
    """Run Azurite with ``folder`` for what it writes, or skip the test where there is none.

    What it ``keeps`` there is served by the next one on that folder, with the same ETags, also to another ``key``.
    """
    node = shutil.which("node")
    if node is None or not _PROGRAM.is_file():
        pytest.skip("there is no Azurite here: packaging/setup.sh test installs it, with node")
    command = [node, str(_PROGRAM), "--blobPort", str(port), "--silent"]
    command += ["--location", str(folder)] if keeps else ["--inMemoryPersistence"]
    process: subprocess.Popen[str] = subprocess.Popen(
        [*command, *options],
        cwd=folder,
        env={**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{key}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield Azurite(_address(process))
    finally:
        process.terminate()
        process.communicate(timeout=_PATIENCE_S)


def _address(process: Any) -> str:
    said = []
    for line in process.stdout:  # ends when the process does
        said.append(line)
        if found := re.search(r"successfully listens on (https?://\S+)", line):
            return found[1]
    pytest.fail("Azurite does not start: " + "".join(said))


def account_sas(permissions: str = "rl", *, ends: str = "", types: str = "co") -> str:
    """Return a SAS of the account, as ``az storage account generate-sas`` prints it."""
    fields = {"sp": permissions, "ss": "b", "srt": types, "st": "", "se": ends or _in_a_month(), "sip": "", "spr": ""}
    text = "\n".join([ACCOUNT, *fields.values(), _VERSION, "", ""])
    return _token({**fields, "sv": _VERSION}, text)


def container_sas(container: str, permissions: str = "rl", *, ends: str = "") -> str:
    """Return a SAS of a container, as ``az storage container generate-sas`` prints it."""
    fields = {"sp": permissions, "st": "", "se": ends or _in_a_month()}
    canonical = f"/blob/{ACCOUNT}/{container}"
    text = "\n".join([*fields.values(), canonical, "", "", "", _VERSION, "c", "", "", "", "", "", "", ""])
    return _token({**fields, "sv": _VERSION, "sr": "c"}, text)


def _token(fields: Mapping[str, str], text: str) -> str:
    signature = base64.b64encode(hmac.digest(base64.b64decode(KEY), text.encode(), hashlib.sha256)).decode()
    return urlencode({**{name: value for name, value in fields.items() if value}, "sig": signature})


def _in_a_month() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 30 * 86_400))
