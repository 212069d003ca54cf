"""The fsspec engine for Google Cloud Storage: pinned, ranged reads through gcsfs, by the JSON API.

Law: as in ``obstore_gcs``: the generation is sent, and the answer's own generation and size are compared as well.
gcsfs's ``cat_file`` tries six times, follows redirects and does not tell the answer's generation, so what it is made of
is used: the URL that it has for a generation, and its session, which is one of ours.

The plain file system of ``gcsfs.core``, and not the one that gcsfs gives by default (2026.10): that one asks for the
kind of each bucket over gRPC, for 60 s where nobody answers.
"""

import aiohttp
import yarl
from gcsfs.core import GCSFileSystem

from modelfs import fsspec_client
from modelfs.aiohttp_errors import AIOHTTP_ERRORS, from_aiohttp
from modelfs.blocks import ObjectInfo
from modelfs.errors import VersionGoneError
from modelfs.fsspec_client import RefusedError
from modelfs.gcs_errors import from_read
from modelfs.places import GCS_AS_STORED, GCSPlace, full_key

_LOGGERS = ("asyncio", "fsspec", "gcsfs")
_REDIRECTS = 300
_UNAUTHORIZED = 401


class GCSReader:
    """Reads the objects of one bucket; see ``Reader``."""

    name = "gcsfs"
    unreadable = fsspec_client.UNREADABLE

    def __init__(self, place: GCSPlace) -> None:
        """Connect to nothing yet. Raises UsageError for an unreadable CA bundle."""
        self._place = place
        fsspec_client.set_up("gs", "gcs", loggers=_LOGGERS)
        self._fs = GCSFileSystem(
            token="anon",  # noqa: S106  the token of now goes with each request
            endpoint_url=place.endpoint,
            asynchronous=True,
            skip_instance_cache=True,
        )
        self._fs._session = fsspec_client.open_session(place.link)  # noqa: SLF001  else it makes one of its own

    def read(self, info: ObjectInfo, offset: int, length: int) -> memoryview:
        """Return exactly ``[offset, offset + length)`` of this generation; see ``Store.read``."""
        what = f"cannot read {info.key!r} of {self._place.display}"
        tokens = self._place.tokens
        token = None if tokens is None else tokens()  # may block, and so not in the loop
        headers = {**self._place.link.headers, **GCS_AS_STORED, "Range": fsspec_client.range_of(offset, length)}
        if token is not None:
            headers["Authorization"] = f"Bearer {token.value}"
        try:
            return fsspec_client.wait_for(self._read, info, offset, length, headers, what)
        except RefusedError as error:
            if tokens is not None and token is not None and error.status == _UNAUTHORIZED:
                tokens.refused(token)
            # the body may say who we are
            raise from_read(error.status, error.body, what=what) from None
        except AIOHTTP_ERRORS as error:
            raise from_aiohttp(error, what=what) from None

    async def _read(self, info: ObjectInfo, offset: int, length: int, headers: dict[str, str], what: str) -> memoryview:
        path = f"{self._place.bucket}/{full_key(self._place, info.key)}"
        url = yarl.URL(self._fs.url(path, generation=info.version), encoded=True)
        answer: aiohttp.ClientResponse = await self._fs.session.get(url, headers=headers, allow_redirects=False)
        if answer.status >= _REDIRECTS:
            raise await fsspec_client.refusal(answer)
        if answer.headers.get("x-goog-generation") != info.version:
            answer.close()
            raise VersionGoneError(f"{what}: this version was replaced")
        return await fsspec_client.body_of(answer, info, offset, length, what)
