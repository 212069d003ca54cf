"""What obstore raises below HTTP's answers, in our exceptions: the same for every cloud.

Law: as in ``http_errors``. obstore tells the status of an answer only in its text (0.12), so that is where it is read;
where the text is not as expected the type still decides, on the side of trying again.
"""

import re

import obstore.exceptions

from modelfs.errors import (
    AccessRefusedError,
    CorruptAnswerError,
    ModelfsError,
    StoreRefusedError,
    StoreUnavailableError,
    VersionGoneError,
)
from modelfs.http_errors import SILENT, UNCONNECTED, UNRESOLVED, UNTRUSTED

OBSTORE_ERRORS = (obstore.exceptions.BaseError, OSError, ValueError, NotImplementedError)
"""All that a request through obstore raises: some of its errors are builtins, such as FileNotFoundError."""

_STATUS = re.compile(r"Server returned non-2xx status code: ([0-9]{3})\b")


def status_of(error: Exception) -> int | None:
    """Return the HTTP status that ``error`` is about, or None."""
    found = _STATUS.search(str(error))
    return int(found[1]) if found else None


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
    (_ANY, "InvalidCertificate", StoreRefusedError, UNTRUSTED),
    (_ANY, "IncompleteBody", CorruptAnswerError, "the store's answer is shorter than it said"),
    (_ANY, "UnexpectedRange", CorruptAnswerError, "the store's answer is not the range that was asked for"),
    (_ANY, "NotPartial", CorruptAnswerError, "the store's answer is not the range that was asked for"),
    (_ANY, "dns error", StoreUnavailableError, UNRESOLVED),
    (_ANY, "kind: Connect", StoreUnavailableError, UNCONNECTED),
    (_ANY, "kind: Timeout", StoreUnavailableError, SILENT),
    (_ANY, "kind: Interrupted", StoreUnavailableError, "the store broke the connection"),
    (_ANY, "", StoreUnavailableError, "the request failed on its way"),
)
