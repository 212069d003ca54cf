"""What goes into a request to Azure so that it is let in: a shared key's signature, a SAS, or a bearer token.

Law: pure, but for the date. The values hide their secret in their repr.

Source: Azure's "Authorize with Shared Key" (the format for blobs, 2015-02-21 and later) and "Create a service SAS".
"""

import base64
import datetime as dt
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import format_datetime
from urllib.parse import quote, unquote, urlsplit

VERSION = "2023-11-03"
"""The version of the protocol: the first that both writes odd names in full (2021-02-12) and is obstore's own."""

_SIGNED_HEADERS = (
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
)


@dataclass(frozen=True, slots=True)
class AzureKey:
    """An account's key, in Base64."""

    account: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class AzureSas:
    """A shared access signature: ``token`` is a query, percent-encoded; ``expires_at`` is in Unix seconds."""

    token: str = field(repr=False)
    expires_at: float | None

    @classmethod
    def of(cls, text: str) -> "AzureSas | None":
        """Return the token that ``text`` is, or None. A "+" stays one: people paste signatures unencoded."""
        pairs = [part.partition("=") for part in text.split("&") if part]
        parameters = {unquote(name): unquote(value) for name, _, value in pairs}
        if not parameters.get("sig"):
            return None
        token = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in parameters.items())
        ends = [when for name in ("se", "ske") if (when := _unix_s(parameters.get(name, ""))) is not None]
        return cls(token, min(ends, default=None))

    def complaint(self, now_s: float) -> str:
        """Return why this token may be refused, as far as it says so itself; else an empty text."""
        says = {name: unquote(value) for name, _, value in (part.partition("=") for part in self.token.split("&"))}
        begins = _unix_s(says.get("st", ""))
        if self.expires_at is not None and self.expires_at <= now_s:
            return f"the SAS expired at {says.get('se') or says.get('ske')}: make a new one"
        if begins is not None and begins > now_s:
            return f"the SAS is valid only from {says['st']} on, or this machine's clock is wrong"
        if "sp" in says and not {"r", "l"} <= set(says["sp"]):
            return "the SAS does not permit to read and to list: make one with --permissions rl"
        if "srt" in says and not {"c", "o"} <= set(says["srt"]):
            return "the SAS is not for containers and objects: make one with --resource-types co"
        if says.get("sr") == "b":
            return "the SAS is for one blob: make one for the container"
        return ""


@dataclass(frozen=True, slots=True)
class AzureBearer:
    """A token of Microsoft Entra ID; ``expires_at`` is in Unix seconds."""

    token: str = field(repr=False)
    expires_at: float


AzureCredential = AzureKey | AzureSas | AzureBearer


def principal_of(credential: AzureCredential) -> str | None:
    """Return who a credential that was let in is of; a secret text. None for a token that does not tell.

    A token is read and not checked: the store has done that.
    """
    if isinstance(credential, AzureKey):
        return f"key {credential.account} {credential.key}"
    if isinstance(credential, AzureSas):
        return f"sas {credential.token}"
    try:
        claims = json.loads(base64.urlsafe_b64decode(credential.token.split(".")[1] + "=="))
        return f"entra {claims['tid']} {claims['oid']}"
    except (ValueError, KeyError, TypeError, IndexError):
        return None


def secrets_of(credential: AzureCredential) -> list[str]:
    """Return all that a request depends on of ``credential``."""
    return [credential.account, credential.key] if isinstance(credential, AzureKey) else [credential.token]


def authorized(
    url: str, headers: Mapping[str, str], credential: AzureCredential | None, *, now: dt.datetime, method: str = "GET"
) -> tuple[str, dict[str, str]]:
    """Return the URL and the headers of a request that ``credential`` lets in; None is anonymous. ``now`` is in UTC.

    ``headers`` are all that a key signs: of a request with a body, also its length and its type.
    """
    sent = {**headers, "x-ms-version": VERSION, "x-ms-date": format_datetime(now, usegmt=True)}
    if isinstance(credential, AzureSas):
        return f"{url}{'&' if '?' in url else '?'}{credential.token}", sent
    if isinstance(credential, AzureBearer):
        sent["Authorization"] = f"Bearer {credential.token}"
    elif isinstance(credential, AzureKey):
        text = string_to_sign(url, sent, credential.account, method=method).encode()
        digest = hmac.digest(base64.b64decode(credential.key), text, hashlib.sha256)
        sent["Authorization"] = f"SharedKey {credential.account}:{base64.b64encode(digest).decode()}"
    return url, sent


def string_to_sign(url: str, headers: Mapping[str, str], account: str, *, method: str = "GET") -> str:
    """Return what a shared key signs of a request."""
    small = {name.lower(): " ".join(value.split()) for name, value in headers.items()}
    own = sorted((name, value) for name, value in small.items() if name.startswith("x-ms-"))
    parts = urlsplit(url)
    query: dict[str, list[str]] = {}
    for pair in filter(None, parts.query.split("&")):
        name, _, value = pair.partition("=")
        query.setdefault(unquote(name).lower(), []).append(unquote(value))
    return "\n".join(
        [
            method,
            *(small.get(name, "") for name in _SIGNED_HEADERS),
            *(f"{name}:{value}" for name, value in own),
            f"/{account}{parts.path or '/'}",
            *(f"{name}:{','.join(sorted(values))}" for name, values in sorted(query.items())),
        ]
    )


def _unix_s(text: str) -> float | None:
    """Return a date of a SAS (a day, minutes or seconds, in UTC) as Unix seconds; None for what is no date."""
    try:
        when = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return (when if when.tzinfo else when.replace(tzinfo=dt.UTC)).timestamp()
