"""Who may ask: one access key, with AWS signature version 4 checked against its secret; or who has an OAuth token.

Law: no signature is AccessDenied, another key id is InvalidAccessKeyId, a wrong secret is SignatureDoesNotMatch,
another session token is InvalidToken: the answers that a user with wrong keys meets. The body's hash, the date and the
scope are taken as the client tells them: this server guards nothing.
"""

import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import quote, unquote

from faultserver.answers import ApiError
from faultserver.wire import Request

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/,]+)/([^,]+), ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True)
class Keys:
    """The one identity that is let in."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None

    def check(self, request: Request) -> None:
        """Raise ApiError unless the request is signed with these keys."""
        sent = _AUTHORIZATION.fullmatch(request.headers.get("authorization", ""))
        if sent is None:
            raise ApiError(403, "AccessDenied", "Access Denied")
        key_id, scope, signed, signature = sent.groups()
        if key_id != self.access_key_id:
            raise ApiError(
                403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."
            )
        if request.headers.get("x-amz-security-token") != self.session_token:
            raise ApiError(400, "InvalidToken", "The provided token is malformed or otherwise invalid.")
        if not hmac.compare_digest(self._signature(request, scope, signed.split(";")), signature):
            raise ApiError(
                403,
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided.",
            )

    def _signature(self, request: Request, scope: str, signed: Iterable[str]) -> str:
        path, _, query = request.target.partition("?")
        canonical = "\n".join(
            [
                request.method,
                path,
                "&".join(sorted(_pair(each) for each in query.split("&") if each)),
                *(f"{name}:{' '.join(request.headers.get(name, '').split())}" for name in signed),
                "",
                ";".join(signed),
                request.headers.get("x-amz-content-sha256", ""),
            ]
        )
        digest = sha256(canonical.encode("latin-1")).hexdigest()
        to_sign = f"AWS4-HMAC-SHA256\n{request.headers.get('x-amz-date', '')}\n{scope}\n{digest}"
        key = b"AWS4" + self.secret_access_key.encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        return hmac.digest(key, to_sign.encode(), "sha256").hex()


class Bearer:
    """The OAuth tokens that are let in; a test may change them at any time."""

    def __init__(self, *tokens: str) -> None:
        self.tokens = set(tokens)

    def check(self, request: Request) -> None:
        """Raise ApiError as GCS does unless the request carries one of the tokens."""
        sent = request.headers.get("authorization")
        if sent is None:
            raise ApiError(401, "AuthenticationRequired", "Anonymous caller does not have access to the bucket.")
        if sent.removeprefix("Bearer ") not in self.tokens:
            raise ApiError(401, "AuthenticationRequired", "Invalid Credentials")


def _pair(sent: str) -> str:
    """Return one query parameter in canonical form, however the client had escaped it."""
    name, _, value = sent.partition("=")
    return f"{quote(unquote(name), safe='-_.~')}={quote(unquote(value), safe='-_.~')}"
