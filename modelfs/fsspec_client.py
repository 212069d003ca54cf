"""What the readers through s3fs, gcsfs and adlfs have in common: fsspec's event loop, and the HTTP under each driver.

Law: nothing comes from the process's environment by chance, a request is one try, no redirect is followed, and only
lack of progress is a time-out. So each driver is given an aiohttp session of ours and asked below its own retries. The
sessions that they would make (seen in s3fs 2026.9, gcsfs 2026.10, adlfs 2026.8): aiobotocore's follows redirects with
the session token still in the headers, and trusts other authorities than a listing; gcsfs's unpacks bodies; adlfs's
takes proxies from the environment, and adlfs has no setting for http://, a proxy, an authority or the number of tries.

The loop runs in fsspec's own thread; here a coroutine is only handed over and waited for.
"""

import logging
import re
import ssl
import weakref
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import aiohttp
import fsspec.asyn
import fsspec.config

from modelfs import __version__
from modelfs.blocks import ObjectInfo
from modelfs.errors import CorruptAnswerError, VersionGoneError
from modelfs.transport import Link, trust

T = TypeVar("T")

UNREADABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
"""No UTF-8 cannot be asked for, as with obstore; nor control characters, so that both engines show the same."""

_PART = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")
_PARTIAL_CONTENT = 206
_ERROR_BYTES = 64 * 1024
_BUFFER_BYTES = 1024 * 1024
"""What aiohttp reads ahead for each answer. With its own 64 KiB a loop that is busy stops and starts the sockets."""


class RefusedError(Exception):
    """An answer that is no success, and at most the first 64 KiB of its body. It never leaves a reader."""

    def __init__(self, status: int, headers: Mapping[str, str], body: str) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers
        self.body = body


def wait_for(function: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run a coroutine function in fsspec's loop, wait for it in this thread, and return or raise what it does."""
    result: T = fsspec.asyn.sync(fsspec.asyn.get_loop(), function, *args)
    return result


def set_up(*protocols: str, loggers: tuple[str, ...]) -> None:
    """Have the drivers of ``protocols`` take nothing from fsspec's own configuration, and keep their logs quiet.

    FSSPEC_S3_… in the environment and ~/.config/fsspec would fill in what a driver is not told. What the libraries warn
    of comes out as an error of ours, without URLs.
    """
    for protocol in protocols:
        fsspec.config.conf.pop(protocol, None)
    for name in loggers:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def open_session(link: Link) -> aiohttp.ClientSession:
    """Return a session that speaks over ``link``. Raises UsageError for an unreadable CA bundle."""
    context = trust(link.ca_bundle) if link.is_secure else None  # not in the loop: it reads files
    return wait_for(_open_session, link, context)


async def _open_session(link: Link, context: ssl.SSLContext | None) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=link.max_connections, ssl=context or True)
    session = aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=link.connect_timeout_s, sock_read=link.stall_timeout_s),
        headers={"User-Agent": f"modelfs/{__version__}", "Accept-Encoding": "identity"},
        cookie_jar=aiohttp.DummyCookieJar(),
        proxy=link.proxy,
        read_bufsize=_BUFFER_BYTES,
        auto_decompress=False,
        trust_env=False,
    )
    session._retry_connection = False  # noqa: SLF001  it would send a GET again when the connection breaks
    weakref.finalize(session, _close, connector)
    return session


def _close(connector: aiohttp.TCPConnector) -> None:
    """Close the connections of a session that nobody has any more, or at the process's end, and without a warning."""
    loop = fsspec.asyn.get_loop()
    if loop.is_running():
        loop.call_soon_threadsafe(connector._close)  # noqa: SLF001  as fsspec's drivers do; close() must be awaited


async def refusal(answer: aiohttp.ClientResponse) -> RefusedError:
    """Return the error for an answer that is no success, and end its connection."""
    body = bytearray()
    try:
        while len(body) < _ERROR_BYTES and (piece := await answer.content.readany()):
            body += piece
    except (aiohttp.ClientError, TimeoutError):
        pass  # the status is known, and says more than what broke off here
    finally:
        answer.close()
    return RefusedError(answer.status, answer.headers, bytes(body[:_ERROR_BYTES]).decode("utf-8", "replace"))


async def body_of(answer: aiohttp.ClientResponse, info: ObjectInfo, offset: int, length: int, what: str) -> memoryview:
    """Return the body, which must be exactly the range that was asked for, of an object of the size that is known."""
    filled = 0
    try:
        _check_part(answer, info, offset, length, what)
        buffer = bytearray(length)
        while filled < length and (piece := await answer.content.readany()):
            stop = filled + len(piece)
            buffer[filled:stop] = piece
            filled = stop
    finally:
        if filled == length and answer.content.at_eof():
            answer.release()
        else:
            answer.close()  # what is left of it would be taken for the next answer
    if filled != length:
        raise CorruptAnswerError(f"{what}: the store gave {filled} bytes for {length}")
    return memoryview(buffer).toreadonly()


def _check_part(answer: aiohttp.ClientResponse, info: ObjectInfo, offset: int, length: int, what: str) -> None:
    told = _PART.fullmatch(answer.headers.get("Content-Range", ""))
    if told and int(told[3]) != info.size:
        raise VersionGoneError(f"{what}: this version was replaced")
    if answer.status != _PARTIAL_CONTENT or not told or (int(told[1]), int(told[2])) != (offset, offset + length - 1):
        raise CorruptAnswerError(f"{what}: the store's answer is not the range that was asked for")


def range_of(offset: int, length: int) -> str:
    """Return the value of a Range header.

    >>> range_of(10, 5)
    'bytes=10-14'
    """
    return f"bytes={offset}-{offset + length - 1}"
