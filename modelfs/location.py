"""Locations: what the URL of a model repository means.

Law: every form that Triton accepts means here exactly what it means to Triton, and what Triton refuses for no good
reason works too. Parsing is pure. A wrong URL is one UsageError: what is wrong, and what to write instead. Neither an
error nor ``display`` ever shows a query string or user info, where people leave tokens and passwords.

Triton takes keys as they are written: "%20" in an ``s3://`` URL is three characters of the key, and "?" and "#" are
characters too. Only ``file://`` and ``https://``, which Triton does not know, are percent-decoded (RFC 3986 and 8089).
The query of an Azure URL is a SAS token; Triton drops it. Every other scheme is "other": a URL for a driver of fsspec,
which alone knows what it means.
Source: Triton's ``src/filesystem/implementations/{s3,gcs,as}.h``.
"""

import re
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal, NamedTuple

from modelfs.errors import UsageError

Scheme = Literal["file", "s3", "gs", "as", "other"]

FORMS = (
    "/path, file:///path, s3://bucket/path, s3://host:port/bucket/path, s3://https://host:port/bucket/path, "
    "gs://bucket/path or as://account/container/path"
)
"""What a URL may look like, for messages."""

_AS_FORM = "as://account/container/path"
_QUESTION = "\0"  # stands for a "?" of a decoded path, where no URL can have one
_KEY_BYTES = 1024  # the longest key of S3, GCS and Azure
_BUCKET = re.compile(r"[0-9A-Za-z._-]{1,255}")  # wider than AWS (3 to 63, no capitals): private stores and old buckets
_HOST = re.compile(r"[0-9A-Za-z._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]")
_AZURE_HOST = re.compile(r"([0-9a-z]+)((?:\.[0-9a-z-]+)?)\.(blob|dfs)(\.[0-9a-z.-]+)")  # one label for a zone or link
_IP_ADDRESS = re.compile(r"[0-9.]+|\[.*")
_LAYERS = re.compile(
    "async_?wrapper|asynclocal|blockcache|cached|dask|data|dir|filecache|generic|libarchive|pyscript|reference"
    "|simplecache|tar|zip"
)
"""What fsspec calls a scheme and is no place: it stands before another one."""


@dataclass(frozen=True, slots=True)
class Location:
    """A parsed repository URL.

    ``prefix`` is an absolute path for ``file``; else the prefix of the keys, without slashes at its ends or in
    doubles, and may be empty. ``bucket`` is a bucket or an Azure container. ``endpoint`` is "http://host:port" where
    the URL names one. ``account`` is an Azure account, empty where the endpoint is somebody's own domain for one; it
    is the first folder of the endpoint unless it is its host's first name. ``sas`` is an Azure token: a secret.
    ``url`` is the whole URL of an ``other``, which may hold a password or token.
    """

    scheme: Scheme
    prefix: str
    bucket: str = ""
    account: str = ""
    endpoint: str | None = None
    sas: str = field(default="", repr=False)
    url: str = field(default="", repr=False)

    @property
    def display(self) -> str:
        """Return the URL for logs, messages and /proc/mounts: no secret, no blank, comma, quote or backslash.

        Parsing it again gives the same ``display``, though not always the same Location.

        >>> parse("s3://127.0.0.1:9000//models//a b?sig=x").display
        's3://127.0.0.1:9000/models/a%20b?***'
        """
        if self.scheme == "file":
            return _printable(self.prefix)
        if self.scheme == "other":
            return _displayed(self.url)
        if self.scheme == "as":
            # a "?" of the prefix came from https://, encoded; as:// has a token behind it
            parts = [*self._azure_service, self.bucket, self.prefix.replace("?", "%3F")]
        else:
            parts = [(self.endpoint or "").removeprefix("http://"), self.bucket, self.prefix]
        text = f"{self.scheme}://" + "/".join(part for part in parts if part)
        path, question, _ = text.partition("?")
        return _printable(path) + ("?***" if question or self.sas else "")

    @property
    def protocol(self) -> str:
        """Return what stands before "://": an ``other``'s own scheme."""
        return self.url.partition("://")[0] or self.scheme

    @property
    def is_path_style(self) -> bool:
        """Whether the account is the first folder of the endpoint, as emulators have it."""
        host = (self.endpoint or "").partition("://")[2]
        return bool(host and self.account) and not host.startswith(f"{self.account}.")

    @property
    def _azure_service(self) -> tuple[str, ...]:
        """Return what stands before the container, in the form that means the same when it is parsed again."""
        if self.endpoint is None:
            return (self.account,)
        protocol, _, host = self.endpoint.partition("://")
        needs_no_protocol = protocol == _azure_protocol(host, "") and (not self.is_path_style or _is_emulator(host))
        return (host if needs_no_protocol else self.endpoint, self.account if self.is_path_style else "")


