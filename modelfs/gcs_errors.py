"""What Google Cloud Storage says when it refuses, in our exceptions.

Law: as in ``s3_errors``. Of an answer only the status and
Google's word for the reason are quoted.
"""

import re

from modelfs.errors import (
    AccessRefusedError,
    ModelfsError,
    ObjectNotFoundError,
    StoreRefusedError,
    StoreUnavailableError,
    VersionGoneError,
)

_AGAIN = {408, 425, 429}
_VERSION_GONE = {404, 412, 416}  # 416: the object has become shorter, and the store looked at that first
_REASON = re.compile(r'"reason"\s*:\s*"([A-Za-z]{1,64})"|<Code>\s*([A-Za-z]{1,64})\s*</Code>')
_PAYER = "the requester pays for this bucket: set GOOGLE_CLOUD_QUOTA_PROJECT to the project that pays"
_UNKNOWN = (
    "the store does not take the token, or wants one: check the credentials: GOOGLE_APPLICATION_CREDENTIALS, gcloud"
    " auth application-default login, or the machine's service account"
)
_MAY_NOT_WRITE = (
    "grant the account roles/storage.objectUser on the bucket (it is to create an object, or to replace it)"
)
_MAY_NOT = "grant the account roles/storage.objectViewer on the bucket"


def from_status(status: int, body: str, *, what: str) -> ModelfsError:
    """Return the error for an answer that is no success. ``what`` begins the sentence: "cannot list gs://b"."""
    found = _REASON.search(body)
    reason = (found[1] or found[2]) if found else ""
    error: type[ModelfsError] = StoreRefusedError
    advice = ""
    if status in _AGAIN or (status >= 500 and status != 501):  # noqa: PLR2004  HTTP's classes
        error = StoreUnavailableError
    elif reason.lower().startswith("userproject"):
        error, advice = AccessRefusedError, _PAYER
    elif status == 401:  # noqa: PLR2004  an HTTP status
        error, advice = AccessRefusedError, _UNKNOWN
    elif status == 403:  # noqa: PLR2004  an HTTP status
        error, advice = AccessRefusedError, _MAY_NOT
    elif status == 404:  # noqa: PLR2004  an HTTP status
        error, advice = ObjectNotFoundError, "there is no such bucket; check its name"
    said = f"{status} {reason}".rstrip()
    return error(f"{what}: the store answers {said}" + (f"; {advice}" if advice else ""))


def from_write(status: int, body: str, *, what: str) -> ModelfsError:
    """Return the error for a PUT that is answered with no success."""
    if status == 403 and "userproject" not in body.lower():  # noqa: PLR2004  an HTTP status
        return AccessRefusedError(f"{what}: the store answers {status}; {_MAY_NOT_WRITE}")
    return from_status(status, body, what=what)


def from_read(status: int, body: str, *, what: str) -> ModelfsError:
    """Return the error for a pinned read that is answered with no success."""
    if status in _VERSION_GONE:
        return VersionGoneError(f"{what}: this version was replaced or deleted")
    if 300 <= status < 400:  # noqa: PLR2004  HTTP's redirects
        return redirected(what)
    return from_status(status, body, what=what)


def redirected(what: str) -> ModelfsError:
    """Return the error for a redirect: where it leads to must not see the token."""
    return StoreRefusedError(f"{what}: the store redirects, which Google's does not; check the endpoint")
