"""The obstore engine for S3: pinned, ranged reads by obstore, listings by ``s3_listing``.

Law: a read is the bytes of one version or an error. The version is sent as ``If-Match``, and the answer's own ETag and
size are compared as well, so that a store that ignores ``If-Match`` cannot mix two uploads.

obstore (Rust) releases the GIL and gives its buffer away without a copy. Its own retries are off. It takes settings
from the process's environment (AWS_ENDPOINT_URL_S3, AWS_SKIP_SIGNATURE …), so each that matters is set here and in
``obstore_client``; seen to hold with those variables pointing nowhere.

It cannot ask for a key with an ASCII control character, nor send one that is no UTF-8. Such keys are left out of
listings, with a warning for each. Keys with empty, "." or ".." segments cannot be asked for either, but are listed as
they are: the tree hides them by its own rule, so they are never read.
"""

import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
import obstore.store

from modelfs import s3_address
from modelfs.blocks import ObjectInfo
from modelfs.credentials import KeySource
from modelfs.errors import CorruptAnswerError, UsageError, VersionGoneError
from modelfs.http_errors import OBSTORE_ERRORS
from modelfs.location import Location
from modelfs.obstore_client import client_options
from modelfs.s3_address import Address, Where
from modelfs.s3_errors import WrongRegionError, from_obstore
from modelfs.s3_listing import Bucket, Lister, quoted
from modelfs.store import Facts, Omissions, Page

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Config, S3Credential

log = logging.getLogger(__name__)

FIRST_REGION = "us-east-1"
"""What private stores take, and where AWS tells of the bucket's own region."""

_UNREADABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class S3Store:
    """The objects of one S3 location, behind the Store protocol. Thread-safe."""

    def __init__(
        self,
        location: Location,
        *,
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
        self._display = location.display
        self._prefix = f"{location.prefix}/" if location.prefix else ""
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
        address = s3_address.resolve(self._location.bucket, region, self._where)
        proxy = self._proxy_for(address.url)
        ca_bundle = self._ca_bundle if address.is_secure else None
        self._lister = Lister(
            Bucket(address.url, region, self._location.prefix, self._display),
            keys=self._keys,
            connect_timeout_s=self._connect_timeout_s,
            stall_timeout_s=self._stall_timeout_s,
            ca_bundle=ca_bundle,
            proxy=proxy,
            headers=self._headers,
        )
        client = client_options(
            host=address.host,
            secure=address.is_secure,
            connect_timeout_s=self._connect_timeout_s,
            stall_timeout_s=self._stall_timeout_s,
            max_connections=self._max_connections,
            ca_bundle=ca_bundle,
            proxy=proxy,
            headers=self._headers,
        )
        self._client = self._open_client(address, region, client)
        self.region, self.endpoint = region, address.endpoint

    def _open_client(self, address: Address, region: str, client: "ClientConfig") -> obstore.store.S3Store:
        config: S3Config = {
            "endpoint": address.endpoint,
            "aws_endpoint_url_s3": address.endpoint,
            "region": region,
            "virtual_hosted_style_request": address.is_host_style,
            "skip_signature": self._keys is None,
            "s3_express": False,
            "request_payer": False,  # it is among the headers of every request
        }
        try:
            return obstore.store.S3Store(
                self._location.bucket,
                config=config,
                client_options=client,
                retry_config={"max_retries": 0},
                credential_provider=None if self._keys is None else self._credential,
            )
        except OBSTORE_ERRORS as error:
            raise UsageError(
                f"obstore cannot be set up for {self._display}; if this machine has no certificate authorities, "
                f"install ca-certificates or name a file with --ca-bundle ({_first_line(error)})"
            ) from None  # a proxy's password may be in the text

    def list_page(self, token: str | None) -> Page:
        """Ask for one page; see ``Store.list_page``. Keys that cannot be read are left out, with a warning.

        Where no region was given, the one that the store names is used from then on: one request more, once.
        """
        try:
            page = self._lister.page(token)
        except WrongRegionError as error:
            if not self._follows_region or error.region in ("", self.region):
                raise
            log.info("the bucket is in another region display=%s region=%s", self._display, error.region)
            self._connect(error.region)
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
        if self._keys is not None:
            self._keys()  # an error of the credentials comes out as ours here; through obstore it would be a text
        try:
            answer = obstore.get(
                self._client,
                self._prefix + info.key,
                options={"range": (offset, offset + length), "if_match": info.version},
            )
            meta = answer.meta
            etag = meta["e_tag"]
            if etag is None or quoted(etag) != info.version or meta["size"] != info.size:
                raise VersionGoneError(f"{what}: this version was replaced")
            buffer = memoryview(answer.bytes())
        except OBSTORE_ERRORS as error:
            ours = from_obstore(error, what=what)
            # S3's body is in the text, and in a refusal it may echo a session token
            raise ours from None
        if len(buffer) != length:
            raise CorruptAnswerError(f"{what}: the store gave {len(buffer)} bytes for {length}")
        return buffer

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
        )

    def _credential(self) -> "S3Credential":
        """Give obstore the keys of now. Expired at once, so that it asks again for its next request."""
        assert self._keys is not None  # noqa: S101  obstore is given this method only with keys
        keys = self._keys()
        return {
            "access_key_id": keys.access_key_id,
            "secret_access_key": keys.secret_access_key,
            "token": keys.session_token,
            "expires_at": datetime.now(UTC),
        }


def _first_line(error: Exception) -> str:
    return re.sub(r"//[^/@\s]*@", "//***@", str(error).partition("\n")[0])