def parse(url: str) -> Location:
    """Return what ``url`` means. Raises UsageError, and nothing else."""
    _check_characters(url)
    if url.startswith("/"):
        return _local(url)
    scheme, separator, rest = url.partition("://")
    if separator:
        parser = _PARSERS.get(scheme.lower())
        if parser is not None:
            return parser(rest)
        if re.fullmatch(r"[A-Za-z][A-Za-z0-9_+.-]{0,20}", scheme):
            return _other(scheme.lower(), rest)
        # what stands before "://" may be anything, so it is not shown
        raise UsageError(f"this is not a kind of location that modelfs knows: write {FORMS}")
    if not url:
        raise UsageError(f"the location is empty: write {FORMS}")
    raise UsageError(f"{_redacted(url)!r} is neither an absolute path nor a URL: write {FORMS}")


def _check_characters(url: str) -> None:
    """Refuse what no store can hold and no log should show."""
    try:
        url.encode()
    except UnicodeEncodeError:
        raise UsageError("the location is not valid UTF-8: rename the path or bucket, or link to it") from None
    if any(ord(char) < 0x20 or char == "\x7f" for char in url):  # noqa: PLR2004  the ASCII control characters
        raise UsageError("the location holds a control character (a newline, perhaps): write it without")


def _local(path: str) -> Location:
    """Take a path as it is, but for doubled and trailing slashes; ".." is left to the kernel, which knows the links."""
    return Location("file", "/" + "/".join(part for part in path.split("/") if part))


def _file(rest: str) -> Location:
    host, slash, path = rest.partition("/")
    if host.lower() not in ("", "localhost") or not slash:
        raise UsageError("a file:// URL needs an absolute path of this machine: write file:///path")
    if "?" in path or "#" in path:
        raise UsageError("a file:// URL has no query or fragment: write ? as %3F and # as %23, or write the plain path")
    return _local("/" + _decoded(path, "file"))


def _decoded(path: str, scheme: str) -> str:
    try:
        decoded = urllib.parse.unquote(path, errors="strict")
    except UnicodeDecodeError:
        instead = "write the plain path" if scheme == "file" else "percent-encode the bytes of UTF-8"
        raise UsageError(f"the path of the {scheme}:// URL is not valid UTF-8 once decoded: {instead}") from None
    _check_characters(decoded)
    return decoded


def _s3(rest: str) -> Location:
    """Tell Triton's three forms apart: a scheme makes it a private store, as does a port on what stands first."""
    protocol = "http"
    said = re.match(r"(https?)://", rest, re.IGNORECASE)
    if said:
        protocol = said[1].lower()
        rest = rest[said.end() :]
    first, _, after = rest.lstrip("/").partition("/")
    if not (said or ":" in first or first.startswith("[")):
        return Location("s3", _prefix(after, "s3"), bucket=_bucket(first, "s3://bucket/path"))
    endpoint = _endpoint(protocol, first)
    bucket, _, prefix = after.lstrip("/").partition("/")
    return Location("s3", _prefix(prefix, "s3"), _bucket(bucket, "s3://host:port/bucket/path"), endpoint=endpoint)


def _gs(rest: str) -> Location:
    bucket, _, prefix = rest.partition("/")
    return Location("gs", _prefix(prefix, "gs"), bucket=_bucket(bucket, "gs://bucket/path"))


def _as(rest: str) -> Location:
    """Read Triton's form, and hosts: a port, an address or a protocol makes it an emulator, with the account behind."""
    path, _, sas = rest.partition("?")
    said = re.match(r"(https?)://", path, re.IGNORECASE)
    first, _, after = path[said.end() if said else 0 :].partition("/")
    account, endpoint, is_path_style = _azure_service(first, said[1].lower() if said else "")
    if is_path_style:
        account, _, after = after.lstrip("/").partition("/")
        _check_account(account)
    container, _, prefix = after.lstrip("/").partition("/")
    bucket = _bucket(container, _AS_FORM, "$")  # $root and $web are containers
    return Location("as", _prefix(prefix, "as"), bucket, account, endpoint, sas=parse_azure_token(sas))


