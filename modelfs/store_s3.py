"""The Store of S3: listings by ``s3_listing``, bytes by the Reader of an engine, and both in the bucket's own region.

Law: listing and reading have the same credentials, endpoint and headers, from one place.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from modelfs import s3_address
from modelfs.blocks import ObjectInfo
from modelfs.credentials import KeySource, principal_of
from modelfs.location import Location
from modelfs.places import S3Place
from modelfs.s3_address import Where
from modelfs.s3_errors import WrongRegionError
from modelfs.s3_listing import Bucket, Lister
from modelfs.spans import Cut
from modelfs.store import Facts, Omissions, Page, Place, Reader, UploadPage
from modelfs.transport import Link

log = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_REGION = "us-east-1"
"""What private stores take, and where AWS tells of the bucket's own region."""


class S3Store:
    """The objects of one S3 location, behind the Store protocol. Thread-safe."""

    def __init__(
        self,
        location: Location,
        *,
        open_reader: Callable[[S3Place], Reader],
        where: Where,
        region: str | None,
        keys: KeySource | None,
        connect_timeout_s: float,
        stall_timeout_s: float,
        max_connections: int,
        ca_bundle: Path | None = None,
        proxy_for: Callable[[str], str | None] = lambda _url: None,
        request_payer: bool = False,
        expected_bucket_owner: str | None = None,
    ) -> None:
        """Connect to nothing yet. ``keys`` None is anonymous; ``region`` None asks the store for it.

        Raises UsageError for an unreadable ``ca_bundle``, and for a bucket that has no address.
        """
        self._location = location
        self._open_reader = open_reader
        self._where = where
        self._follows_region = region is None
        self._keys = keys
        self._connect_timeout_s = connect_timeout_s
        self._stall_timeout_s = stall_timeout_s
        self._max_connections = max_connections
        self._ca_bundle = ca_bundle
        self._proxy_for = proxy_for
        self._headers = {"x-amz-request-payer": "requester"} if request_payer else {}
        if expected_bucket_owner is not None:
            self._headers["x-amz-expected-bucket-owner"] = expected_bucket_owner
        self._omissions = Omissions()
        self._connect(region or FIRST_REGION)

    def _connect(self, region: str) -> None:
        """Have requests go to ``region`` from now on."""
        location = self._location
        address = s3_address.resolve(location.bucket, region, self._where)
        link = Link(
            address.host,
            is_secure=address.is_secure,
            connect_timeout_s=self._connect_timeout_s,
            stall_timeout_s=self._stall_timeout_s,
            max_connections=self._max_connections,
            ca_bundle=self._ca_bundle,
            proxy=self._proxy_for(address.url),
            headers=self._headers,
        )
        self._bucket, self._link = Bucket(address.url, region, location.prefix, location.display), link
        self._lister = Lister(self._bucket, keys=self._keys, link=link)
        self._reader = self._open_reader(
            S3Place(location.bucket, location.prefix, location.display, region, address, self._keys, link)
        )
        self.region, self.endpoint = region, address.endpoint

    def list_page(self, token: str | None, folder: str = "") -> Page:
        """Ask for one page; see ``Store.list_page``. Keys that cannot be read are left out, with a warning.

        Where no region was given, the one that the store names is used from then on: one request more, once.
        """
        return self._page(lambda lister: lister.page(token, folder))

    def list_span_page(self, token: str | None, begin: Cut | None, end: Cut | None) -> Page:
        """Ask for one page of a span; see ``Splittable``."""
        return self._page(lambda lister: lister.page(token, begin=begin, end=end))

    def list_level_page(self, token: str | None, folder: str = "") -> Page:
        """Ask for one page of a folder; see ``Levelled``."""
        return self._page(lambda lister: lister.page(token, folder, delimiter="/"))

    def list_uploads_page(self, token: str | None, folder: str = "") -> UploadPage:
        """Ask for one page of uploads; see ``Uploading``."""
        return self._in_region(lambda lister: lister.uploads_page(token, folder))

    def _page(self, ask: Callable[[Lister], Page]) -> Page:
        return self._omissions.readable(self._in_region(ask), self._reader.unreadable)

    def _in_region(self, ask: Callable[[Lister], T]) -> T:
        try:
            return ask(self._lister)
        except WrongRegionError as error:
            if not self._follows_region or error.region in ("", self.region):
                raise
            log.info("the bucket is in another region display=%s region=%s", self._location.display, error.region)
            self._connect(error.region)
            return ask(self._lister)

    def read(self, info: ObjectInfo, offset: int, length: int) -> memoryview:
        """Return exactly ``[offset, offset + length)`` of this version; see ``Store.read``."""
        return self._reader.read(info, offset, length)

    def write_small(self, key: str, data: bytes) -> None:
        """Put one object; see ``Writable``. The bucket's own region is known once it was listed."""
        from modelfs.s3_writing import put  # noqa: PLC0415  what a mount never does, it need not load

        put(self._bucket, key, data, keys=self._keys, link=self._link)

    def place(self) -> Place:
        """Return what tells this repository from others; see ``Placed``. The region is no part of it."""
        endpoint = self._where.endpoint_url or "aws"
        prefix = f"{self._location.prefix}/" if self._location.prefix else ""
        principal = "" if self._keys is None else principal_of(self._keys)
        return Place(f"s3 {endpoint.rstrip('/').lower()} {self._location.bucket}", prefix, principal)

    def identify(self) -> list[str]:
        """Return what a listing depends on; see ``Shareable``."""
        keys = None if self._keys is None else self._keys()
        secrets = [] if keys is None else [keys.access_key_id, keys.secret_access_key, keys.session_token or ""]
        headers = [f"{name}: {value}" for name, value in sorted(self._headers.items())]
        return ["s3", self._bucket.url, self.region, self._bucket.prefix, self._reader.name, *headers, *secrets]

    def facts(self) -> Facts:
        """Return what is known now; see ``Telling``."""
        keys = None if self._keys is None else self._keys()
        expires_at = keys.expires_at if keys else None
        return Facts(
            endpoint=self.endpoint,
            identity="none: requests are not signed" if keys is None else keys.origin,
            region=self.region,
            expires_at_s=None if expires_at is None else expires_at.timestamp(),
            renews=True,  # all sources that tell an end do
            engine=self._reader.name,
        )
