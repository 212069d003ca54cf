"""Credentials for Azure: which account, where it is, and who modelfs is to it.

Law: as in ``credentials``: the environment is read from a mapping that is passed in; a secret is in no message, log
line or repr; and a source is asked anew for every request, so that a mount that lives for months follows new tokens.

What Triton reads wins, in its order: AZURE_STORAGE_AUTH_TYPE, then AZURE_STORAGE_KEY, then nobody; and
AZURE_STORAGE_ACCOUNT replaces the account of the URL, which we warn of. A SAS in the URL, which Triton drops, is closer
than any of it and belongs to that URL's account; so does one in a file that a setting names. Only where Triton finds
nothing do the other sources count: SAS token, connection string, service principal, workload identity, a login of the
Azure CLI. So a managed identity is used only when it is asked for, as with Triton: a public container must not wait for
a metadata service that is not there.
"""

import base64
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from modelfs.azure_signing import AzureCredential, AzureKey, AzureSas
from modelfs.azure_tokens import Tokens, default_chain, from_cli, managed_identity, service_principal, workload_identity
from modelfs.credentials_sas import SasFile, parse_sas, tell_expiry
from modelfs.credentials_triton import VARIABLE, CredentialFile, Entry
from modelfs.errors import UsageError
from modelfs.location import Location

log = logging.getLogger(__name__)

AzureSource = Callable[[], AzureCredential]
"""Returns the credential of now. Thread-safe; raises AccessRefusedError, or StoreUnavailableError where a retry may
help."""

_DEVELOPMENT = {
    # the account and key that every emulator has; they are public, in Azure's own documentation
    "accountname": "devstoreaccount1",
    "accountkey": "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
    "blobendpoint": "http://127.0.0.1:10000/devstoreaccount1",
}


@dataclass(frozen=True, slots=True)
class AzureAccess:
    """An account, and how to get in.

    ``service_url`` is the address of its blobs, without a slash at the end. ``source`` None is anonymous. ``kind`` is
    for people.
    """

    service_url: str
    account: str
    source: AzureSource | None
    kind: str


def find_azure(
    location: Location,
    environment: Mapping[str, str],
    file: CredentialFile | None = None,
    *,
    endpoint_url: str | None = None,
    sas_file: Path | None = None,
    is_anonymous: bool = False,
) -> AzureAccess:
    """Return the access to the account of ``location``, with Triton's credential ``file`` where there is one.

    ``endpoint_url`` is where the account's blobs are when the URL names no host. ``sas_file`` holds a SAS. Asks nobody
    yet. Raises UsageError for what cannot be.
    """
    has_own = bool(location.sas or (sas_file and not is_anonymous))
    read = _Variables(environment if file is None or has_own else _with_entry(environment, file()))
    named = "" if has_own else read("AZURE_STORAGE_ACCOUNT")
    connection = {} if has_own else _connection(read(_CONNECTION_STRING))
    found: _Found
    if location.sas:
        found = ("the SAS of the URL", parse_sas(location.sas, "the SAS of the URL"))
    elif sas_file and not is_anonymous:
        found = (f"the SAS of {sas_file}", SasFile(sas_file))
    else:
        found = _NOBODY if is_anonymous else _find(read, named or location.account, connection)
    kind, source = found
    if kind != _CONNECTION_STRING:
        connection = {}
    account = connection.get("accountname") or named or location.account
    if location.account and account != location.account:
        log.warning(
            "the environment's Azure account is used instead of the URL's, as Triton does account=%s url=%s",
            account,
            location.display,
        )
    endpoint = endpoint_url or connection.get("blobendpoint") or read("AZURE_STORAGE_BLOB_ENDPOINT")
    url = _service_url(location, account, endpoint, connection)
    if isinstance(source, Tokens) and not _is_safe(url):
        raise UsageError(f"a token of {kind} would go over the network unencrypted: use an https:// endpoint")
    if isinstance(source, AzureSas):
        tell_expiry(kind, source.expires_at, "mount again with a new one, or use --sas-file,")
    if file is not None and not has_own and source is not None:
        kind = f"{VARIABLE}={file.path}, entry {file().name!r} ({kind})"
    if file is not None and isinstance(source, AzureKey):
        return AzureAccess(url, account, lambda: _key(account, file()["account_key"], VARIABLE), kind)
    if isinstance(source, AzureKey | AzureSas):
        fixed = source
        return AzureAccess(url, account, lambda: fixed, kind)
    return AzureAccess(url, account, source, kind)


def _with_entry(environment: Mapping[str, str], entry: Entry) -> dict[str, str]:
    """Return an environment in which the entry of Triton's file stands for all credentials."""
    kept = {name: environment.get(name, "") for name in ("AZURE_STORAGE_BLOB_ENDPOINT", "AZURE_AUTHORITY_HOST")}
    own = {
        "AZURE_STORAGE_ACCOUNT": entry["account_str"],
        "AZURE_STORAGE_KEY": entry["account_key"],
        "AZURE_STORAGE_AUTH_TYPE": entry["auth_type"],
        "AZURE_STORAGE_CLIENT_ID": entry["client_id"],
    }
    if entry["auth_type"] == "default":  # Triton's own code leaves that to the variables of Azure's SDK
        kept["AZURE_CLIENT_ID"] = environment.get("AZURE_CLIENT_ID", "")
    return {**kept, **own}


