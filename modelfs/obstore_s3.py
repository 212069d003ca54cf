"""The obstore engine for S3: pinned, ranged reads.

Law: a read is the bytes of one version or an error. The version is sent as ``If-Match``, and the answer's own ETag and
size are compared as well, so that a store that ignores ``If-Match`` cannot mix two uploads.

obstore takes settings from the process's environment (AWS_ENDPOINT_URL_S3, AWS_SKIP_SIGNATURE …), so each that matters
is set here and in ``obstore_client``; seen to hold with those variables pointing nowhere.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import obstore
import obstore.exceptions
import obstore.store

from modelfs import obstore_client
from modelfs.blocks import ObjectInfo
from modelfs.errors import AccessRefusedError, CorruptAnswerError, ModelfsError, VersionGoneError
from modelfs.obstore_errors import OBSTORE_ERRORS, by_type, status_of
from modelfs.places import S3Place, full_key
from modelfs.s3_errors import MAY, Refusal, WrongRegionError, from_read
from modelfs.s3_listing import quoted

if TYPE_CHECKING:
    from obstore.store import S3Config, S3Credential


class S3Reader:
    """Reads the objects of one bucket in one region; see ``Reader``."""

    name = obstore_client.NAME
    unreadable = obstore_client.UNREADABLE

    def __init__(self, place: S3Place) -> None:
        """Connect to nothing yet. Raises UsageError for an unreadable CA bundle."""
        self._place = place
        self._keys = place.keys
        config: S3Config = {
            "endpoint": place.address.endpoint,
            "aws_endpoint_url_s3": place.address.endpoint,
            "region": place.region,
            "virtual_hosted_style_request": place.address.is_host_style,
            "skip_signature": place.keys is None,
            "s3_express": False,
            "request_payer": False,  # it is among the headers of every request
        }
        client = obstore_client.client_options(place.link)
        try:
            self._client = obstore.store.S3Store(
                place.bucket,
                config=config,
                client_options=client,
                retry_config=obstore_client.ONE_TRY,
                credential_provider=None if place.keys is None else self._credential,
            )
        except OBSTORE_ERRORS:
            raise obstore_client.not_set_up(place.display) from None

    def read(self, info: ObjectInfo, offset: int, length: int) -> memoryview:
        """Return exactly ``[offset, offset + length)`` of this version; see ``Store.read``."""
        what = f"cannot read {info.key!r} of {self._place.display}"
        if self._keys is not None:
            self._keys()  # an error of the credentials comes out as ours here; through obstore it would be a text
        try:
            answer = obstore.get(
                self._client,
                full_key(self._place, info.key),
                options={"range": (offset, offset + length), "if_match": info.version},
            )
            meta = answer.meta
            etag = meta["e_tag"]
            if etag is None or quoted(etag) != info.version or meta["size"] != info.size:
                raise VersionGoneError(f"{what}: this version was replaced")
            buffer = memoryview(answer.bytes())
        except OBSTORE_ERRORS as error:
            # S3's body is in the text, and in a refusal it may echo a session token
            raise from_obstore(error, what=what) from None
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


def from_obstore(error: Exception, *, what: str) -> ModelfsError:
    """Return the error for what a read through obstore raised."""
    text = str(error)
    if status := status_of(error):
        return from_read(Refusal.of(status, text), what=what)
    if isinstance(error, obstore.exceptions.PermissionDeniedError | obstore.exceptions.UnauthenticatedError):
        return AccessRefusedError(f"{what}: the store refuses access; {MAY}")
    if "Received redirect" in text:
        return WrongRegionError(f"{what}: the store redirects; the region may be wrong: set AWS_REGION")
    return by_type(error, what=what)
