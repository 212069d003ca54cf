"""The obstore engine for Google Cloud Storage: pinned, ranged reads by the XML API.

Law: a read is the bytes of one generation or an error. The generation is sent (``?generation=``, else 404), and the
answer's own generation and size are compared as well, so that a store that ignores it cannot mix two uploads. An
``If-Match`` would not do: there are stores of this API that ignore it.

obstore takes settings from the process's environment (GOOGLE_SERVICE_ACCOUNT, GOOGLE_BASE_URL …). Each that can be is
set here; the variables that name key files of its own are hidden from it while it is set up, since it fails when they
name something else, as SERVICE_ACCOUNT may well do.
"""

import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import obstore
import obstore.store

from modelfs import obstore_client
from modelfs.blocks import ObjectInfo
from modelfs.errors import CorruptAnswerError, ModelfsError, VersionGoneError
from modelfs.gcs_errors import from_read, redirected
from modelfs.obstore_errors import OBSTORE_ERRORS, by_type, status_of
from modelfs.places import GCS_AS_STORED, GCSPlace, full_key

if TYPE_CHECKING:
    from obstore.store import GCSConfig, GCSCredential

_KEY_FILES = re.compile(r"(google_)?(service_account(_key|_path)?|application_credentials)", re.IGNORECASE)
_UNAUTHORIZED = 401

_environment_lock = threading.Lock()


class GCSReader:
    """Reads the objects of one bucket; see ``Reader``."""

    name = obstore_client.NAME
    unreadable = obstore_client.UNREADABLE

    def __init__(self, place: GCSPlace) -> None:
        """Connect to nothing yet. Raises UsageError for an unreadable CA bundle."""
        self._place = place
        self._tokens = place.tokens
        client = obstore_client.client_options(replace(place.link, headers={**place.link.headers, **GCS_AS_STORED}))
        config: GCSConfig = {"base_url": place.endpoint, "skip_signature": place.tokens is None}
        try:
            with _hidden_key_files():
                self._client = obstore.store.GCSStore(
                    place.bucket,
                    config=config,
                    client_options=client,
                    retry_config=obstore_client.ONE_TRY,
                    credential_provider=None if place.tokens is None else self._credential,
                )
        except OBSTORE_ERRORS:
            raise obstore_client.not_set_up(place.display) from None

    def read(self, info: ObjectInfo, offset: int, length: int) -> memoryview:
        """Return exactly ``[offset, offset + length)`` of this generation; see ``Store.read``."""
        what = f"cannot read {info.key!r} of {self._place.display}"
        # an error of the credentials comes out as ours here; through obstore it would be a text
        token = None if self._tokens is None else self._tokens()
        try:
            answer = obstore.get(
                self._client,
                full_key(self._place, info.key),
                options={"range": (offset, offset + length), "version": info.version},
            )
            meta = answer.meta
            if meta["version"] != info.version or meta["size"] != info.size:
                raise VersionGoneError(f"{what}: this version was replaced")
            buffer = memoryview(answer.bytes())
        except OBSTORE_ERRORS as error:
            if self._tokens is not None and token is not None and status_of(error) == _UNAUTHORIZED:
                self._tokens.refused(token)
            # the answer's body is in the text, and it may say who we are
            raise _from_obstore(error, what=what) from None
        if len(buffer) != length:
            raise CorruptAnswerError(f"{what}: the store gave {len(buffer)} bytes for {length}")
        return buffer

    def _credential(self) -> "GCSCredential":
        """Give obstore the token of now. Expired at once, so that it asks again for its next request."""
        assert self._tokens is not None  # noqa: S101  obstore is given this method only with tokens
        return {"token": self._tokens().value, "expires_at": datetime.now(UTC)}


def _from_obstore(error: Exception, *, what: str) -> ModelfsError:
    if status := status_of(error):
        return from_read(status, str(error), what=what)
    if "Received redirect" in str(error):
        return redirected(what)
    return by_type(error, what=what)


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
