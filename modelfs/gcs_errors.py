"""What Google Cloud Storage says when it refuses, in our exceptions.

Law: as in ``s3_errors``; what fails below HTTP's answers is told by ``http_errors``. Of an answer only the status and
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
from modelfs.http_errors import by_type

_AGAIN = {408, 425, 429}
_STATUS = re.compile(r"Server returned non-2xx status code: ([0-9]{3})\b")
_VERSION_GONE = {404, 412, 416}  # 416: the object has become shorter, and the store looked at that first
_REASON = re.compile(r'"reason"\s*:\s*"([A-Za-z]{1,64})"|<Code>\s*([A-Za-z]{1,64})\s*</Code>')
_PAYER = "the requester pays for this bucket: set GOOGLE_CLOUD_QUOTA_PROJECT to the project that pays"
_UNKNOWN = (
    "the store does not take the token, or wants one: check the credentials: GOOGLE_APPLICATION_CREDENTIALS, gcloud"
    " auth application-default login, or the machine's service account"
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


def from_obstore(error: Exception, *, what: str) -> ModelfsError:
    """Return the error for what a read through obstore raised."""
    text = str(error)
    found = _STATUS.search(text)
    if found and int(found[1]) in _VERSION_GONE:
        return VersionGoneError(f"{what}: this version was replaced or deleted")
    if found:
        return from_status(int(found[1]), text, what=what)
    if "Received redirect" in text:
        return StoreRefusedError(f"{what}: the store redirects, which Google's does not; check the endpoint")
    return by_type(error, what=what)


def is_about_the_token(error: Exception) -> bool:
    """Return whether obstore raised ``error`` because the store does not take the token."""
    found = _STATUS.search(str(error))
    return bool(found and found[1] == "401")