def _az(rest: str) -> Location:
    """Read what fsspec and Hadoop call Azure: the container before an @, or else as in as://."""
    return _abfs(rest) if "@" in rest.partition("?")[0].partition("/")[0] else _as(rest)


def _abfs(rest: str) -> Location:
    form = "abfss://container@account.dfs.core.windows.net/path"
    authority, slash, after = rest.partition("/")
    authority, question, query = (authority, "", "") if slash else authority.partition("?")
    container, _, host = authority.partition("@")
    if not container or not _AZURE_HOST.fullmatch(host.lower()) or ":" in container:
        raise UsageError(f"an abfs:// URL names a container and an account's host: write {form}")
    return _as(f"{host}/{container}/{after}{question}{query}")


def _https(rest: str) -> Location:
    """Read what Azure's portal, azcopy and the Azure CLI print: a real URL, percent-encoded."""
    address, question, sas = rest.partition("?")
    host, _, path = address.partition("/")
    if not _AZURE_HOST.fullmatch(host.lower().rpartition("@")[2].partition(":")[0]):
        return _web("https", rest)
    if "#" in path:
        raise UsageError("a location has no fragment: write # as %23 in an https:// URL")
    decoded = _decoded(path, "https")
    found = _as(f"https://{host}/{decoded.replace('?', _QUESTION)}{question}{sas}")
    return replace(found, prefix=found.prefix.replace(_QUESTION, "?"))


def _web(protocol: str, rest: str) -> Location:
    """Read the URL of a folder of a web server. What stands behind its path would stand before a file's name."""
    if "?" in rest or "#" in rest:
        raise UsageError(
            f"an {protocol}:// location has no query or fragment: write ? as %3F and # as %23 (a container of Azure is"
            f" {_AS_FORM}?SAS)"
        )
    authority, _, path = rest.partition("/")
    user, at, host = authority.rpartition("@")
    path = path.rstrip("/")
    _prefix(_decoded(path, protocol), protocol)
    base = _endpoint(protocol, host, protocol)
    return _other(protocol, f"{user}{at}{base.removeprefix(f'{protocol}://')}{'/' if path else ''}{path}")


def _other(protocol: str, rest: str) -> Location:
    if _LAYERS.fullmatch(protocol):
        raise UsageError(f"{protocol}:// is a layer over another location: name that location itself")
    # the user ends where _displayed has it end
    host = re.split("[/?]", rest, maxsplit=1)[0].rpartition("@")[2].partition("#")[0]
    port = re.sub(r"\[.*\]", "", host).partition(":")
    if port[1] and not re.fullmatch(r"[0-9]{1,5}", port[2]):
        # else what follows the colon could be the beginning of a password, which would then be shown
        raise UsageError(
            f"the port of the {protocol}:// URL is not a number: write {protocol}://host:port/path, and of a user and"
            " password all but letters and digits percent-encoded"
        )
    return Location("other", "", url=f"{protocol}://{rest}")


def _azure_service(first: str, protocol: str) -> tuple[str, str | None, bool]:
    """Return the account, the endpoint, and whether the account stands behind the endpoint, from what stands first."""
    host = first.lower()
    bare = host.partition(":")[0]
    if known := _AZURE_HOST.fullmatch(bare):
        account, zone, _, domain = known.groups()
        port = host[len(bare) :]
        authority = f"{account}{zone}.blob{domain}{port}"
        return account, _endpoint(protocol or _azure_protocol(authority, ""), authority, "as"), False
    if protocol or _is_emulator(host):
        return "", _endpoint(_azure_protocol(host, protocol), host, "as"), True
    if "." in host and "@" not in host:
        return "", _endpoint("https", host, "as"), False  # somebody's own domain for an account
    _check_account(first)
    return first, None, False


def _is_emulator(host: str) -> bool:
    return ("@" not in host and ":" in host) or bool(_IP_ADDRESS.fullmatch(host))


def _azure_protocol(host: str, said: str) -> str:
    """Return "http" for what only an emulator is, unless something else is said."""
    return said or ("http" if _is_emulator(host) else "https")


