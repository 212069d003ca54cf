"""The fsspec engine for Azure: pinned, ranged reads through adlfs, which is made of Azure's own SDK.

Law: as in ``obstore_azure``: ``If-Match`` is sent, and the answer's own ETag and size are compared as well.

adlfs (2026.8) has no setting for http://, a proxy, an authority, or the number of tries, and its ``cat_file`` cannot
pin. So its file system is given a client of ours, and the blob client of that is used: below ``download_blob``, which
tries a broken body three times.
"""

import threading
from typing import Any

import aiohttp
from adlfs import AzureBlobFileSystem
from azure.core import exceptions
from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
from azure.core.pipeline.transport import AioHttpTransport
from azure.storage.blob.aio import BlobServiceClient

from modelfs import fsspec_client
from modelfs.aiohttp_errors import AIOHTTP_ERRORS, from_aiohttp
from modelfs.azure_errors import Refusal, from_read
from modelfs.azure_listing import complaint
from modelfs.azure_signing import VERSION, AzureBearer, AzureCredential, AzureKey, AzureSas
from modelfs.blocks import ObjectInfo
from modelfs.errors import CorruptAnswerError, ModelfsError, StoreRefusedError, VersionGoneError
from modelfs.places import AzurePlace, full_key

_LOGGERS = ("adlfs", "asyncio", "azure", "fsspec")


class AzureReader:
    """Reads the blobs of one container; see ``Reader``."""

    name = "adlfs"
    unreadable = fsspec_client.UNREADABLE

    def __init__(self, place: AzurePlace) -> None:
        """Connect to nothing yet. Raises UsageError for an unreadable CA bundle."""
        self._place = place
        fsspec_client.set_up("abfs", "abfss", "az", loggers=_LOGGERS)
        self._transport = AioHttpTransport(
            session=fsspec_client.open_session(place.link),
            session_owner=False,
            connection_timeout=place.link.connect_timeout_s,
            read_timeout=place.link.stall_timeout_s,
        )
        # a connection string, else adlfs looks for credentials of its own
        endpoint = f"BlobEndpoint={place.access.service_url};"
        self._fs = AzureBlobFileSystem(connection_string=endpoint, anon=True, skip_instance_cache=True)
        self._lock = threading.Lock()
        self._credential: AzureCredential | None = None
        self._fs.service_client = self._client(None)

    def _client(self, credential: AzureKey | AzureSas | None) -> BlobServiceClient:
        sent: Any = None
        if isinstance(credential, AzureKey):
            sent = AzureNamedKeyCredential(credential.account, credential.key)
        elif isinstance(credential, AzureSas):
            sent = AzureSasCredential(credential.token)
        return BlobServiceClient(
            self._place.access.service_url,
            credential=sent,
            transport=self._transport,
            api_version=VERSION,
            retry_total=0,
            permit_redirects=False,
        )

    def _follow(self, credential: AzureCredential | None) -> dict[str, str]:
        """Have the client sign with ``credential``, and return the header that does it for a token.

        The SDK would send a token only over TLS, and once more after a refusal.
        """
        if isinstance(credential, AzureBearer):
            return {"Authorization": f"Bearer {credential.token}"}
        with self._lock:
            if credential != self._credential:
                self._fs.service_client = self._client(credential)
                self._credential = credential
        return {}

    def read(self, info: ObjectInfo, offset: int, length: int) -> memoryview:
        """Return exactly ``[offset, offset + length)`` of this version; see ``Store.read``."""
        what = f"cannot read {info.key!r} of {self._place.display}"
        source = self._place.access.source
        credential = None if source is None else source()  # may block, and so not in the loop
        headers = {**self._follow(credential), "If-Match": info.version}
        try:
            return fsspec_client.wait_for(self._read, info, offset, length, headers, what)
        except exceptions.AzureError as error:
            # the URL is in the text, and with it the SAS
            raise _from_azure(error, what=what, complaint=complaint(credential)) from None
        except AIOHTTP_ERRORS as error:
            raise from_aiohttp(error, what=what) from None

    async def _read(self, info: ObjectInfo, offset: int, length: int, headers: dict[str, str], what: str) -> memoryview:
        blob = self._fs.service_client.get_blob_client(self._place.container, full_key(self._place, info.key))
        answer: aiohttp.ClientResponse = await blob._client.blob.download(  # noqa: SLF001  see the law
            range=fsspec_client.range_of(offset, length),
            headers=headers,
            cls=lambda response, _body, _headers: response.http_response.internal_response,
        )
        if answer.headers.get("ETag") != info.version:
            answer.close()
            raise VersionGoneError(f"{what}: this version was replaced")
        return await fsspec_client.body_of(answer, info, offset, length, what)


def _from_azure(error: exceptions.AzureError, *, what: str, complaint: str) -> ModelfsError:
    answer: Any = error.response if isinstance(error, exceptions.HttpResponseError) else None
    if answer is not None:
        refusal = Refusal.of(answer.status_code, answer.body().decode("utf-8", "replace"))
        return from_read(refusal, what=what, complaint=complaint)
    inner = error.inner_exception
    if isinstance(inner, AIOHTTP_ERRORS):
        return from_aiohttp(inner, what=what)
    if isinstance(error, exceptions.HttpResponseError | exceptions.DecodeError):
        return CorruptAnswerError(f"{what}: the store's answer makes no sense")
    return StoreRefusedError(f"{what}: Azure's SDK cannot make this request ({type(error).__name__})")
