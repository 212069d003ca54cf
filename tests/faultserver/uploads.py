"""Uploads in parts that have not ended: S3's multipart uploads, and the uncommitted blocks of Azure's blobs.

Source: Amazon's reference of ListMultipartUploads, and Microsoft's of Put Block and List Blobs.
"""

import re
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote_plus

from faultserver.answers import Answer, ApiError, escaped, timestamp, xml
from faultserver.objects import StoredObject, sort_key
from faultserver.wire import Request


@dataclass(frozen=True, slots=True)
class Upload:
    """One unfinished upload, and its parts so far by their names."""

    id: str
    bucket: str
    key: str
    begun_ns: int
    parts: dict[str, bytes] = field(default_factory=dict)


class Uploads:
    """The unfinished uploads in parts. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._uploads: dict[str, Upload] = {}

    def begin(self, bucket: str, key: str, *, begun_ns: int | None = None) -> str:
        """Return a new upload's id."""
        upload = uuid.uuid4().hex
        begun_ns = time.time_ns() if begun_ns is None else begun_ns
        with self._lock:
            self._uploads[upload] = Upload(upload, bucket, key, begun_ns)
        return upload

    def find(self, bucket: str, key: str) -> str | None:
        """Return the id of the first unfinished upload of a key."""
        return next((each.id for each in self.unfinished(bucket) if each.key == key), None)

    def unfinished(self, bucket: str) -> list[Upload]:
        """Return those of a bucket, sorted by key and begin."""
        with self._lock:
            found = [each for each in self._uploads.values() if each.bucket == bucket]
        return sorted(found, key=lambda each: (sort_key(each.key), each.begun_ns, each.id))

    def add(self, upload: str, name: str, data: bytes) -> None:
        """Keep one part."""
        with self._lock:
            self._open(upload).parts[name] = data

    def finish(self, upload: str) -> Upload:
        """Return an upload, and forget it."""
        with self._lock:
            ended = self._open(upload)
            del self._uploads[upload]
        return ended

    def _open(self, upload: str) -> Upload:
        if upload not in self._uploads:
            raise ApiError(404, "NoSuchUpload", "The specified multipart upload does not exist.")
        return self._uploads[upload]


def joined(parts: Mapping[str, bytes]) -> bytes:
    """Return the parts of a multipart upload in the order of their numbers."""
    return b"".join(parts[number] for number in sorted(parts))


def listed(uploads: Uploads, request: Request) -> Answer:
    """Answer ListMultipartUploads."""
    query = request.query
    asked = query.get("max-uploads", "1000")
    if not re.fullmatch("[0-9]{1,9}", asked):
        raise ApiError(400, "InvalidArgument", "Argument max-uploads must be an integer between 0 and 2147483647")
    prefix, behind = query.get("prefix", ""), (query.get("key-marker", ""), query.get("upload-id-marker", ""))
    found = [each for each in uploads.unfinished(request.bucket) if each.key.startswith(prefix)]
    if behind[0]:
        at = next((index for index, each in enumerate(found) if (each.key, each.id) == behind), -1)
        found = found[at + 1 :] if at >= 0 else [each for each in found if sort_key(each.key) > sort_key(behind[0])]
    page = found[: min(int(asked), 1000)]
    by_url = query.get("encoding-type") == "url"
    parts = [f"<Bucket>{escaped(request.bucket)}</Bucket>", f"<IsTruncated>{str(page != found).lower()}</IsTruncated>"]
    if by_url:
        parts.append("<EncodingType>url</EncodingType>")
    if page != found:
        last = page[-1]
        key = _key(last, by_url=by_url)
        parts.append(f"<NextKeyMarker>{key}</NextKeyMarker><NextUploadIdMarker>{last.id}</NextUploadIdMarker>")
    parts += [
        f"<Upload><Key>{_key(each, by_url=by_url)}</Key><UploadId>{each.id}</UploadId>"
        f"<Initiated>{timestamp(each.begun_ns)}</Initiated></Upload>"
        for each in page
    ]
    name = "ListMultipartUploadsResult"
    return xml(f'<{name} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{"".join(parts)}</{name}>')


def as_blobs(uploads: Uploads, bucket: str) -> list[StoredObject]:
    """Return the unfinished uploads as Azure lists them on request: empty blobs without an ETag."""
    return [
        StoredObject(each.key, b"", 0, "", 0, each.begun_ns, None, each.begun_ns) for each in uploads.unfinished(bucket)
    ]


def _key(upload: Upload, *, by_url: bool) -> str:
    return quote_plus(upload.key, safe="/", errors="surrogateescape") if by_url else escaped(upload.key)