class _Variables:
    """The environment, with blanks cut off: what comes from a Kubernetes secret often ends in a newline."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def __call__(self, name: str) -> str:
        return self._environment.get(name, "").strip()


_Found = tuple[str, AzureKey | AzureSas | SasFile | Tokens | None]
_CONNECTION_STRING = "AZURE_STORAGE_CONNECTION_STRING"


def _find(read: _Variables, account: str, connection: Mapping[str, str]) -> _Found:
    """Go through the sources of the environment; see the module's law."""
    auth_type = read("AZURE_STORAGE_AUTH_TYPE").lower()
    if auth_type == "managed_identity":
        return "managed identity", managed_identity(read("AZURE_STORAGE_CLIENT_ID"))
    if auth_type == "default":
        client_id = read("AZURE_STORAGE_CLIENT_ID") or read("AZURE_CLIENT_ID")
        return "Azure's default chain", default_chain(client_id, read("AZURE_AUTHORITY_HOST"))
    if auth_type == "anonymous":
        return _NOBODY
    if auth_type not in {"", "key"}:
        raise UsageError("AZURE_STORAGE_AUTH_TYPE is none of managed_identity, default, key and anonymous")
    return _find_secret(read, account, connection, only_key=auth_type == "key") or _find_identity(read)


_NOBODY: _Found = ("nobody", None)


def _find_secret(read: _Variables, account: str, connection: Mapping[str, str], *, only_key: bool) -> _Found | None:
    if key := read("AZURE_STORAGE_KEY"):
        return "AZURE_STORAGE_KEY", _key(account, key, "AZURE_STORAGE_KEY")
    if only_key:
        raise UsageError("AZURE_STORAGE_AUTH_TYPE is key, but AZURE_STORAGE_KEY is not set: set it")
    if sas := read("AZURE_STORAGE_SAS_TOKEN"):
        return "AZURE_STORAGE_SAS_TOKEN", parse_sas(sas, "AZURE_STORAGE_SAS_TOKEN")
    if connection:
        return _CONNECTION_STRING, _of_connection(connection)
    return None


def _find_identity(read: _Variables) -> _Found:
    authority = read("AZURE_AUTHORITY_HOST")
    tenant, client = read("AZURE_TENANT_ID"), read("AZURE_CLIENT_ID")
    secret, certificate = read("AZURE_CLIENT_SECRET"), read("AZURE_CLIENT_CERTIFICATE_PATH")
    if tenant and client and (secret or certificate):
        password = read("AZURE_CLIENT_CERTIFICATE_PASSWORD")
        return "service principal", service_principal(
            tenant, client, secret=secret, certificate=certificate, password=password, authority=authority
        )
    if secret or certificate:
        raise UsageError("a service principal needs AZURE_TENANT_ID and AZURE_CLIENT_ID beside its secret: set both")
    if (file := read("AZURE_FEDERATED_TOKEN_FILE")) and tenant and client:
        return "workload identity", workload_identity(tenant, client, file=file, authority=authority)
    folder = Path(read("AZURE_CONFIG_DIR") or f"{read('HOME') or '/'}/.azure")
    if (folder / "azureProfile.json").is_file() and shutil.which("az", path=read("PATH")):
        return "Azure CLI", from_cli(tenant)
    return _NOBODY


def _key(account: str, key: str, name: str) -> AzureKey:
    if not account:
        raise UsageError(f"{name} is set, but no account: set AZURE_STORAGE_ACCOUNT")
    try:
        base64.b64decode(key, validate=True)
    except ValueError:  # binascii.Error is one
        raise UsageError(f"{name} is not the Base64 text of an account key: copy the key again") from None
    return AzureKey(account, key)


def _connection(text: str) -> dict[str, str]:
    """Return the parts of a connection string, by small names; the emulator's are filled in."""
    parts: dict[str, str] = {}
    for part in text.strip("\"'").split(";"):
        name, equals, value = part.partition("=")
        if part.strip() and not equals:
            raise UsageError(f"{_CONNECTION_STRING} is not NAME=VALUE;NAME=VALUE: copy it again")
        if equals:
            parts[name.strip().lower()] = value.strip()
    if parts.get("usedevelopmentstorage", "").lower() == "true":
        return {**_DEVELOPMENT, **parts}
    return parts


def _of_connection(connection: Mapping[str, str]) -> AzureKey | AzureSas | None:
    if key := connection.get("accountkey"):
        return _key(connection.get("accountname", ""), key, f"AccountKey in {_CONNECTION_STRING}")
    if sas := connection.get("sharedaccesssignature"):
        return parse_sas(sas, f"SharedAccessSignature in {_CONNECTION_STRING}")
    raise UsageError(f"{_CONNECTION_STRING} has neither AccountKey nor SharedAccessSignature: copy it whole")


def _service_url(location: Location, account: str, endpoint: str, connection: Mapping[str, str]) -> str:
    """Return where the account's blobs are: the URL's word, then ``endpoint``, then Azure's public cloud."""
    if location.endpoint is not None:
        if location.is_path_style:
            return f"{location.endpoint}/{account}"
        if location.account:
            return location.endpoint.replace(f"://{location.account}.", f"://{account}.", 1)
        return location.endpoint
    if endpoint:
        if not endpoint.lower().startswith(("https://", "http://")) or "@" in endpoint or "?" in endpoint:
            raise UsageError("the Azure blob endpoint of the environment is no address: write https://host")
        return endpoint.rstrip("/")
    protocol = connection.get("defaultendpointsprotocol", "https").lower()
    return f"{protocol}://{account}.blob.{connection.get('endpointsuffix', 'core.windows.net')}"


def _is_safe(url: str) -> bool:
    """Tell whether nobody on the way can read what is sent to ``url``."""
    host = (urlsplit(url).hostname or "").lower()
    return url.lower().startswith("https:") or host in {"localhost", "::1"} or host.startswith("127.")
