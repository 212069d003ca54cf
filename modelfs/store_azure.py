"""The Store of Azure: listings by ``azure_listing``, bytes by the Reader of an engine.

Law: listing and reading have the same credentials and endpoint, from one place.
"""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from modelfs.azure_listing import Container, Lister
from modelfs.azure_signing import AzureBearer, AzureSas, principal_of, secrets_of
from modelfs.blocks import ObjectInfo
from modelfs.credentials_azure import AzureAccess
from modelfs.location import Location
from modelfs.places import AzurePlace
from modelfs.store import Facts, Omissions, Page, Place, Reader, UploadPage
from modelfs.transport import Link


class AzureStore:
    """The blobs of one Azure location, behind the Store protocol. Thread-safe."""

    def __init__(
        self,
        location: Location,
        *,
        open_reader: Callable[[AzurePlace], Reader],
        access: AzureAccess,
        connect_timeout_s: float,
        stall_timeout_s: float,
        max_connections: int,
        ca_bundle: Path | None = None,
        proxy_for: Callable[[str], str | None] = lambda _url: None,
    ) -> None:
        """Connect to nothing yet. Raises UsageError for an unreadable ``ca_bundle``."""
        self.access = access
        self._omissions = Omissions()
        link = Link(
            urlsplit(access.service_url).hostname or "",
            is_secure=access.service_url.lower().startswith("https:"),
            connect_timeout_s=connect_timeout_s,
            stall_timeout_s=stall_timeout_s,
            max_connections=max_connections,
            ca_bundle=ca_bundle,
            proxy=proxy_for(access.service_url),
        )
        container = Container(f"{access.service_url}/{location.bucket}", location.prefix, location.display)
        self._lister = Lister(container, source=access.source, link=link)
        self._place = AzurePlace(location.bucket, location.prefix, location.display, access, link)
        self._reader = open_reader(self._place)

    def list_page(self, token: str | None, folder: str = "") -> Page:
        """Ask for one page; see ``Store.list_page``. Names that cannot be read are left out, with a warning."""
        return self._omissions.readable(self._lister.page(token, folder), self._reader.unreadable)

    def list_level_page(self, token: str | None, folder: str = "") -> Page:
        """Ask for one page of a folder; see ``Levelled``."""
        return self._omissions.readable(self._lister.page(token, folder, delimiter="/"), self._reader.unreadable)

    def list_uploads_page(self, token: str | None, folder: str = "") -> UploadPage:
        """Ask for one page of blobs that may have blocks and no content yet; see ``Uploading``."""
        return self._lister.uploads_page(token, folder)

    def read(self, info: ObjectInfo, offset: int, length: int) -> memoryview:
        """Return exactly ``[offset, offset + length)`` of this version; see ``Store.read``."""
        return self._reader.read(info, offset, length)

    def write_small(self, key: str, data: bytes) -> None:
        """Put one blob; see ``Writable``."""
        from modelfs.azure_writing import put  # noqa: PLC0415  what a mount never does, it need not load

        put(self._place, key, data)

    def place(self) -> Place:
        """Return what tells this repository from others; see ``Placed``."""
        prefix = f"{self._place.prefix}/" if self._place.prefix else ""
        principal = "" if self.access.source is None else principal_of(self.access.source())
        return Place(f"az {self.access.service_url.rstrip('/').lower()} {self._place.container}", prefix, principal)

    def identify(self) -> list[str]:
        """Return what a listing depends on; see ``Shareable``."""
        place = self._place
        credential = self.access.source() if self.access.source is not None else None
        secrets = [] if credential is None else secrets_of(credential)
        return ["azure", self.access.service_url, place.container, place.prefix, self._reader.name, *secrets]

    def facts(self) -> Facts:
        """Return what is known now; see ``Telling``."""
        access = self.access
        credential = access.source() if access.source is not None else None  # raises where there is no token
        expires_at_s = credential.expires_at if isinstance(credential, AzureSas | AzureBearer) else None
        renews = isinstance(credential, AzureBearer)
        return Facts(
            access.service_url, access.kind, expires_at_s=expires_at_s, renews=renews, engine=self._reader.name
        )
