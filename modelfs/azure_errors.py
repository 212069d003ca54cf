"""What Azure says when it refuses, in our exceptions.

Law: as in ``s3_errors``: by HTTP status and Azure's error code. Of an answer nothing but the code is quoted.
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

_AGAIN = {408, 425, 429}
_CODE = re.compile(r"<Code>\s*([A-Za-z0-9]{1,64})\s*</Code>")
_VERSION_GONE = {412, 416}  # 416: the object has become shorter, and the store looked at that first

_ACCESS = {
    "AccountIsDisabled": "the account is disabled",
    "AuthenticationFailed": "the key, SAS or token is wrong, or this machine's clock is: check them",
    "AuthorizationFailure": "the account's firewall keeps this machine out, or refuses this kind of credential",
    "AuthorizationPermissionMismatch": "it may not read: give it the role Storage Blob Data Reader, or a SAS with rl",
    "AuthorizationProtocolMismatch": "the SAS is for https only",
    "AuthorizationResourceTypeMismatch": "the SAS is not for containers and objects: make one with --resource-types co",
    "AuthorizationServiceMismatch": "the SAS is not for blobs: make one with --services b",
    "AuthorizationSourceIPMismatch": "the SAS is not for this machine's address",
    "InsufficientAccountPermissions": "it may not read: give it the role Storage Blob Data Reader",
    "InvalidAuthenticationInfo": "the token is wrong or has expired: get a new one",
    "KeyBasedAuthenticationNotPermitted": "the account takes no keys: use an identity, or a user-delegation SAS",
    "NoAuthenticationInformation": "nobody may read here without credentials: set AZURE_STORAGE_KEY or use a SAS",
    "PublicAccessNotPermitted": "nobody may read here without credentials: set AZURE_STORAGE_KEY or use a SAS",
}
_ABSENT = {
    "ContainerNotFound": "there is no such container; check its name, and the account's",
    "ResourceNotFound": "there is no such container, or it is not for everybody: set AZURE_STORAGE_KEY or use a SAS",
    "FilesystemNotFound": "there is no such container; check its name, and the account's",
}
_ARCHIVED = {
    "BlobArchived": "the object is archived: rehydrate it first",
    "BlobBeingRehydrated": "the object is being rehydrated: wait until that is done",
}
_REFUSED = {
    "ContainerBeingDeleted": "the container is being deleted",
    "ContainerDisabled": "the container is disabled",
    "InvalidResourceName": "the name of the container is not one that Azure allows: check the URL",
}


class Refusal(NamedTuple):
    """An answer that is not a success: what an error is made of."""

    status: int
    code: str = ""

    @classmethod
    def of(cls, status: int, body: str) -> "Refusal":
        """Read the code from the answer's body, which may be anything."""
        code = _CODE.search(body)
        return cls(status, code[1] if code else "")

    def __str__(self) -> str:
        """Return "403 AuthenticationFailed"."""
        return f"{self.status} {self.code}".rstrip()


def from_refusal(refusal: Refusal, *, what: str, complaint: str = "") -> ModelfsError:
    """Return the error for an answer that is no success.

    ``what`` begins the sentence: "cannot list as://a/c". ``complaint`` is what is wrong with the credential, as far as
    it says so itself; of a refused one it is the best advice.
    """
    status, code = refusal
    error: type[ModelfsError] = StoreRefusedError
    advice = _REFUSED.get(code, "")
    if code in _ARCHIVED:
        error, advice = ObjectArchivedError, _ARCHIVED[code]
    elif code not in _REFUSED and (status in _AGAIN or (status >= 500 and status != 501)):  # noqa: PLR2004  HTTP's classes
        error = StoreUnavailableError
    elif code in _ACCESS or status in {401, 403}:
        error = AccessRefusedError
        advice = complaint or _ACCESS.get(code, MAY)
    elif code in _ABSENT or status == 404:  # noqa: PLR2004  an HTTP status
        error = ObjectNotFoundError
        advice = _ABSENT.get(code, "check that the URL is a blob endpoint's")
    elif status == 412:  # noqa: PLR2004  an HTTP status
        error = VersionGoneError
        advice = "this version was replaced"
    return error(f"{what}: the store answers {refusal}" + (f"; {advice}" if advice else ""))


MAY = (
    "check the credentials, and that they may read and list the container (Storage Blob Data Reader, or a SAS with rl)"
)


def from_write(refusal: Refusal, *, what: str, complaint: str = "") -> ModelfsError:
    """Return the error for a Put Blob that is answered with no success."""
    if refusal.code in _MAY_NOT_WRITE or (refusal.status == 403 and refusal.code not in _ACCESS):  # noqa: PLR2004
        return AccessRefusedError(f"{what}: the store answers {refusal}; {complaint or MAY_WRITE}")
    return from_refusal(refusal, what=what, complaint=complaint)


_MAY_NOT_WRITE = {"AuthorizationPermissionMismatch", "InsufficientAccountPermissions"}
MAY_WRITE = "it may not write: give it the role Storage Blob Data Contributor, or a SAS with create and write (rlcw)"


def from_read(refusal: Refusal, *, what: str, complaint: str = "") -> ModelfsError:
    """Return the error for a pinned read that is answered with no success."""
    if refusal.status == 404 and not refusal.code:  # noqa: PLR2004  an HTTP status
        # not Azure's own: a proxy answers so while the store behind it is away
        return StoreUnavailableError(f"{what}: the answer is 404, without an error code of Azure's")
    if refusal.status in _VERSION_GONE:
        return VersionGoneError(f"{what}: this version was replaced")
    if refusal.code == "BlobNotFound":
        return VersionGoneError(f"{what}: this version was deleted")
    if 300 <= refusal.status < 400:  # noqa: PLR2004  HTTP's redirects
        return redirected(what)
    return from_refusal(refusal, what=what, complaint=complaint)


def redirected(what: str) -> ModelfsError:
    """Return the error for a redirect: where it leads to must not see the credential."""
    return StoreRefusedError(f"{what}: the store redirects; check that the URL is a blob endpoint's")
