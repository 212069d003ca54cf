"""What S3 says when something fails, in our exceptions.

Law: an answer becomes one of our exceptions here, by HTTP status and S3's error code; what fails below HTTP's answers
is told by the errors module of the library that asked. Of an answer's body only the code and the region are quoted: S3
echoes session tokens and key ids in its messages, and an exception that carries such a body is not chained to ours.
"""

import re
from typing import NamedTuple

from modelfs.errors import (
    AccessRefusedError,
    ModelfsError,
    ObjectArchivedError,
    ObjectNotFoundError,
    StoreRefusedError,
    StoreUnavailableError,
    VersionGoneError,
)

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
        advice = _ADVICE.get(code, MAY)
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


def from_write(refusal: Refusal, *, what: str) -> ModelfsError:
    """Return the error for a PUT that is answered with no success."""
    if refusal.status in {401, 403} and refusal.code not in _ADVICE:
        return AccessRefusedError(f"{what}: the store answers {refusal}; {MAY_WRITE}")
    return from_refusal(refusal, what=what)


MAY_WRITE = "check that the credentials may write there (s3:PutObject)"

_NO_SUCH_OBJECT = {"NoSuchKey", "NoSuchVersion"}
_VERSION_GONE = {412, 416}  # 416: the object has become shorter, and the store looked at that first
MAY = "check the credentials, and that they may list the bucket (s3:ListBucket) and read it (s3:GetObject)"


def from_read(refusal: Refusal, *, what: str) -> ModelfsError:
    """Return the error for a pinned read that is answered with no success."""
    if refusal.status == 404 and not refusal.code:  # noqa: PLR2004  an HTTP status
        # not S3's own: a proxy answers so while the store behind it is away
        return StoreUnavailableError(f"{what}: the answer is 404, without an S3 error code")
    if refusal.status in _VERSION_GONE:
        return VersionGoneError(f"{what}: this version was replaced")
    if refusal.code in _NO_SUCH_OBJECT:
        return VersionGoneError(f"{what}: this version was deleted")
    return from_refusal(refusal, what=what)
