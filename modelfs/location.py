"""Locations: what the URL of a model repository means.

Law: every form that Triton accepts means here exactly what it means to Triton, and what Triton refuses for no good
reason works too. Parsing is pure. A wrong URL is one UsageError: what is wrong, and what to write instead. Neither an
error nor ``display`` ever shows a query string or user info, where people leave tokens and passwords.

Triton takes keys as they are written: "%20" in an ``s3://`` URL is three characters of the key, and "?" and "#" are
characters too. Only ``file://``, which Triton does not know, is percent-decoded (RFC 8089), and the query of ``as://``
is a SAS token. Source: Triton's ``src/filesystem/implementations/{s3,gcs,as}.h``.
"""

import re
import urllib.parse
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from modelfs.errors import UsageError

Scheme = Literal["file", "s3", "gs", "as"]

FORMS = (
    "/path, file:///path, s3://bucket/path, s3://host:port/bucket/path, s3://https://host:port/bucket/path, "
    "gs://bucket/path or as://account/container/path"
)
"""What a URL may look like, for messages."""

_KEY_BYTES = 1024  # the longest key of S3, GCS and Azure
_BUCKET = re.compile(r"[0-9A-Za-z._-]{1,255}")  # wider than AWS (3 to 63, no capitals): private stores and old buckets
_HOST = re.compile(r"[0-9A-Za-z._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]")
_BLOB_HOST = re.compile(r"([0-9a-z]+)\.blob\.[0-9a-z.-]+")


@dataclass(frozen=True, slots=True)
class Location:
    """A parsed repository URL.

    ``prefix`` is an absolute path for ``file``; else the prefix of the keys, without slashes at its ends or in
    doubles, and may be empty. ``bucket`` is a bucket or an Azure container, ``account`` an Azure account. ``endpoint``
    is "http://host:port" where the URL names one. ``sas`` is an Azure token: a secret.
    """

    scheme: Scheme
    prefix: str
    bucket: str = ""
    account: str = ""
    endpoint: str | None = None
    sas: str = field(default="", repr=False)

    @property
    def display(self) -> str:
        """Return the URL for logs, messages and /proc/mounts: no secret, no blank, comma, quote or backslash.

        Parsing it again gives the same ``display``, though not always the same Location.

        >>> parse("s3://127.0.0.1:9000//models//a b?sig=x").display
        's3://127.0.0.1:9000/models/a%20b?***'
        """
        if self.scheme == "file":
            return _printable(self.prefix)
        host = (self.endpoint or "").removeprefix("http://")
        if self.scheme == "as":
            parts = [(self.endpoint or self.account).removeprefix("https://"), self.bucket, self.prefix]
        else:
            parts = [host, self.bucket, self.prefix]
        text = f"{self.scheme}://" + "/".join(part for part in parts if part)
        path, question, _ = text.partition("?")
        return _printable(path) + ("?***" if question or self.sas else "")


def parse(url: str) -> Location:
    """Return what ``url`` means. Raises UsageError, and nothing else."""
    _check_characters(url)
    if url.startswith("/"):
        return _local(url)
    scheme, separator, rest = url.partition("://")
    if separator:
        for name, parser in (("file", _file), ("s3", _s3), ("gs", _gs), ("as", _as)):
            if scheme.lower() == name:
                return parser(rest)
        # what stands before "://" may be anything, so it is shown only where it looks like a scheme
        shown = f"{scheme}://" if re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]{0,20}", scheme) else "this"
        raise UsageError(f"{shown} is not a kind of location that modelfs knows: write {FORMS}")
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
    try:
        decoded = urllib.parse.unquote(path, errors="strict")
    except UnicodeDecodeError:
        raise UsageError("the path of the file:// URL is not valid UTF-8 once decoded: write the plain path") from None
    _check_characters(decoded)
    return _local("/" + decoded)


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
    path, _, sas = rest.partition("?")
    account, _, rest = path.partition("/")
    container, _, prefix = rest.partition("/")
    form = "as://account/container/path"
    blob_host = _BLOB_HOST.fullmatch(account.lower())
    if not blob_host and not re.fullmatch(r"[0-9A-Za-z_-]{1,63}", account):
        raise UsageError(f"the account of an as:// URL is not letters and digits: write {form}")
    return Location(
        "as",
        _prefix(prefix, "as"),
        bucket=_bucket(container, form, "$"),  # $root and $web are containers
        account=blob_host[1] if blob_host else account,
        endpoint=f"https://{account.lower()}" if blob_host else None,
        sas=sas.strip("\"'").removeprefix("?"),
    )


class _Authority(NamedTuple):
    host: str
    port: int | None


def _endpoint(protocol: str, text: str) -> str:
    authority = _authority(text)
    return f"{protocol}://{authority.host}" + (f":{authority.port}" if authority.port is not None else "")


def _authority(text: str) -> _Authority:
    if "@" in text:
        raise UsageError(
            "an s3:// URL holds no user or password: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead"
        )
    split = re.fullmatch(r"(\[[^]]*\]|[^:]*)(?::(.*))?", text)
    if not split or not _HOST.fullmatch(split[1]) or set(split[1]) <= {".", "-", "_"}:
        raise UsageError(
            "the host of the s3:// URL is not a name or address: write s3://host:port/bucket/path, with an IPv6 "
            "address in brackets as [::1]"
        )
    if split[2] is None:
        return _Authority(split[1].lower(), None)
    port = int(split[2]) if re.fullmatch(r"[0-9]{1,5}", split[2]) else 0
    if not 1 <= port <= 65535:  # noqa: PLR2004  the range of TCP
        raise UsageError("the port of the s3:// URL is not a number from 1 to 65535: write s3://host:port/bucket/path")
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


def _printable(text: str) -> str:
    """Percent-encode what breaks a line of a log or of /proc/mounts; "%" stays, so doing it twice changes nothing."""
    return "".join(
        char if char.isprintable() and char not in " ,\\\"'" else urllib.parse.quote(char, safe="") for char in text
    )
