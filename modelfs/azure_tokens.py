"""Tokens of Microsoft Entra ID, had through azure-identity.

Law: azure-identity is imported only when one of these sources is used, since it costs a second. What it raises becomes
ours here. Of its messages only the error's number is quoted: they hold the answers of servers.

A token is used until five minutes before its end, and then renewed; when that fails, it is used to its end.
"""

import logging
import re
import threading
import time
from collections.abc import Callable
from typing import Any

from modelfs.azure_signing import AzureBearer
from modelfs.errors import AccessRefusedError, ModelfsError, StoreUnavailableError

log = logging.getLogger(__name__)

SCOPE = "https://storage.azure.com/.default"
"""What the token is for; the same in every cloud."""

_AHEAD_S = 300.0
_PAUSE_S = 30.0  # between tries to renew a token that still lasts
_BOUNDS: dict[str, Any] = {"retry_total": 1, "connection_timeout": 5, "read_timeout": 15}  # our own loop tries again
_NUMBER = re.compile(r"\bAADSTS[0-9]{3,9}\b")


class Tokens:
    """One identity's tokens. Thread-safe."""

    def __init__(
        self, open_credential: Callable[[], Any], what: str, advice: str, *, clock: Callable[[], float]
    ) -> None:
        """Ask nobody yet. ``what`` names the identity, ``advice`` says what to do when it is refused."""
        self._open_credential = open_credential
        self._what = what
        self._advice = advice
        self._clock = clock
        self._lock = threading.Lock()
        self._credential: Any = None
        self._token: AzureBearer | None = None
        self._renew_at = 0.0

    def __call__(self) -> AzureBearer:
        """Return the token of now; see AzureSource."""
        with self._lock:  # one request for a token at a time; whoever needs one has to wait for it anyway
            now = self._clock()
            if self._token is None or now >= self._renew_at:
                self._renew(now)
            assert self._token is not None  # noqa: S101  _renew raises without one
            return self._token

    def _renew(self, now: float) -> None:
        try:
            self._token = self._ask()
            lasts_s = self._token.expires_at - now
            self._renew_at = now + max(lasts_s - _AHEAD_S, lasts_s / 2)
        except ModelfsError as error:
            if self._token is None or self._token.expires_at <= now:
                raise
            self._renew_at = now + _PAUSE_S
            log.warning("the Azure token cannot be renewed, going on with the old one error=%s", error)

    def _ask(self) -> AzureBearer:
        from azure.core import exceptions  # noqa: PLC0415  see the law

        # their warnings are of many lines and quote servers; what matters of them comes out as an error of ours
        for library in ("azure", "msal"):
            logging.getLogger(library).setLevel(logging.ERROR)
        try:
            if self._credential is None:
                self._credential = self._open_credential()
            found = self._credential.get_token(SCOPE)
        except (exceptions.ServiceRequestError, exceptions.ServiceResponseError) as error:
            raise StoreUnavailableError(f"{self._what}: the source of Azure tokens cannot be reached") from error
        except exceptions.ClientAuthenticationError as error:  # also what says that a source is not there
            if _is_of_the_network(error):
                raise StoreUnavailableError(f"{self._what}: the source of Azure tokens cannot be reached") from error
            raise AccessRefusedError(f"{self._what} gives no token{_number(error)}; {self._advice}") from None
        except exceptions.HttpResponseError as error:
            raise StoreUnavailableError(f"{self._what}: the source of Azure tokens fails{_number(error)}") from None
        except (exceptions.AzureError, ValueError, OSError) as error:
            raise AccessRefusedError(f"{self._what} cannot be used{_number(error)}; {self._advice}") from None
        return AzureBearer(found.token, float(found.expires_on))


def managed_identity(client_id: str) -> Tokens:
    """Return the tokens of the machine's own identity, or of the one that ``client_id`` names."""

    def open_credential() -> Any:
        from azure.identity import ManagedIdentityCredential  # noqa: PLC0415  see the law

        return ManagedIdentityCredential(client_id=client_id or None, **_BOUNDS)

    advice = "check that this machine has one, and AZURE_STORAGE_CLIENT_ID"
    return Tokens(open_credential, "the managed identity", advice, clock=time.time)


def default_chain(client_id: str, authority: str) -> Tokens:
    """Return the tokens of whatever azure-identity's default chain finds."""

    def open_credential() -> Any:
        from azure.identity import DefaultAzureCredential  # noqa: PLC0415  see the law

        return DefaultAzureCredential(
            managed_identity_client_id=client_id or None,
            workload_identity_client_id=client_id or None,
            **_authority(authority),
            **_BOUNDS,
        )

    advice = "set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or run az login"
    return Tokens(open_credential, "Azure's default chain", advice, clock=time.time)


def service_principal(
    tenant: str, client: str, *, secret: str, certificate: str, password: str, authority: str
) -> Tokens:
    """Return the tokens of an application with a secret, or with the certificate in a file."""

    def open_credential() -> Any:
        from azure import identity  # noqa: PLC0415  see the law

        if secret:
            return identity.ClientSecretCredential(tenant, client, secret, **_authority(authority), **_BOUNDS)
        return identity.CertificateCredential(
            tenant, client, certificate, password=password or None, **_authority(authority), **_BOUNDS
        )

    advice = "check AZURE_TENANT_ID, AZURE_CLIENT_ID and its secret"
    return Tokens(open_credential, "the service principal", advice, clock=time.time)


def workload_identity(tenant: str, client: str, *, file: str, authority: str) -> Tokens:
    """Return the tokens of a pod, in exchange for the one in ``file``, which is read anew each time."""

    def open_credential() -> Any:
        from azure.identity import WorkloadIdentityCredential  # noqa: PLC0415  see the law

        return WorkloadIdentityCredential(
            tenant_id=tenant, client_id=client, token_file_path=file, **_authority(authority), **_BOUNDS
        )

    advice = "check the pod's service account and its federated credential"
    return Tokens(open_credential, "the workload identity", advice, clock=time.time)


def from_cli(tenant: str) -> Tokens:
    """Return the tokens of whoever is logged in with ``az login``."""

    def open_credential() -> Any:
        from azure.identity import AzureCliCredential  # noqa: PLC0415  see the law

        return AzureCliCredential(tenant_id=tenant)

    return Tokens(open_credential, "the Azure CLI", "run az login", clock=time.time)


def _authority(host: str) -> dict[str, Any]:
    """Return where to log in. Another host than Microsoft's is one's own: it cannot be looked up at Microsoft's."""
    return {"authority": host, "disable_instance_discovery": True} if host else {}


def _is_of_the_network(error: BaseException) -> bool:
    """Tell whether a refusal is none: azure-identity also calls it one when it could not ask."""
    from azure.core import exceptions  # noqa: PLC0415  see the law

    cause = error.__cause__ or error.__context__
    for _ in range(8):  # causes could lead in a circle
        if cause is None:
            return False
        if isinstance(cause, exceptions.ServiceRequestError | exceptions.ServiceResponseError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _number(error: Exception) -> str:
    found = _NUMBER.search(str(error))
    return f" ({found[0]})" if found else ""
