"""Credentials of Google Cloud Storage: who modelfs is to it, found in the order that Triton uses.

Law: the environment comes as a mapping. A credential file of one's own wins; then gcloud's; then the machine's service
account; else access is anonymous. An emulator is anonymous, as with Google's own clients: it should not see a token.
"""

import os
import pwd
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from modelfs import gcs_metadata
from modelfs.errors import UsageError
from modelfs.gcs_tokens import Tokens
from modelfs.google_files import KeyFile

VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"
EMULATOR = "STORAGE_EMULATOR_HOST"

_GCLOUD_FILE = "application_default_credentials.json"
_ENDPOINT = re.compile(r"https?://[^/?#@\s]+", re.IGNORECASE)
_DOMAIN = re.compile(r"[0-9a-z]([0-9a-z.-]*[0-9a-z])?", re.IGNORECASE)


def find_gcs(
    environment: Mapping[str, str], file: Callable[[], str] | None = None, *, endpoint_url: str | None = None
) -> Tokens | None:
    """Return the source of tokens, or None for anonymous access. Sends nothing.

    ``file`` tells the path that Triton's credential file has for the location ("" for none); then the environment's
    own files are not looked at. ``endpoint_url`` is a store that was named on purpose, so that the environment's
    emulator is not used. Raises UsageError when a file is not as it must be.
    """
    if not endpoint_url and environment.get(EMULATOR, "").strip():
        return None
    if file is not None:
        if file():
            return Tokens(KeyFile(lambda: Path(file()), "TRITON_CLOUD_CREDENTIAL_PATH", environment))
    elif name := environment.get(VARIABLE, "").strip():
        return Tokens(KeyFile(lambda: Path(name), VARIABLE, environment))
    elif os.path.isfile(path := _gcloud_file(environment)):  # noqa: PTH113  Path's raises where it may not look
        return Tokens(KeyFile(lambda: path, "gcloud's file", environment))
    server = gcs_metadata.find(environment)
    return Tokens(server) if server is not None else None


def find_gcs_endpoint(environment: Mapping[str, str]) -> str:
    """Return where Cloud Storage is, "scheme://host" without a slash at the end. Raises UsageError."""
    if emulator := environment.get(EMULATOR, "").strip().rstrip("/"):
        url = emulator if "://" in emulator else f"http://{emulator}"
        if not _ENDPOINT.fullmatch(url):
            raise UsageError(f"{EMULATOR} is not an address: write host:port or http://host:port")
        return url
    domain = environment.get("GOOGLE_CLOUD_UNIVERSE_DOMAIN", "").strip() or "googleapis.com"
    if not _DOMAIN.fullmatch(domain):
        raise UsageError("GOOGLE_CLOUD_UNIVERSE_DOMAIN is not a domain: write one such as googleapis.com")
    return f"https://storage.{domain}"


def find_billing_project(environment: Mapping[str, str]) -> str | None:
    """Return the project that pays for requests, which a requester-pays bucket asks for, or None."""
    project = environment.get("GOOGLE_CLOUD_QUOTA_PROJECT", "").strip()
    if project and not re.fullmatch(r"[0-9a-z:.-]{1,100}", project):
        raise UsageError("GOOGLE_CLOUD_QUOTA_PROJECT is not the id of a project")
    return project or None


def _gcloud_file(environment: Mapping[str, str]) -> Path:
    folder = environment.get("CLOUDSDK_CONFIG", "").strip()
    if folder:
        return Path(folder) / _GCLOUD_FILE
    return Path(environment.get("HOME") or _home_of_user()) / ".config/gcloud" / _GCLOUD_FILE


def _home_of_user() -> str:
    """Return the home that the user database tells: systemd gives its services no HOME."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:  # a number without a name, as containers have
        return "/"
