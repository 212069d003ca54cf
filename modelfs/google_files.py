"""Google's credential files, and the tokens that google-auth makes of them.

Law: a file is read again when it changes, and followed through symbolic links. Only its path and
its kind get into messages. What google-auth raises becomes ours here, and nothing of it is quoted but OAuth's error
codes: its messages hold the answers of servers.

google-auth knows the protocols; it is imported only when there is a file (0.3 s and 26 MiB, most of it cryptography).
Its own finding of credentials is not used: it reads the process's environment, and its metadata module needs
``requests``. It retries a token endpoint that fails three times by itself, within seconds.
"""

import hashlib
import json
import re
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

import urllib3

from modelfs.credential_files import check_writers, open_file, stamp
from modelfs.errors import AccessRefusedError, StoreUnavailableError, UsageError
from modelfs.gcs_tokens import Token
from modelfs.proxies import proxy_for

SCOPES = ("https://www.googleapis.com/auth/devstorage.read_only",)

_FILE_BYTES = 1024 * 1024  # the largest real ones have 3 KB
_CONNECT_S, _ANSWER_S = 5.0, 20.0
_NO_EXPIRY_S = 300.0  # for a token that does not tell how long it lasts
_WHOLE = frozenset({"service_account", "authorized_user"})  # the kinds whose file alone says who is let in
_CODE = re.compile(r"\b(?:invalid|unauthorized|unsupported|access|server|temporarily)_[a-z_]{1,40}\b")


class KeyFile:
    """The tokens of a credential file. ``where`` tells its path of now, ``name`` how a person called it."""

    def __init__(self, where: Callable[[], Path], name: str, environment: Mapping[str, str]) -> None:
        """Read the file. Raises UsageError when it cannot be used."""
        self._where = where
        self._name = name
        self._request = _Request(environment)
        self._edition: Hashable = None
        self._load()

    def ask(self) -> Token:
        """Return a new token; see ``Issuer.ask``. Called by one thread at a time."""
        if self.edition() != self._edition:
            try:
                self._load()
            except UsageError as error:  # half written, perhaps: in mid-read it is worth another try
                raise AccessRefusedError(str(error)) from error
        _with_google(lambda: self._credentials.refresh(self._request), f"no token for {self._origin}")
        expiry = self._credentials.expiry  # naive, in UTC
        expires_at_s = expiry.replace(tzinfo=UTC).timestamp() if expiry else time.time() + _NO_EXPIRY_S
        return Token(self._credentials.token, expires_at_s, self._origin, self._principal)

    def principal(self) -> str | None:
        """Return who the file speaks for; see ``Issuer.principal``.

        A federated identity without an account of its own is told only by what is exchanged for it, which is another in
        each pod.
        """
        return self._principal or self._impersonated or None

    def edition(self) -> Hashable:
        """Return path and stamp of the file."""
        path = self._where()
        return path, stamp(path)

    def _load(self) -> None:
        edition = self.edition()
        path = self._where()
        self._credentials, info, digest = _read(path, f"{self._name}={path}")
        kind = info["type"]
        self._edition = edition
        self._principal = digest if kind in _WHOLE else ""
        self._impersonated = str(info.get("service_account_impersonation_url") or "")
        self._origin = f"{self._name}={path} ({kind})"