def _check_account(account: str) -> None:
    if not re.fullmatch(r"[0-9A-Za-z_-]{1,63}", account):
        raise UsageError(f"the account of an as:// URL is not letters and digits: write {_AS_FORM}")


def parse_azure_token(text: str) -> str:
    """Return a SAS token as people paste it without what they paste around it."""
    return text.strip(" \"'").removeprefix("?").strip(" \"'")


class _Authority(NamedTuple):
    host: str
    port: int | None


def _endpoint(protocol: str, text: str, scheme: str = "s3") -> str:
    authority = _authority(text, scheme)
    return f"{protocol}://{authority.host}" + (f":{authority.port}" if authority.port is not None else "")


def _authority(text: str, scheme: str) -> _Authority:
    form = {"s3": "s3://host:port/bucket/path", "as": "as://host:port/account/container/path"}.get(
        scheme, f"{scheme}://host:port/path"
    )
    if "@" in text:
        instead = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" if scheme == "s3" else "set AZURE_STORAGE_KEY"
        raise UsageError(f"an {scheme}:// URL holds no user or password: {instead} instead")
    split = re.fullmatch(r"(\[[^]]*\]|[^:]*)(?::(.*))?", text)
    if not split or not _HOST.fullmatch(split[1]) or set(split[1]) <= {".", "-", "_"}:
        raise UsageError(
            f"the host of the {scheme}:// URL is not a name or address: write {form}, with an IPv6 address in brackets "
            "as [::1]"
        )
    if split[2] is None:
        return _Authority(split[1].lower(), None)
    port = int(split[2]) if re.fullmatch(r"[0-9]{1,5}", split[2]) else 0
    if not 1 <= port <= 65535:  # noqa: PLR2004  the range of TCP
        raise UsageError(f"the port of the {scheme}:// URL is not a number from 1 to 65535: write {form}")
    return _Authority(split[1].lower(), port)


def _bucket(name: str, form: str, also: str = "") -> str:
    what = "container" if "container" in form else "bucket"
    bare = name.lstrip(also) if also else name
    if not name:
        raise UsageError(f"the URL names no {what}: write {form}")
    if "@" in name:
        raise UsageError(f"a URL holds no user or password, and no {what} has an @ in its name: write {form}")
    if not _BUCKET.fullmatch(bare) or set(bare) <= {"."}:
        raise UsageError(f"{_redacted(name)!r} is no {what} name (letters, digits, dots, dashes): write {form}")
    return name


def _prefix(path: str, scheme: str) -> str:
    """Collapse slashes. "." and ".." would be taken literally by the store, and mean nothing in a tree."""
    segments = [segment for segment in path.split("/") if segment]
    if "." in segments or ".." in segments:
        raise UsageError(f"the path of the {scheme}:// URL has a '.' or '..' between slashes: write it without")
    prefix = "/".join(segments)
    if len(prefix.encode()) > _KEY_BYTES:
        raise UsageError(f"the path of the {scheme}:// URL is longer than the {_KEY_BYTES} bytes of any store's key")
    return prefix


def _redacted(text: str) -> str:
    """Return ``text`` cut where a secret could begin, for the one message that must quote what was written."""
    return text.partition("?")[0].rpartition("@")[2][:80]


def _displayed(url: str) -> str:
    """Return a URL of any scheme with "***" for whoever stands before the host, and for the query."""
    protocol, _, rest = url.partition("://")
    place, question, _ = rest.partition("?")
    authority, slash, path = place.partition("/")
    _, at, host = authority.rpartition("@")
    return _printable(f"{protocol}://{'***@' if at else ''}{host}{slash}{path}") + ("?***" if question else "")


def _printable(text: str) -> str:
    """Percent-encode what breaks a line of a log or of /proc/mounts; "%" stays, so doing it twice changes nothing."""
    return "".join(
        char if char.isprintable() and char not in " ,\\\"'" else urllib.parse.quote(char, safe="") for char in text
    )


_PARSERS: Mapping[str, Callable[[str], Location]] = {
    "file": _file,
    "local": _file,
    "s3": _s3,
    "s3a": _s3,
    "gs": _gs,
    "gcs": _gs,
    "as": _as,
    "az": _az,
    "abfs": _abfs,
    "abfss": _abfs,
    "https": _https,
    "http": partial(_web, "http"),
}
