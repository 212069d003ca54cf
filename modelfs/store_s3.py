"""The obstore engine for S3: pinned, ranged reads by obstore, listings by ``s3_listing``.

Law: a read is the bytes of one version or an error. The version is sent as ``If-Match``, and the answer's own ETag and
size are compared as well, so that a store that ignores ``If-Match`` cannot mix two uploads.

obstore (Rust) releases the GIL and gives its buffer away without a copy. Its own retries are off, and its time-out is
for lack of progress: the one for a whole request would never let a slow link finish. It takes settings from the
process's environment (AWS_ENDPOINT_URL_S3, AWS_SKIP_SIGNATURE …), so each that matters is set here, and it is told to
use no proxy; seen to hold with those variables pointing nowhere.

It cannot ask for a key with an ASCII control character, nor send one that is no UTF-8. Such keys are left out of
listings, with a warning for each. Keys with empty, "." or ".." segments cannot be asked for either, but are listed as
they are: the tree hides them by its own rule, so they are never read.
"""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
import obstore.store

from modelfs import __version__
from modelfs.blocks import ObjectInfo
from modelfs.credentials import KeySource
from modelfs.errors import CorruptAnswerError, UsageError, VersionGoneError
from modelfs.location import Location
from modelfs.s3_errors import OBSTORE_ERRORS, from_obstore
from modelfs.s3_listing import Bucket, Lister, quoted
from modelfs.store import Omissions, Page

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Config, S3Credential

_NO_LIMIT = timedelta(days=365)
_HOST_STYLE = re.compile(r"[0-9a-z][0-9a-z-]+")  # a dot would break the certificate, and capitals the host name
_UNREADABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class S3Store:
    """The objects of one S3 location, behind the Store protocol. Thread-safe."""

    def __init__(
        self,
        location: Location,
        *,
        region: str,
        keys: KeySource | None,
        connect_timeout_s: float,
        stall_timeout_s: float,
        max_connections: int,
        ca_bundle: Path | None,
    ) -> None:
        """Connect to nothing yet. ``keys`` None is anonymous. Raises UsageError for an unreadable ``ca_bundle``."""
        self._display = location.display
        self._prefix = f"{location.prefix}/" if location.prefix else ""
        self._keys = keys
        self._omissions = Omissions()
        host_style = location.endpoint is None and bool(_HOST_STYLE.fullmatch(location.bucket))
        endpoint = location.endpoint or _aws(region, location.bucket if host_style else "")
        url = endpoint if host_style else f"{endpoint}/{location.bucket}"
        secure = url.startswith("https:")
        self._lister = Lister(
            Bucket(url, region, location.prefix, location.display),
            keys=keys,
            connect_timeout_s=connect_timeout_s,
            stall_timeout_s=stall_timeout_s,
            ca_bundle=ca_bundle if secure else None,
        )
        config: S3Config = {
            "endpoint": endpoint,
            "aws_endpoint_url_s3": endpoint,
            "region": region,
            "virtual_hosted_style_request": host_style,
            "skip_signature": keys is None,
            "s3_express": False,
            "request_payer": False,
        }
        client = _client(url, secure=secure, ca_bundle=ca_bundle)
        client["connect_timeout"] = timedelta(seconds=connect_timeout_s)
        client["read_timeout"] = timedelta(seconds=stall_timeout_s)
        client["pool_max_idle_per_host"] = str(max_connections)
        try:
            self._client = obstore.store.S3Store(
                location.bucket,
                config=config,
                client_options=client,
                retry_config={"max_retries": 0},
                credential_provider=None if keys is None else self._credential,
            )
        except OBSTORE_ERRORS as error:
            raise UsageError(
                f"obstore cannot be set up for {self._display}; if this machine has no certificate authorities, "
                f"install ca-certificates or name a file in AWS_CA_BUNDLE ({str(error).splitlines()[0]})"
            ) from error

    def list_page(self, token: str | None) -> Page:
        """Ask for one page; see ``Store.list_page``. Keys that cannot be read are left out, with a warning."""
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


def _client(url: str, *, secure: bool, ca_bundle: Path | None) -> "ClientConfig":
    """Return how obstore is to talk to the host of ``url``, without the caller's time-outs and limits."""
    client: ClientConfig = {
        "allow_http": not secure,
        "timeout": _NO_LIMIT,
        "user_agent": f"modelfs/{__version__}",
        # naming a proxy is what keeps obstore from the environment's; this host is exempt, so none is used
        "proxy_url": "http://127.0.0.1:9",
        "proxy_excludes": _host(url),
        # without TLS nothing is certified; and obstore would want authorities even so, where there are none
        "allow_invalid_certificates": not secure,
    }
    if secure and ca_bundle is not None:
        client["root_certificate"] = _read(ca_bundle)
    return client


def _aws(region: str, bucket: str) -> str:
    """Return AWS's endpoint of a region, with the bucket in the host where there is one."""
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"https://{bucket}{'.' if bucket else ''}s3.{region}.{suffix}"


def _host(url: str) -> str:
    """Return the host of "scheme://host:port/…", an IPv6 address without its brackets."""
    authority = url.partition("://")[2].partition("/")[0]
    return re.sub(r":[0-9]+$", "", authority).strip("[]")


def _read(ca_bundle: Path) -> bytes:
    try:
        return ca_bundle.read_bytes()
    except OSError as error:
        raise UsageError(f"AWS_CA_BUNDLE={ca_bundle} cannot be read: {error.strerror}") from error
