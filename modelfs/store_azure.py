"""The obstore engine for Azure: pinned, ranged reads by obstore, listings by ``azure_listing``.

Law: a read is the bytes of one version or an error. The version is sent as ``If-Match``, and the answer's own ETag and
size are compared as well. As in ``store_s3``, each setting that obstore would take from the process's environment
(AZURE_STORAGE_USE_EMULATOR, AZURE_SKIP_SIGNATURE …) and that matters is set here.

Names that obstore cannot ask for (control characters, no UTF-8) are left out of listings, with a warning for each.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import obstore
import obstore.store

from modelfs.azure_errors import OBSTORE_ERRORS, from_obstore
from modelfs.azure_listing import Container, Lister, complaint
from modelfs.azure_signing import AzureCredential, AzureKey, AzureSas
from modelfs.blocks import ObjectInfo
from modelfs.credentials_azure import AzureAccess
from modelfs.errors import CorruptAnswerError, UsageError, VersionGoneError
from modelfs.location import Location
from modelfs.obstore_client import client_options
from modelfs.store import Facts, Omissions, Page

if TYPE_CHECKING:
    from obstore.store import AzureConfig, ClientConfig
    from obstore.store import AzureCredential as ObstoreCredential

_UNREADABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_NO_ACCOUNT = "account"  # obstore wants one also where only a shared key needs it


class AzureStore:
    """The blobs of one Azure location, behind the Store protocol. Thread-safe."""

    def __init__(
        self,
        location: Location,
        *,
        access: AzureAccess,
        connect_timeout_s: float,
        stall_timeout_s: float,
        max_connections: int,
        ca_bundle: Path | None = None,
        proxy_for: Callable[[str], str | None] = lambda _url: None,
    ) -> None:
        """Connect to nothing yet. Raises UsageError for an unreadable ``ca_bundle``."""
        self._location = location
        self._display = location.display
        self._prefix = f"{location.prefix}/" if location.prefix else ""
        self.access = access
        self._omissions = Omissions()
        secure = access.service_url.lower().startswith("https:")
        proxy = proxy_for(access.service_url)
        self._lister = Lister(
            Container(f"{access.service_url}/{location.bucket}", location.prefix, location.display),
            source=access.source,
            connect_timeout_s=connect_timeout_s,
            stall_timeout_s=stall_timeout_s,
            ca_bundle=ca_bundle if secure else None,
            proxy=proxy,
        )
        client = client_options(
            host=urlsplit(access.service_url).hostname or "",
            secure=secure,
            connect_timeout_s=connect_timeout_s,
            stall_timeout_s=stall_timeout_s,
            max_connections=max_connections,
            ca_bundle=ca_bundle if secure else None,
            proxy=proxy,
            headers={},
        )
        self._client = self._open_client(client)

    def _open_client(self, client: "ClientConfig") -> obstore.store.AzureStore:
        config: AzureConfig = {
            "account_name": self.access.account or _NO_ACCOUNT,
            "endpoint": self.access.service_url,
            "skip_signature": self.access.source is None,
            "use_emulator": False,
            "use_fabric_endpoint": False,
            "use_azure_cli": False,
            "credential_type": "auto",
        }
        try:
            return obstore.store.AzureStore(
                self._location.bucket,
                config=config,
                client_options=client,
                retry_config={"max_retries": 0},
                credential_provider=None if self.access.source is None else self._credential,
            )
        except OBSTORE_ERRORS:
            raise UsageError(
                f"obstore cannot be set up for {self._display}; if this machine has no certificate authorities, "
                "install ca-certificates or name a file with --ca-bundle"
            ) from None  # a proxy's password may be in the text

    def list_page(self, token: str | None) -> Page:
        """Ask for one page; see ``Store.list_page``. Names that cannot be read are left out, with a warning."""
        page = self._lister.page(token)
        readable = [info for info in page.objects if not _UNREADABLE.search(info.key)]
        if len(readable) < len(page.objects):
            for info in page.objects:
                if _UNREADABLE.search(info.key):
                    self._omissions.tell(info.key, "its key has a control character or is not valid UTF-8")
        return Page(readable, page.next_token)

    def read(self, info: ObjectInfo, offset: int, length: int) -> memoryview:
        """Return exactly ``[offset, offset + length)`` of this version; see ``Store.read``."""
        what = f"cannot read {info.key!r} of {self._display}"
        # an error of the credentials comes out as ours here; through obstore it would be a text
        credential = None if self.access.source is None else self.access.source()
        try:
            answer = obstore.get(
                self._client,
                self._prefix + info.key,
                options={"range": (offset, offset + length), "if_match": info.version},
            )
            meta = answer.meta
            if meta["e_tag"] != info.version or meta["size"] != info.size:
                raise VersionGoneError(f"{what}: this version was replaced")
            buffer = memoryview(answer.bytes())
        except OBSTORE_ERRORS as error:
            ours = from_obstore(error, what=what, complaint=complaint(credential))
            # the URL is in the text, and with it the SAS
            raise ours from None
        if len(buffer) != length:
            raise CorruptAnswerError(f"{what}: the store gave {len(buffer)} bytes for {length}")
        return buffer

    def facts(self) -> Facts:
        """Return what is known now; see ``Telling``."""
        if self.access.source is not None:
            self.access.source()  # raises where there is no token
        return Facts(self.access.service_url, self.access.kind, expires_at_s=self.access.expires_at)

    def _credential(self) -> "ObstoreCredential":
        """Give obstore the credential of now. Expired at once, so that it asks again for its next request."""
        assert self.access.source is not None  # noqa: S101  obstore is given this method only with a source
        return _for_obstore(self.access.source())


def _for_obstore(credential: AzureCredential) -> "ObstoreCredential":
    now = datetime.now(UTC)
    if isinstance(credential, AzureKey):
        return {"access_key": credential.key, "expires_at": now}
    if isinstance(credential, AzureSas):
        return {"sas_token": credential.token, "expires_at": now}
    return {"token": credential.token, "expires_at": now}
