"""What S3, urllib3 and obstore say when something fails, in our exceptions.

Law: every foreign exception of a request becomes one of ours here, by type, then by HTTP status and S3's error code;
a test walks the foreign class trees. Of an answer's body only the code and the region are quoted: S3 echoes session
tokens and key ids in its messages, and an exception that carries such a body is not chained to ours.

obstore tells the status only in its text (0.12), so that is where it is read; where the text is not as expected the
type still decides, on the side of trying again.
"""

import re
import ssl
from typing import NamedTuple

import obstore.exceptions
import urllib3.exceptions

from modelfs.errors import (
    AccessRefusedError,
    CorruptAnswerError,
    ModelfsError,
    ObjectArchivedError,
    ObjectNotFoundError,
    StoreRefusedError,
    StoreUnavailableError,
    VersionGoneError,
)

OBSTORE_ERRORS = (obstore.exceptions.BaseError, OSError, ValueError, NotImplementedError)
"""All that a request through obstore raises: some of its errors are builtins, such as FileNotFoundError."""

URLLIB3_ERRORS = (urllib3.exceptions.HTTPError, OSError, ValueError)
"""All that a request through urllib3 raises."""

_ADVICE = {
    "InvalidAccessKeyId": "the store does not know this access key: check AWS_ACCESS_KEY_ID or the profile",
    "SignatureDoesNotMatch": "the secret key is wrong: check AWS_SECRET_ACCESS_KEY or the profile",
    "ExpiredToken": "the session token has expired: get new credentials",
    "InvalidToken": "the session token is wrong: check AWS_SESSION_TOKEN or the profile",
    "TokenRefreshRequired": "the session token has expired: get new credentials",
    "RequestTimeTooSkewed": "this machine's clock is wrong: set it",
}
_AGAIN = {408, 425, 429}
_CODE = re.compile(r"<Code>\s*([A-Za-z0-9._-]{1,64})\s*</Code>")
_REGION_NAME = "[a-z0-9-]{1,32}"
_REGION = re.compile(rf"<Region>\s*({_REGION_NAME})\s*</Region>")
_STATUS = re.compile(r"Server returned non-2xx status code: ([0-9]{3})\b")


class WrongRegionError(StoreRefusedError):
    """The bucket is in another region; ``region`` is which, or "" where the store does not say."""

    def __init__(self, message: str, region: str = "") -> None:
        super().__init__(message)
        self.region = region


class Refusal(NamedTuple):
    """An answer that is not a success: what an error is made of."""

    status: int
    code: str = ""
    region: str = ""

    @classmethod
    def of(cls, status: int, body: str, *, region: str = "") -> "Refusal":
        """Read the code and the region from the answer's body, which may be anything, as may its header ``region``."""
        code = _CODE.search(body)
        region = region if re.fullmatch(_REGION_NAME, region) else ""
        if not region and (named := _REGION.search(body)):
            region = named[1]
        return cls(status, code[1] if code else "", region)

    def __str__(self) -> str:
        """Return "403 AccessDenied"."""
        return f"{self.status} {self.code}".rstrip()


def from_refusal(refusal: Refusal, *, what: str) -> ModelfsError:
    """Return the error for an answer that is no success. ``what`` begins the sentence: "cannot list s3://b"."""
    status, code, region = refusal
    error: type[ModelfsError] = StoreRefusedError
    advice = ""
    if code == "RequestTimeout" or status in _AGAIN or (status >= 500 and status != 501):  # noqa: PLR2004  HTTP's classes
        error = StoreUnavailableError
        advice = "it is overloaded, or in trouble itself: try again later"
    elif code == "InvalidObjectState":
        error = ObjectArchivedError
        advice = "the object is archived: restore it first"
    elif code in _ADVICE or status in {401, 403}:
        error = AccessRefusedError
        advice = _ADVICE.get(code, _MAY)
    elif status in {301, 302, 307, 308} or (region and status == 400):  # noqa: PLR2004  an HTTP status
        named = f"the bucket is in region {region}: set AWS_REGION={region}"
        advice = named if region else "the region may be wrong: set AWS_REGION"
        return WrongRegionError(f"{what}: the store answers {refusal}; {advice}", region)
    elif status == 404:  # noqa: PLR2004  an HTTP status
        error = ObjectNotFoundError
        absent = "there is no such bucket; check its name, and the endpoint if it is not AWS"
        advice = absent if code == "NoSuchBucket" else "check that the URL is an S3 endpoint's"
    elif status == 412:  # noqa: PLR2004  an HTTP status
        error = VersionGoneError
        advice = "this version was replaced"
    return error(f"{what}: the store answers {refusal}" + (f"; {advice}" if advice else ""))


_UNRESOLVED = "the store's host name cannot be resolved; check the URL, the region, and this machine's DNS"
_UNCONNECTED = "the store cannot be connected to; check host and port, that it runs, and that this machine may reach it"
_SILENT = "the store stopped answering; check the URL, and the network between"
_MAY = "check the credentials, and that they may list the bucket (s3:ListBucket) and read it (s3:GetObject)"
_UNTRUSTED = "the store's certificate is not trusted; name the file of its authority with --ca-bundle or AWS_CA_BUNDLE"


def from_obstore(error: Exception, *, what: str) -> ModelfsError:
    """Return the error for what a read through obstore raised."""
    text = str(error)
    if found := _STATUS.search(text):
        refusal = Refusal.of(int(found[1]), text)
        if refusal.status == 404 and not refusal.code:  # noqa: PLR2004  an HTTP status
            # not S3's own: a proxy answers so while the store behind it is away
            return StoreUnavailableError(f"{what}: the answer is 404, without an S3 error code")
        if refusal.status not in _VERSION_GONE and refusal.code not in _NO_SUCH_OBJECT:
            return from_refusal(refusal, what=what)
    return by_type(error, what=what)


def by_type(error: Exception, *, what: str) -> ModelfsError:
    """Return the error for what obstore raised, by its type and text alone: the same for every cloud."""
    text = str(error)
    kind, reason = next(
        (kind, reason) for types, sign, kind, reason in _OBSTORE if isinstance(error, types) and sign in text
    )
    return kind(f"{what}: {reason}")


_NO_SUCH_OBJECT = {"NoSuchKey", "NoSuchVersion"}
_VERSION_GONE = {412, 416}  # 416: the object has become shorter, and the store looked at that first
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
        f"the store refuses access; {_MAY}",
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
    (_ANY, "Received redirect", WrongRegionError, "the store redirects; the region may be wrong: set AWS_REGION"),
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
