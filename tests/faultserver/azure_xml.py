"""Azure's Blob service, as far as reads and listings go: its addresses, List Blobs, and its errors.

Law: a request of this API is understood as one of S3 in other words, as for GCS's JSON API: the account, which stands
first in the path as emulators have it, is dropped, and ``x-ms-range`` is ``Range``. Whatever account is named, the
containers are the same.

A folder is an object without content whose key ends in a slash. It is told without that slash, as Azure has no other
way: in an account with a hierarchical namespace as a directory, else as the empty blob with ``hdi_isfolder`` that
Hadoop and azcopy leave. Source: Microsoft's reference of List Blobs, of its error codes and of the two namespaces.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from email.utils import formatdate
from urllib.parse import quote

from faultserver.answers import Answer, ApiError, escaped, xml
from faultserver.listing import Page
from faultserver.objects import StoredObject
from faultserver.wire import Request

_NAMES = {"prefix": "prefix", "delimiter": "delimiter", "marker": "continuation-token", "maxresults": "max-keys"}
_CODES = {
    "AccessDenied": "AuthorizationFailure",
    "AuthenticationRequired": "InvalidAuthenticationInfo",
    "NoSuchBucket": "ContainerNotFound",
    "NoSuchKey": "BlobNotFound",
    "PreconditionFailed": "ConditionNotMet",
    "RequestTimeout": "OperationTimedOut",
    "SlowDown": "ServerBusy",
    "TooManyRequests": "ServerBusy",
}
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def understood(request: Request) -> Request:
    """Return the request in the words of S3."""
    container, _, blob = request.key.partition("/")
    headers = request.headers
    if "x-ms-range" in headers:
        headers = {**headers, "range": headers["x-ms-range"]}
    query = dict(request.query)
    if request.method == "GET" and query.get("comp") == "list" and not blob:
        included = query.get("include", "").split(",")
        query = {_NAMES[name]: value for name, value in query.items() if name in _NAMES and value}
        query["list-type"] = "azure"
        if "metadata" not in included:
            query["without-metadata"] = ""
        if "uncommittedblobs" in included:
            query["uncommitted"] = ""
    return replace(request, bucket=container, key=blob, headers=headers, query=query)


def listed(page: Page, request: Request, *, is_hierarchical: bool) -> Answer:
    """Return a page. The marker is there also where the listing ends, and empty."""
    with_metadata = "without-metadata" not in request.query
    prefix = request.query.get("prefix", "")
    told = [each for each in page.objects if _told_name(each).startswith(prefix)]  # a prefix's own folder is not in it
    parts = [_entry(each, is_hierarchical, with_metadata=with_metadata) for each in told]
    parts += [f"<BlobPrefix><Name>{escaped(each)}</Name></BlobPrefix>" for each in page.prefixes]
    marker = page.following.token() if page.following else ""
    return xml(
        f'<EnumerationResults ContainerName="{escaped(request.bucket)}">'
        f"<Blobs>{''.join(parts)}</Blobs><NextMarker>{marker}</NextMarker></EnumerationResults>"
    )


def refused(error: ApiError) -> Answer:
    """Return an error with its code in a header too."""
    code = _CODES.get(error.code, error.code)
    document = f"<Error><Code>{code}</Code><Message>{escaped(str(error))}</Message></Error>"
    return xml(document, status=error.status, headers=(*error.headers, ("x-ms-error-code", code)))


def is_folder(each: StoredObject) -> bool:
    """Return whether an object stands for a folder."""
    return each.key.endswith("/") and not each.size


def _entry(each: StoredObject, is_hierarchical: bool, *, with_metadata: bool) -> str:  # noqa: FBT001  the dialect's
    parts = [f"<Blob>{_name(each)}<Properties>"]
    parts.extend(f"<{name}>{value}</{name}>" for name, value in _properties(each, is_hierarchical))
    parts.append("</Properties>")
    if with_metadata and is_folder(each):
        parts.append("<Metadata><hdi_isfolder>true</hdi_isfolder></Metadata>")
    return "".join([*parts, "<OrMetadata /></Blob>"])


def _properties(each: StoredObject, is_hierarchical: bool) -> Iterator[tuple[str, str]]:  # noqa: FBT001  the dialect's
    yield "Creation-Time", formatdate(each.created_ns // 10**9, usegmt=True)
    yield "Last-Modified", formatdate(each.mtime_ns // 10**9, usegmt=True)
    yield "Etag", each.etag.strip('"')  # a listing leaves the quotes out
    if is_hierarchical:
        yield "ResourceType", "directory" if is_folder(each) else "file"
    yield "Content-Length", str(each.size)
    yield "BlobType", "BlockBlob"


def _told_name(each: StoredObject) -> str:
    return each.key.removesuffix("/") if is_folder(each) else each.key


def _name(each: StoredObject) -> str:
    name = _told_name(each)
    if _NOT_XML.search(name):
        return f'<Name Encoded="true">{quote(name)}</Name>'
    return f"<Name>{escaped(name)}</Name>"
