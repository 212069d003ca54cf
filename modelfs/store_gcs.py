"""The obstore engine for Google Cloud Storage: pinned, ranged reads by obstore, listings by ``gcs_listing``.

Law: a read is the bytes of one generation or an error. The generation is sent (``?generation=``, else 404), and the
answer's own generation and size are compared as well, so that a store that ignores it cannot mix two uploads. An
``If-Match`` would not do: there are stores of this API that ignore it.

obstore takes settings from the process's environment (GOOGLE_SERVICE_ACCOUNT, GOOGLE_BASE_URL …). Each that can be is
set here; the variables that name key files of its own are hidden from it while it is set up, since it fails when they
name something else, as SERVICE_ACCOUNT may well do.

Keys that it cannot ask for are left out as in ``store_s3``.
"""

import ipaddress
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import obstore
import obstore.store

from modelfs.blocks import ObjectInfo
from modelfs.errors import CorruptAnswerError, UsageError, VersionGoneError
from modelfs.gcs_errors import from_obstore, is_about_the_token
from modelfs.gcs_listing import Bucket, Lister
from modelfs.gcs_tokens import Token, Tokens
from modelfs.http_errors import OBSTORE_ERRORS
from modelfs.location import Location
from modelfs.obstore_client import client_options
from modelfs.store import Facts, Omissions, Page

if TYPE_CHECKING:
    from obstore.store import GCSConfig, GCSCredential

_UNREADABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_KEY_FILES = re.compile(r"(google_)?(service_account(_key|_path)?|application_credentials)", re.IGNORECASE)
_AS_STORED = {"Accept-Encoding": "gzip"}
"""Has GCS send an object that is stored with "Content-Encoding: gzip" as it is stored. Else it would unpack it on the
way, and then ignores ranges and sends another length than the listing's. obstore does not unpack."""

_environment_lock = threading.Lock()


class GCSStore:
    """The objects of one GCS location, behind the Store protocol. Thread-safe."""

    def __init__(
        self,
        location: Location,
        *,
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
        self._display = location.display
        self._prefix = f"{location.prefix}/" if location.prefix else ""
        self._tokens = tokens
        self._omissions = Omissions()
        scheme, _, rest = endpoint.partition("://")
        self._endpoint = endpoint = f"{scheme.lower()}://{rest}"
        host, secure = urlsplit(endpoint).hostname or "", endpoint.startswith("https:")
        if tokens is not None and not secure and not _is_loopback(host):
            raise UsageError(f"a token would go to {endpoint} without encryption: write https://, or --no-sign-request")
        headers = {"x-goog-user-project": billing_project} if billing_project else {}
        proxy = proxy_for(endpoint)
        self._lister = Lister(
            Bucket(endpoint, location.bucket, location.prefix, location.display),
            tokens=tokens,
            connect_timeout_s=connect_timeout_s,
            stall_timeout_s=stall_timeout_s,
            ca_bundle=ca_bundle if secure else None,
            proxy=proxy,
            headers=headers,
        )
        client = client_options(
            host=host,
            secure=secure,
            connect_timeout_s=connect_timeout_s,
            stall_timeout_s=stall_timeout_s,
            max_connections=max_connections,
            ca_bundle=ca_bundle if secure else None,
            proxy=proxy,
            headers={**headers, **_AS_STORED},
        )
        config: GCSConfig = {"base_url": endpoint, "skip_signature": tokens is None}
        try:
            with _hidden_key_files():
                self._client = obstore.store.GCSStore(
                    location.bucket,
                    config=config,
                    client_options=client,
                    retry_config={"max_retries": 0},
                    credential_provider=None if tokens is None else self._credential,
                )
        except OBSTORE_ERRORS:
            raise UsageError(
                f"obstore cannot be set up for {self._display}; if this machine has no certificate authorities, "
                "install ca-certificates or name a file with --ca-bundle"
            ) from None  # a proxy's password may be in the text

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
        """Return exactly ``[offset, offset + length)`` of this generation; see ``Store.read``."""
        what = f"cannot read {info.key!r} of {self._display}"
        # an error of the credentials comes out as ours here; through obstore it would be a text
        token = None if self._tokens is None else self._tokens()
        try:
            answer = obstore.get(
                self._client,
                self._prefix + info.key,
                options={"range": (offset, offset + length), "version": info.version},
            )
            meta = answer.meta
            if meta["version"] != info.version or meta["size"] != info.size:
                raise VersionGoneError(f"{what}: this version was replaced")
            buffer = memoryview(answer.bytes())
        except OBSTORE_ERRORS as error:
            self._note_refusal(error, token)
            # the answer's body is in the text, and it may say who we are
            raise from_obstore(error, what=what) from None
        if len(buffer) != length:
            raise CorruptAnswerError(f"{what}: the store gave {len(buffer)} bytes for {length}")
        return buffer

    def _note_refusal(self, error: Exception, token: Token | None) -> None:
        if self._tokens is not None and token is not None and is_about_the_token(error):
            self._tokens.refused(token)

    def facts(self) -> Facts:
        """Return what is known now; see ``Telling``."""
        if self._tokens is None:
            return Facts(self._endpoint, "none: requests are anonymous")
        # tokens renew themselves, so their end is nobody's concern
        return Facts(self._endpoint, self._tokens().origin)

    def _credential(self) -> "GCSCredential":
        """Give obstore the token of now. Expired at once, so that it asks again for its next request."""
        assert self._tokens is not None  # noqa: S101  obstore is given this method only with tokens
        return {"token": self._tokens().value, "expires_at": datetime.now(UTC)}


@contextmanager
def _hidden_key_files() -> Iterator[None]:
    """Keep from obstore the variables that name key files. It reads them when a store is made, and only then."""
    with _environment_lock:
        hidden: Mapping[str, str] = {name: os.environ[name] for name in os.environ if _KEY_FILES.fullmatch(name)}
        for name in hidden:
            del os.environ[name]
        try:
            yield
        finally:
            os.environ.update(hidden)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
