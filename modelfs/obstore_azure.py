"""The obstore engine for Azure: pinned, ranged reads.

Law: a read is the bytes of one version or an error. The version is sent as ``If-Match``, and the answer's own ETag and
size are compared as well. Each setting that obstore would take from the process's environment
(AZURE_STORAGE_USE_EMULATOR, AZURE_SKIP_SIGNATURE …) and that matters is set here.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import obstore
import obstore.exceptions
import obstore.store

from modelfs import obstore_client
from modelfs.azure_errors import MAY, Refusal, from_read, redirected
from modelfs.azure_listing import complaint
from modelfs.azure_signing import AzureCredential, AzureKey, AzureSas
from modelfs.blocks import ObjectInfo
from modelfs.errors import AccessRefusedError, CorruptAnswerError, ModelfsError, VersionGoneError
from modelfs.obstore_errors import OBSTORE_ERRORS, by_type, status_of
from modelfs.places import AzurePlace, full_key

if TYPE_CHECKING:
    from obstore.store import AzureConfig
    from obstore.store import AzureCredential as ObstoreCredential

_NO_ACCOUNT = "account"  # obstore wants one also where only a shared key needs it


class AzureReader:
    """Reads the blobs of one container; see ``Reader``."""

    name = obstore_client.NAME
    unreadable = obstore_client.UNREADABLE

    def __init__(self, place: AzurePlace) -> None:
        """Connect to nothing yet. Raises UsageError for an unreadable CA bundle."""
        self._place = place
        self._source = place.access.source
        config: AzureConfig = {
            "account_name": place.access.account or _NO_ACCOUNT,
            "endpoint": place.access.service_url,
            "skip_signature": self._source is None,
            "use_emulator": False,
            "use_fabric_endpoint": False,
            "use_azure_cli": False,
            "credential_type": "auto",
        }
        client = obstore_client.client_options(place.link)
        try:
            self._client = obstore.store.AzureStore(
                place.container,
                config=config,
                client_options=client,
                retry_config=obstore_client.ONE_TRY,
                credential_provider=None if self._source is None else self._credential,
            )
        except OBSTORE_ERRORS:
            raise obstore_client.not_set_up(place.display) from None

    def read(self, info: ObjectInfo, offset: int, length: int) -> memoryview:
        """Return exactly ``[offset, offset + length)`` of this version; see ``Store.read``."""
        what = f"cannot read {info.key!r} of {self._place.display}"
        # an error of the credentials comes out as ours here; through obstore it would be a text
        credential = None if self._source is None else self._source()
        try:
            answer = obstore.get(
                self._client,
                full_key(self._place, info.key),
                options={"range": (offset, offset + length), "if_match": info.version},
            )
            meta = answer.meta
            if meta["e_tag"] != info.version or meta["size"] != info.size:
                raise VersionGoneError(f"{what}: this version was replaced")
            buffer = memoryview(answer.bytes())
        except OBSTORE_ERRORS as error:
            # the URL is in the text, and with it the SAS
            raise from_obstore(error, what=what, complaint=complaint(credential)) from None
        if len(buffer) != length:
            raise CorruptAnswerError(f"{what}: the store gave {len(buffer)} bytes for {length}")
        return buffer

    def _credential(self) -> "ObstoreCredential":
        """Give obstore the credential of now. Expired at once, so that it asks again for its next request."""
        assert self._source is not None  # noqa: S101  obstore is given this method only with a source
        return _for_obstore(self._source())


def _for_obstore(credential: AzureCredential) -> "ObstoreCredential":
    now = datetime.now(UTC)
    if isinstance(credential, AzureKey):
        return {"access_key": credential.key, "expires_at": now}
    if isinstance(credential, AzureSas):
        return {"sas_token": credential.token, "expires_at": now}
    return {"token": credential.token, "expires_at": now}


def from_obstore(error: Exception, *, what: str, complaint: str = "") -> ModelfsError:
    """Return the error for what a read through obstore raised."""
    text = str(error)
    if status := status_of(error):
        return from_read(Refusal.of(status, text), what=what, complaint=complaint)
    if isinstance(error, obstore.exceptions.PermissionDeniedError | obstore.exceptions.UnauthenticatedError):
        return AccessRefusedError(f"{what}: the store refuses access; {complaint or MAY}")
    if "Received redirect" in text:
        return redirected(what)
    return by_type(error, what=what)
