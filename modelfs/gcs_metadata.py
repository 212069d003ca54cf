"""Tokens from the metadata server of Google's machines: Compute Engine, GKE with Workload Identity, Cloud Run.

Law: it is asked only where it plausibly is. Elsewhere its address is nobody's, and connecting to it would cost every
start a time-out.

google-auth's own module for it reads the process's environment when it is imported and needs ``requests``; what is
needed of it here is one GET. Source: Google's "Access and manage VM metadata".
"""

import json
from collections.abc import Mapping
from pathlib import Path
from time import time

from modelfs.errors import AccessRefusedError, StoreUnavailableError
from modelfs.gcs_tokens import Token
from modelfs.transport import OK, Link, Transport

_HOST = "metadata.google.internal"
_ACCOUNT = "/computeMetadata/v1/instance/service-accounts/default"
_CONNECT_S = 1.0  # it is on this machine, or on the other side of its network card
_ANSWER_S = 10.0  # that of GKE asks Google, and takes seconds when a pod is new
_NOT_FOUND = 404
_PRODUCT = Path("/sys/class/dmi/id/product_name")
_FLAVOR = {"Metadata-Flavor": "Google"}
"""What shows the server that the request is meant for it, and us that the answer is its own."""


class MetadataServer:
    """The server's tokens for the service account of this machine or pod."""

    def __init__(self, host: str = _HOST) -> None:
        """Connect to nothing yet."""
        self._account = f"http://{host}{_ACCOUNT}"
        link = Link(host, is_secure=False, connect_timeout_s=_CONNECT_S, stall_timeout_s=_ANSWER_S, max_connections=1)
        self._transport = Transport(link)

    def ask(self) -> Token:
        """Return the server's token; see ``Issuer.ask``."""
        what = "no token from Google's metadata server"
        reply = self._transport.get(f"{self._account}/token", _FLAVOR, what=what)
        if reply.headers.get("Metadata-Flavor") != "Google":
            raise AccessRefusedError(
                f"{what}: what answers at its address is another; set GOOGLE_APPLICATION_CREDENTIALS"
            )
        if reply.status == _NOT_FOUND:
            raise AccessRefusedError(
                f"{what}: this machine has no service account; attach one, or set GOOGLE_APPLICATION_CREDENTIALS, or"
                " write --no-sign-request for a public bucket"
            )
        if reply.status in {401, 403}:
            raise AccessRefusedError(f"{what}: it answers {reply.status}; may this pod use its service account?")
        if reply.status != OK:
            raise StoreUnavailableError(f"{what}: it answers {reply.status}")
        return _token(reply.body, what)

    def principal(self) -> str | None:
        """Return the name of the service account; see ``Issuer.principal``."""
        reply = self._transport.get(f"{self._account}/email", _FLAVOR, what="no name from Google's metadata server")
        if reply.status != OK or reply.headers.get("Metadata-Flavor") != "Google":
            return None
        return f"account {reply.body.decode('utf-8', 'replace').strip()}"

    def edition(self) -> None:
        """Return always the same: the server follows its account by itself."""


def find(environment: Mapping[str, str], *, product: Path = _PRODUCT) -> MetadataServer | None:
    """Return the metadata server where there plausibly is one, without asking it."""
    if environment.get("NO_GCE_CHECK", "").strip().lower() == "true":  # Google's own switch
        return None
    if host := environment.get("GCE_METADATA_HOST", "").strip():
        return MetadataServer(host)
    return MetadataServer() if environment.get("K_SERVICE") or _is_googles(product) else None


def _is_googles(product: Path) -> bool:
    try:
        return product.read_text(errors="replace").startswith("Google")
    except OSError:
        return False


def _token(body: bytes, what: str) -> Token:
    try:
        told = json.loads(body)
        value, lasts_s = told["access_token"], float(told["expires_in"])
    except (ValueError, KeyError, TypeError, RecursionError):
        value, lasts_s = None, 0.0
    if not isinstance(value, str) or not value:
        raise StoreUnavailableError(f"{what}: its answer is no token")
    return Token(value, time() + lasts_s, "the metadata server")
