"""What aiohttp raises below HTTP's answers, in our exceptions: it is the client of s3fs, gcsfs and adlfs alike.

Law: as in ``http_errors``.
"""

import ssl

import aiohttp

from modelfs.errors import CorruptAnswerError, ModelfsError, StoreRefusedError, StoreUnavailableError
from modelfs.http_errors import BROKEN, NO_TLS, SILENT, UNCONNECTED, UNRESOLVED, UNTRUSTED

AIOHTTP_ERRORS = (aiohttp.ClientError, aiohttp.http_exceptions.HttpProcessingError, OSError, ValueError)
"""All that a request through aiohttp raises. TimeoutError is an OSError."""


def from_aiohttp(error: Exception, *, what: str) -> ModelfsError:
    """Return the error for what a request through aiohttp raised."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return StoreRefusedError(f"{what}: {UNTRUSTED}")
    kind, reason = next((kind, reason) for types, kind, reason in _AIOHTTP if isinstance(error, types))
    return kind(f"{what}: {reason}")


_AIOHTTP: tuple[tuple[tuple[type[Exception], ...], type[ModelfsError], str], ...] = (
    # the first row whose types fit
    ((aiohttp.ClientConnectorDNSError,), StoreUnavailableError, UNRESOLVED),
    ((aiohttp.ConnectionTimeoutError,), StoreUnavailableError, UNCONNECTED),
    ((TimeoutError,), StoreUnavailableError, SILENT),
    ((aiohttp.ClientSSLError, ssl.SSLError), StoreUnavailableError, NO_TLS),
    (
        (aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError),  # ClientProxyConnectionError is the former
        StoreUnavailableError,
        UNCONNECTED,
    ),
    # also where the connection was reset in the middle: the type does not tell
    ((aiohttp.ClientPayloadError,), CorruptAnswerError, "the store's answer is shorter than it said"),
    ((aiohttp.InvalidURL,), StoreRefusedError, "aiohttp cannot make this request"),
    (
        (
            aiohttp.ClientResponseError,
            aiohttp.http_exceptions.HttpProcessingError,
        ),
        CorruptAnswerError,
        BROKEN,
    ),
    (
        (aiohttp.ClientConnectionError, ConnectionError),
        StoreUnavailableError,
        "the store broke the connection",
    ),
    ((ValueError,), StoreRefusedError, "aiohttp cannot make this request"),
    ((Exception,), StoreUnavailableError, "the request failed on its way"),
)
