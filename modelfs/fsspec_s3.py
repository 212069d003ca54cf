"""The fsspec engine for S3: pinned, ranged reads through s3fs, which is made of aiobotocore.

Law: as in ``obstore_s3``: ``If-Match`` is sent, and the answer's own ETag and size are compared as well. s3fs's
``cat_file`` cannot pin, so the call below it is used (``call_s3``), with one try in s3fs and one in botocore.

botocore takes settings from the environment and from ~/.aws. The session that s3fs is given here has a configuration of
constants, data of botocore's own package only, and our credentials, which are those of the listing.
"""

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp
import s3fs
import yarl
from aiobotocore.awsrequest import AioAWSResponse
from aiobotocore.credentials import AioCredentials
from aiobotocore.session import AioSession
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES, ConfigValueStore, ConstantProvider
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import BotoCoreError
from botocore.loaders import Loader

from modelfs import __version__, fsspec_client
from modelfs.aiohttp_errors import AIOHTTP_ERRORS, from_aiohttp
from modelfs.blocks import ObjectInfo
from modelfs.credentials import S3Keys
from modelfs.errors import StoreRefusedError, VersionGoneError
from modelfs.fsspec_client import RefusedError
from modelfs.places import S3Place, full_key
from modelfs.s3_errors import Refusal, from_read
from modelfs.s3_listing import quoted

_LOGGERS = ("aiobotocore", "asyncio", "botocore", "fsspec", "s3fs")
_REDIRECTS = 300


class S3Reader:
    """Reads the objects of one bucket in one region; see ``Reader``."""

    name = "s3fs"
    unreadable = fsspec_client.UNREADABLE

    def __init__(self, place: S3Place) -> None:
        """Connect to nothing yet. Raises UsageError for an unreadable CA bundle."""
        self._place = place
        self._keys = _Keys()
        fsspec_client.set_up("s3", "s3a", loggers=_LOGGERS)
        http = _Http(fsspec_client.open_session(place.link))
        self._fs = s3fs.S3FileSystem(
            anon=place.keys is None,
            session=_session(self._keys, place.link.headers),
            endpoint_url=_endpoint(place),
            client_kwargs={"region_name": place.region},
            config_kwargs={
                "user_agent": f"modelfs/{__version__}",
                "http_session_cls": lambda **_: http,
                "retries": {"total_max_attempts": 1, "mode": "standard"},
                "s3": {
                    "addressing_style": "virtual" if place.address.is_host_style else "path",
                    "disable_s3_express_session_auth": True,
                },
                "response_checksum_validation": "when_required",
                "proxies": {},  # the session of ours has the one that there is
                "parameter_validation": False,
            },
            asynchronous=True,
            skip_instance_cache=True,
        )
        self._fs.retries = 1
        fsspec_client.wait_for(self._fs.set_session)

    def read(self, info: ObjectInfo, offset: int, length: int) -> memoryview:
        """Return exactly ``[offset, offset + length)`` of this version; see ``Store.read``."""
        what = f"cannot read {info.key!r} of {self._place.display}"
        if self._place.keys is not None:
            self._keys.now = self._place.keys()  # may block, and so not in the loop
        try:
            return fsspec_client.wait_for(self._read, info, offset, length, what)
        except RefusedError as error:
            # the body may echo a session token
            region = error.headers.get("x-amz-bucket-region", "")
            raise from_read(Refusal.of(error.status, error.body, region=region), what=what) from None
        except AIOHTTP_ERRORS as error:
            raise from_aiohttp(error, what=what) from None
        except BotoCoreError as error:
            raise StoreRefusedError(f"{what}: botocore cannot make this request ({type(error).__name__})") from None

    async def _read(self, info: ObjectInfo, offset: int, length: int, what: str) -> memoryview:
        told = await self._fs._call_s3(  # noqa: SLF001  call_s3 is this one, for callers outside of the loop
            "get_object",
            Bucket=self._place.bucket,
            Key=full_key(self._place, info.key),
            Range=fsspec_client.range_of(offset, length),
            IfMatch=info.version,
        )
        answer: aiohttp.ClientResponse = told["Body"].raw_stream
        if quoted(told.get("ETag", "")) != info.version:
            answer.close()
            raise VersionGoneError(f"{what}: this version was replaced")
        return await fsspec_client.body_of(answer, info, offset, length, what)


class _Keys(AioCredentials):  # type: ignore[misc]  # untyped; botocore asks for more of it than the keys
    """Credentials as botocore asks for them: those of the latest read."""

    def __init__(self) -> None:
        super().__init__("", "")
        self.now = S3Keys("", "")

    async def get_frozen_credentials(self) -> ReadOnlyCredentials:
        keys = self.now
        return ReadOnlyCredentials(keys.access_key_id, keys.secret_access_key, keys.session_token)


@dataclass
class _Http:
    """aiobotocore's way to the store: a session of ours. An answer that is no success ends here, unparsed."""

    session: aiohttp.ClientSession
    _sessions: Mapping[str, object] = field(default_factory=dict)  # s3fs looks here for sessions that were closed

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    async def send(self, request: Any) -> AioAWSResponse:
        headers = {name: value if isinstance(value, str) else value.decode() for name, value in request.headers.items()}
        answer = await self.session.request(
            request.method, yarl.URL(request.url, encoded=True), headers=headers, allow_redirects=False
        )
        if answer.status >= _REDIRECTS:
            raise await fsspec_client.refusal(answer)
        told = {name.lower(): value for name, value in answer.headers.items()}
        return AioAWSResponse(request.url, answer.status, told, answer)


def _endpoint(place: S3Place) -> str:
    """Return the server's address without the bucket, which botocore puts before it with host style."""
    scheme, _, authority = place.address.endpoint.partition("://")
    return f"{scheme}://{authority.removeprefix(place.bucket + '.') if place.address.is_host_style else authority}"


def _session(keys: _Keys, headers: Mapping[str, str]) -> AioSession:
    """Return a session that knows nothing but what it is told. ``headers`` go with each request, signed."""
    session = AioSession()
    constants = {name: default for name, (_, _, default, _) in BOTOCORE_DEFAUT_SESSION_VARIABLES.items()}
    constants |= {"config_file": os.devnull, "credentials_file": os.devnull}
    store = ConfigValueStore({name: ConstantProvider(value) for name, value in constants.items()})
    session.register_component("config_store", store)
    session.register_component("data_loader", _loader())
    session._credentials = keys  # noqa: SLF001  set_credentials takes only keys that stay as they are
    session.register("before-call.s3.GetObject", lambda params, **_: params["headers"].update(headers))
    return session


@functools.cache
def _loader() -> Loader:
    """Return the loader of botocore's data. It keeps what it has parsed, for a bucket that is in another region."""
    return Loader(extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
