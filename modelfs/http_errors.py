"""What urllib3 and obstore raise below HTTP's answers, in our exceptions: the same for every cloud.

Law: every foreign exception of a request becomes one of ours here, by type; a test walks the foreign class trees. What
an answer means is told by the module of each store's dialect, which asks here for all else. Nothing of what a library
says is quoted: it may hold the request's URL, and so a signature.
"""

import ssl

import obstore.exceptions
import urllib3.exceptions

from modelfs.errors import (
    AccessRefusedError,
    CorruptAnswerError,
    ModelfsError,
    StoreRefusedError,
    StoreUnavailableError,
    VersionGoneError,
)

OBSTORE_ERRORS = (obstore.exceptions.BaseError, OSError, ValueError, NotImplementedError)
"""All that a request through obstore raises: some of its errors are builtins, such as FileNotFoundError."""

URLLIB3_ERRORS = (urllib3.exceptions.HTTPError, OSError, ValueError)
"""All that a request through urllib3 raises."""

_UNRESOLVED = "the store's host name cannot be resolved; check the URL, the region, and this machine's DNS"
_UNCONNECTED = "the store cannot be connected to; check host and port, that it runs, and that this machine may reach it"
_SILENT = "the store stopped answering; check the URL, and the network between"
_UNTRUSTED = "the store's certificate is not trusted; name the file of its authority with --ca-bundle or AWS_CA_BUNDLE"


def by_type(error: Exception, *, what: str) -> ModelfsError:
    """Return the error for what obstore raised, by its type and text alone: the same for every cloud."""
    text = str(error)
    kind, reason = next(
        (kind, reason) for types, sign, kind, reason in _OBSTORE if isinstance(error, types) and sign in text
    )
    return kind(f"{what}: {reason}")


_ANY = (Exception,)
_obstore = obstore.exceptions
_OBSTORE: tuple[tuple[tuple[type[Exception], ...], str, type[ModelfsError], str], ...] = (
    # the first row whose types and whose sign in the text fit
    ((FileNotFoundError, _obstore.NotFoundError), "", VersionGoneError, "this version was deleted"),
    ((_obstore.PreconditionError,), "", VersionGoneError, "this version was replaced"),
    (_ANY, "status code: 416", VersionGoneError, "this version was replaced"),
    (
        (_obstore.PermissionDeniedError, _obstore.UnauthenticatedError),
        "",
        AccessRefusedError,
        "the store refuses access; check the credentials",
    ),
    (
        (_obstore.InvalidPathError, _obstore.NotSupportedError, NotImplementedError, ValueError),
        "",
        StoreRefusedError,
        "obstore cannot make this request",
    ),
    (
        (_obstore.AlreadyExistsError, _obstore.NotModifiedError, _obstore.UnknownConfigurationKeyError),
        "",
        StoreRefusedError,
        "the store's answer fits no read",
    ),
    (_ANY, "Received redirect", StoreRefusedError, "the store redirects; check the URL"),
    (
        _ANY,
        "CaUsedAsEndEntity",
        StoreRefusedError,
        "the store's certificate is an authority's (CA:TRUE), which is no server's: give the server one with CA:FALSE",
    ),
    (_ANY, "InvalidCertificate", StoreRefusedError, _UNTRUSTED),
    (_ANY, "IncompleteBody", CorruptAnswerError, "the store's answer is shorter than it said"),
    (_ANY, "UnexpectedRange", CorruptAnswerError, "the store's answer is not the range that was asked for"),
    (_ANY, "NotPartial", CorruptAnswerError, "the store's answer is not the range that was asked for"),
    (_ANY, "dns error", StoreUnavailableError, _UNRESOLVED),
    (_ANY, "kind: Connect", StoreUnavailableError, _UNCONNECTED),
    (_ANY, "kind: Timeout", StoreUnavailableError, _SILENT),
    (_ANY, "kind: Interrupted", StoreUnavailableError, "the store broke the connection"),
    (_ANY, "", StoreUnavailableError, "the request failed on its way"),
)


_urllib3 = urllib3.exceptions


def from_urllib3(error: Exception, *, what: str) -> ModelfsError:
    """Return the error for what a request through urllib3 raised."""
    if isinstance(error, _urllib3.MaxRetryError) and error.reason is not None:
        return from_urllib3(error.reason, what=what)
    if isinstance(error, _urllib3.SSLError | ssl.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return StoreRefusedError(f"{what}: {_UNTRUSTED}")
    # urllib3 makes these a ProtocolError, with the cause as an argument
    broken = next((each for each in error.args if isinstance(each, ConnectionError)), None)
    if broken is not None:
        error = broken
    kind, reason = next((kind, reason) for types, kind, reason in _URLLIB3 if isinstance(error, types))
    return kind(f"{what}: {reason}")


_URLLIB3: tuple[tuple[tuple[type[Exception], ...], type[ModelfsError], str], ...] = (
    # the first row whose types fit
    ((_urllib3.NameResolutionError,), StoreUnavailableError, _UNRESOLVED),
    (
        (_urllib3.ConnectTimeoutError, _urllib3.ProxyError),  # NewConnectionError is one
        StoreUnavailableError,
        _UNCONNECTED,
    ),
    ((_urllib3.TimeoutError,), StoreUnavailableError, _SILENT),
    (
        (_urllib3.SSLError, ssl.SSLError),
        StoreUnavailableError,
        "the TLS handshake fails; is the store's URL http:// perhaps?",
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
        "the store's answer is broken, or not HTTP; check that host and port are the store's",
    ),
    ((ValueError,), StoreRefusedError, "urllib3 cannot make this request"),  # LocationValueError and its kinds
    ((ConnectionError,), StoreUnavailableError, "the store broke the connection"),
    ((Exception,), StoreUnavailableError, "the request failed on its way"),
)
