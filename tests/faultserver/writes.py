"""Puts, deletes and uploads in parts over HTTP, so that boto3 and obstore can fill the server too.

Law: an upload in parts shows nothing until it is completed, and then all of it at once.
"""

import re
import xml.etree.ElementTree as ET

from faultserver.answers import Answer, ApiError, escaped, xml
from faultserver.objects import Objects, StoredObject
from faultserver.uploads import Uploads, joined
from faultserver.wire import Request

_MULTIPART = {"uploads", "uploadId", "partNumber"}


def write(objects: Objects, uploads: Uploads, request: Request) -> tuple[Answer, StoredObject | None]:
    """Do a PUT, POST or DELETE, and return its answer and the object that was written, if one was."""
    match request.method:
        case "POST" if "delete" in request.query:
            return _delete_many(objects, request), None
        case "PUT" if request.query.get("comp") in {"block", "blocklist"}:
            return _blocks(objects, uploads, request)
        case "PUT" | "POST" | "DELETE" if not request.query.keys().isdisjoint(_MULTIPART):
            return _multipart(objects, uploads, request)
        case "PUT":
            data = _plain(request)
            return Answer(200), objects.put(request.bucket, request.key, data, mtime_ns=None, etag=None)
        case "DELETE":
            objects.delete(request.bucket, request.key)
            return Answer(204), None
    raise ApiError(501, "NotImplemented", "A header or query you provided implies functionality not implemented.")


def _multipart(objects: Objects, uploads: Uploads, request: Request) -> tuple[Answer, StoredObject | None]:
    upload = request.query.get("uploadId", "")
    names = f"<Bucket>{escaped(request.bucket)}</Bucket><Key>{escaped(request.key)}</Key>"
    if request.method == "PUT":
        return _put_part(uploads, upload, request), None
    if request.method == "DELETE":
        uploads.finish(upload)
        return Answer(204), None
    if "uploads" in request.query:
        begun = f"{names}<UploadId>{uploads.begin(request.bucket, request.key)}</UploadId>"
        return xml(_result("InitiateMultipartUploadResult", begun)), None
    ended = uploads.finish(upload)
    made = objects.put(request.bucket, request.key, joined(ended.parts), mtime_ns=ended.begun_ns, etag=None)
    return xml(_result("CompleteMultipartUploadResult", f"{names}<ETag>{escaped(made.etag)}</ETag>")), made


def _blocks(objects: Objects, uploads: Uploads, request: Request) -> tuple[Answer, StoredObject | None]:
    """Do Azure's Put Block or Put Block List. The first block of a blob begins it; a list commits all in its order."""
    upload = uploads.find(request.bucket, request.key)
    if request.query["comp"] == "block":
        upload = upload or uploads.begin(request.bucket, request.key)
        uploads.add(upload, request.query.get("blockid", ""), request.body)
        return Answer(201), None
    names = [each.text or "" for each in _document(request).iter() if each.tag in {"Latest", "Uncommitted"}]
    parts = uploads.finish(upload).parts if upload is not None else {}
    if any(name not in parts for name in names):
        raise ApiError(400, "InvalidBlockList", "The specified block list is invalid.")
    data = b"".join(parts[name] for name in names)
    return Answer(201), objects.put(request.bucket, request.key, data, mtime_ns=None, etag=None)


def _put_part(uploads: Uploads, upload: str, request: Request) -> Answer:
    number = request.query.get("partNumber", "")
    if not re.fullmatch("[0-9]{1,5}", number):
        raise ApiError(400, "InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive")
    uploads.add(upload, f"{number:0>5}", _plain(request))
    return Answer(200, (("ETag", f'"part-{number}"'),))


def _delete_many(objects: Objects, request: Request) -> Answer:
    keys = [each.text or "" for each in _document(request).iter() if each.tag.rpartition("}")[2] == "Key"]
    for key in keys:
        objects.delete(request.bucket, key)
    return xml(_result("DeleteResult", "".join(f"<Deleted><Key>{escaped(key)}</Key></Deleted>" for key in keys)))


def _document(request: Request) -> ET.Element:
    try:
        return ET.fromstring(request.body)  # noqa: S314  a test's own client; expat bounds entities itself
    except ET.ParseError as error:
        raise ApiError(400, "MalformedXML", "The XML you provided was not well-formed") from error


def _plain(request: Request) -> bytes:
    """Return the body without the aws-chunked framing that boto3 puts around it for trailing checksums."""
    if "x-amz-decoded-content-length" not in request.headers:
        return request.body
    rest = request.body
    parts: list[bytes] = []
    while True:
        size, end, rest = rest.partition(b"\r\n")
        if not end or not re.fullmatch(b"[0-9a-fA-F]{1,8}", size.partition(b";")[0]):
            raise ApiError(400, "IncompleteBody", "The request body terminated unexpectedly")
        length = int(size.partition(b";")[0], 16)
        if not length:
            return b"".join(parts)
        parts.append(rest[:length])
        rest = rest[length + 2 :]


def _result(name: str, content: str) -> str:
    return f'<{name} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{content}</{name}>'