def _read(path: Path, named: str) -> tuple[Any, dict[str, Any], str]:
    """Return google-auth's credentials of a file, what it says, and a digest of all of it."""
    check_writers(path)
    try:
        with open_file(path) as file:
            text = file.read(_FILE_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{named} cannot be read: {error.strerror}") from error
    try:
        info = json.loads(text.decode("utf-8-sig")) if len(text) <= _FILE_BYTES else None
    except (ValueError, RecursionError):
        info = None
    if not isinstance(info, dict):
        raise UsageError(f"{named} is not a JSON file of Google credentials: download the key again, or name another")
    kind = info.get("type")
    if kind not in _KINDS:
        raise UsageError(f"{named} has no 'type' that is known: it must be one of {', '.join(_KINDS)}")
    try:
        return _KINDS[kind](info), info, hashlib.blake2b(text).hexdigest()
    except Exception:  # noqa: BLE001  google-auth raises ValueError, KeyError, TypeError … for wrong fields
        raise UsageError(
            f"{named} is not whole: it says type={kind}, but google-auth cannot use its other fields; download it again"
        ) from None


def _service_account(info: dict[str, Any]) -> Any:
    from google.oauth2 import service_account  # noqa: PLC0415  see the module's law

    return service_account.Credentials.from_service_account_info(info, scopes=SCOPES)


def _authorized_user(info: dict[str, Any]) -> Any:
    from google.oauth2 import credentials  # noqa: PLC0415  only when it is needed

    return credentials.Credentials.from_authorized_user_info(info)


def _external_account(info: dict[str, Any]) -> Any:
    source = info.get("credential_source")
    if isinstance(source, dict) and "executable" in source:
        from google.auth import pluggable  # noqa: PLC0415  only when it is needed

        return pluggable.Credentials.from_info(info, scopes=SCOPES)
    if info.get("subject_token_type") == "urn:ietf:params:aws:token-type:aws4_request":
        from google.auth import aws  # noqa: PLC0415  only when it is needed

        return aws.Credentials.from_info(info, scopes=SCOPES)
    from google.auth import identity_pool  # noqa: PLC0415  only when it is needed

    return identity_pool.Credentials.from_info(info, scopes=SCOPES)


def _external_user(info: dict[str, Any]) -> Any:
    from google.auth import external_account_authorized_user  # noqa: PLC0415  only when it is needed

    return external_account_authorized_user.Credentials.from_info(info)


def _impersonated(info: dict[str, Any]) -> Any:
    from google.auth import impersonated_credentials  # noqa: PLC0415  only when it is needed

    return impersonated_credentials.Credentials.from_impersonated_service_account_info(info, scopes=SCOPES)


_KINDS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "service_account": _service_account,
    "authorized_user": _authorized_user,
    "external_account": _external_account,
    "external_account_authorized_user": _external_user,
    "impersonated_service_account": _impersonated,
}


def _with_google(call: Callable[[], object], what: str) -> None:
    from google.auth import exceptions  # noqa: PLC0415  only when it is needed

    try:
        call()
    except exceptions.TransportError:
        raise StoreUnavailableError(f"{what}: Google's token endpoint cannot be reached; check the network") from None
    except exceptions.GoogleAuthError as error:
        code = _CODE.search(str(error))
        told = f" ({code[0]})" if code else ""
        if error.retryable:
            raise StoreUnavailableError(f"{what}: the token endpoint fails{told}") from None
        raise AccessRefusedError(f"{what}: it is refused{told}; {_advice(code[0] if code else '')}") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise AccessRefusedError(f"{what}: the token endpoint's answer is not understood") from None


def _advice(code: str) -> str:
    if code == "invalid_grant":
        return "the key or login was revoked or has expired, or this machine's clock is wrong"
    return "check that the credentials are valid, and that the files that they name are there"


@dataclass(frozen=True, slots=True)
class _Answer:
    """What google-auth wants of an answer."""

    status: int
    headers: Mapping[str, str]
    data: bytes


class _Request:
    """How google-auth sends a request: by urllib3, through the proxy that the environment names for it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **_more: object,
    ) -> _Answer:
        from google.auth import exceptions  # noqa: PLC0415  only when it is needed

        limits = urllib3.Timeout(connect=_CONNECT_S, read=timeout or _ANSWER_S)
        proxy = proxy_for(url, self._environment)
        # a pool for each request: there is one an hour
        with urllib3.ProxyManager(proxy) if proxy else urllib3.PoolManager() as pool:
            try:
                answer = pool.request(
                    method, url, body=body, headers=headers, timeout=limits, retries=False, redirect=False
                )
            except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                raise exceptions.TransportError(type(error).__name__) from None
            return _Answer(answer.status, answer.headers, answer.data)
