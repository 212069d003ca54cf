"""What urllib3 raises below HTTP's answers, in our exceptions: the same for every cloud.

Law: every foreign exception of a request becomes one of ours here, by type; a test walks the foreign class trees. What
an answer means is told by the module of each store's dialect, which asks here for all else. Nothing of what a library
says is quoted: it may hold the request's URL, and so a signature.
"""

import ssl

import urllib3.exceptions

from modelfs.errors import (
    CorruptAnswerError,
    ModelfsError,
    StoreRefusedError,
    StoreUnavailableError,
)

URLLIB3_ERRORS = (urllib3.exceptions.HTTPError, OSError, ValueError)
"""All that a request through urllib3 raises."""

UNRESOLVED = "the store's host name cannot be resolved; check the URL, the region, and this machine's DNS"
UNCONNECTED = "the store cannot be connected to; check host and port, that it runs, and that this machine may reach it"
SILENT = "the store stopped answering; check the URL, and the network between"
BROKEN = "the store's answer is broken, or not HTTP; check that host and port are the store's"
NO_TLS = "the TLS handshake fails; is the store's URL http:// perhaps?"
UNTRUSTED = "the store's certificate is not trusted; name the file of its authority with --ca-bundle"


_urllib3 = urllib3.exceptions


def from_urllib3(error: Exception, *, what: str) -> ModelfsError:
    """Return the error for what a request through urllib3 raised."""
    if isinstance(error, _urllib3.MaxRetryError) and error.reason is not None:
        return from_urllib3(error.reason, what=what)
    if isinstance(error, _urllib3.SSLError | ssl.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return StoreRefusedError(f"{what}: {UNTRUSTED}")
    # urllib3 makes these a ProtocolError, with the cause as an argument
    broken = next((each for each in error.args if isinstance(each, ConnectionError)), None)
    if broken is not None:
        error = broken
    kind, reason = next((kind, reason) for types, kind, reason in _URLLIB3 if isinstance(error, types))
    return kind(f"{what}: {reason}")


_URLLIB3: tuple[tuple[tuple[type[Exception], ...], type[ModelfsError], str], ...] = (
    # the first row whose types fit
    ((_urllib3.NameResolutionError,), StoreUnavailableError, UNRESOLVED),
    (
        (_urllib3.ConnectTimeoutError, _urllib3.ProxyError),  # NewConnectionError is one
        StoreUnavailableError,
        UNCONNECTED,
    ),
    ((_urllib3.TimeoutError,), StoreUnavailableError, SILENT),
    (
        (_urllib3.SSLError, ssl.SSLError),
        StoreUnavailableError,
        NO_TLS,
    ),
    (
        (
            _urllib3.ProtocolError,
            _urllib3.DecodeError,
            _urllib3.IncompleteRead,
            _urllib3.InvalidChunkLength,
            _urllib3.InvalidHeader,
            _urllib3.HeaderParsingError,
            _urllib3.ResponseError,
            _urllib3.BodyNotHttplibCompatible,
        ),
        CorruptAnswerError,
        BROKEN,
    ),
    ((ValueError,), StoreRefusedError, "urllib3 cannot make this request"),  # LocationValueError and its kinds
    ((ConnectionError,), StoreUnavailableError, "the store broke the connection"),
    ((Exception,), StoreUnavailableError, "the request failed on its way"),
)
