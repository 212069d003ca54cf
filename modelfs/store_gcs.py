"""The Store of Google Cloud Storage: listings by ``gcs_listing``, bytes by the Reader of an engine.

Law: listing and reading have the same tokens, endpoint and headers, from one place. A token travels encrypted, but on
loopback.
"""

import ipaddress
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from modelfs.blocks import ObjectInfo
from modelfs.errors import UsageError
from modelfs.gcs_listing import Bucket, Lister
from modelfs.gcs_tokens import Tokens
from modelfs.location import Location
from modelfs.places import GCSPlace
from modelfs.spans import Cut
from modelfs.store import Facts, Omissions, Page, Place, Reader
from modelfs.transport import Link


class GCSStore:
    """The objects of one GCS location, behind the Store protocol. Thread-safe."""

    def __init__(
        self,
        location: Location,
        *,
        open_reader: Callable[[GCSPlace], Reader],
        endpoint: str,
        tokens: Tokens | None,
        billing_project: str | None,
        connect_timeout_s: float,
        stall_timeout_s: float,
        max_connections: int,
        ca_bundle: Path | None = None,
        proxy_for: Callable[[str], str | None] = lambda _url: None,
    ) -> None:
        """Connect to nothing yet. ``tokens`` None is anonymous.

        Raises UsageError for an unreadable ``ca_bundle``, and for a token that would travel without encryption.
        """
        self._tokens = tokens
        self._omissions = Omissions()
        scheme, _, rest = endpoint.partition("://")
        self._endpoint = endpoint = f"{scheme.lower()}://{rest}"
        host, is_secure = urlsplit(endpoint).hostname or "", endpoint.startswith("https:")
        if tokens is not None and not is_secure and not _is_loopback(host):
            raise UsageError(f"a token would go to {endpoint} without encryption: write https://, or --no-sign-request")
        link = Link(
            host,
            is_secure=is_secure,
            connect_timeout_s=connect_timeout_s,
            stall_timeout_s=stall_timeout_s,
            max_connections=max_connections,
            ca_bundle=ca_bundle,
            proxy=proxy_for(endpoint),
            headers={"x-goog-user-project": billing_project} if billing_project else {},
        )
        bucket = Bucket(endpoint, location.bucket, location.prefix, location.display)
        self._lister = Lister(bucket, tokens=tokens, link=link)
        self._place = GCSPlace(location.bucket, location.prefix, location.display, endpoint, tokens, link)
        self._reader = open_reader(self._place)

    def list_page(self, token: str | None, folder: str = "") -> Page:
        """Ask for one page; see ``Store.list_page``. Keys that cannot be read are left out, with a warning."""
        return self._omissions.readable(self._lister.page(token, folder), self._reader.unreadable)

    def list_span_page(self, token: str | None, begin: Cut | None, end: Cut | None) -> Page:
        """Ask for one page of a span; see ``Splittable``."""
        return self._omissions.readable(self._lister.page(token, begin=begin, end=end), self._reader.unreadable)

    def list_level_page(self, token: str | None, folder: str = "") -> Page:
        """Ask for one page of a folder; see ``Levelled``."""
        return self._omissions.readable(self._lister.page(token, folder, delimiter="/"), self._reader.unreadable)

    def read(self, info: ObjectInfo, offset: int, length: int) -> memoryview:
        """Return exactly ``[offset, offset + length)`` of this generation; see ``Store.read``."""
        return self._reader.read(info, offset, length)

    def write_small(self, key: str, data: bytes) -> None:
        """Put one object; see ``Writable``."""
        from modelfs.gcs_writing import put  # noqa: PLC0415  what a mount never does, it need not load

        put(self._place, key, data)

    def place(self) -> Place:
        """Return what tells this repository from others; see ``Placed``."""
        prefix = f"{self._place.prefix}/" if self._place.prefix else ""
        principal = "" if self._tokens is None else self._tokens.principal()
        return Place(f"gs {self._endpoint.rstrip('/')} {self._place.bucket}", prefix, principal)

    def identify(self) -> list[str]:
        """Return what a listing depends on; see ``Shareable``."""
        place, token = self._place, None if self._tokens is None else self._tokens()
        headers = [f"{name}: {value}" for name, value in sorted(place.link.headers.items())]
        secrets = [] if token is None else [token.principal or token.value]
        return ["gcs", self._endpoint, place.bucket, place.prefix, self._reader.name, *headers, *secrets]

    def facts(self) -> Facts:
        """Return what is known now; see ``Telling``."""
        if self._tokens is None:
            return Facts(self._endpoint, "none: requests are anonymous", engine=self._reader.name)
        token = self._tokens()
        expires_at_s = token.expires_at_s
        return Facts(self._endpoint, token.origin, expires_at_s=expires_at_s, renews=True, engine=self._reader.name)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
