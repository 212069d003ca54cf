"""What differs between S3, GCS and Azure.

Law: S3 and Azure pin a read by ETag (``If-Match``, else 412), GCS by generation (``?generation=``, else 404). The GCS
dialect ignores ``If-Match``, as seen on a server of that API, so a client that relies on it there is caught.
"""

from typing import Protocol

from faultserver import azure_xml, gcs_json
from faultserver.answers import Answer, ApiError
from faultserver.listing import Page
from faultserver.objects import StoredObject
from faultserver.wire import Request


class Dialect(Protocol):
    """The requests, headers, conditions, listings and errors of one cloud."""

    def understood(self, request: Request) -> Request:
        """Return the request in the words of S3, where the cloud has others for the same."""
        ...

    def listed(self, page: Page, request: Request) -> Answer | None:
        """Return a page of a listing, or None where it is told as S3 tells it."""
        ...

    def refused(self, error: ApiError, request: Request) -> Answer:
        """Return an error as the cloud tells it."""
        ...

    def headers(self, found: StoredObject) -> list[tuple[str, str]]:
        """Return what GET, HEAD and PUT say of the object beyond the common headers."""
        ...

    def check(self, request: Request, found: StoredObject) -> None:
        """Raise ApiError unless the object is the version that the request names."""
        ...

    def fields(self, found: StoredObject) -> str:
        """Return what a listing says of the object beyond the common fields, as XML."""
        ...


class S3:
    """Amazon S3."""

    def understood(self, request: Request) -> Request:
        """Return the request as it is."""
        return request

    def listed(self, page: Page, request: Request) -> None:
        """Leave it to the common form."""
        del page, request

    def refused(self, error: ApiError, request: Request) -> Answer:
        """Return the error as XML."""
        return error.answer(request.target)

    def headers(self, found: StoredObject) -> list[tuple[str, str]]:
        """Nothing beyond the common headers."""
        del found
        return []

    def check(self, request: Request, found: StoredObject) -> None:
        """Refuse a read of another ETag than the one in If-Match."""
        _check_etag(request, found)

    def fields(self, found: StoredObject) -> str:
        """Nothing beyond the common fields."""
        del found
        return ""


class Azure:
    """Azure Blob Storage; ``is_hierarchical`` is an account with a hierarchical namespace."""

    def __init__(self, *, is_hierarchical: bool) -> None:
        self._is_hierarchical = is_hierarchical

    def understood(self, request: Request) -> Request:
        """Take the account off, and know a listing."""
        return azure_xml.understood(request)

    def listed(self, page: Page, request: Request) -> Answer:
        """Answer List Blobs."""
        return azure_xml.listed(page, request, is_hierarchical=self._is_hierarchical)

    def refused(self, error: ApiError, request: Request) -> Answer:
        """Return the error with Azure's code."""
        del request
        return azure_xml.refused(error)

    def headers(self, found: StoredObject) -> list[tuple[str, str]]:
        """Return the kind of the blob, and the MD5 where it is at hand."""
        told = [("x-ms-version", "2021-12-02"), ("x-ms-blob-type", "BlockBlob"), ("x-ms-server-encrypted", "true")]
        return [*told, ("x-ms-blob-content-md5", found.md5)] if found.md5 else told

    def check(self, request: Request, found: StoredObject) -> None:
        """Refuse a read of another ETag than the one in If-Match."""
        _check_etag(request, found)

    def fields(self, found: StoredObject) -> str:
        """Its listings are its own."""
        del found
        return ""


class Gcs:
    """Google Cloud Storage: the XML API, and listings also by the JSON API."""

    def understood(self, request: Request) -> Request:
        """Know a listing of the JSON API."""
        return gcs_json.understood(request)

    def listed(self, page: Page, request: Request) -> Answer | None:
        """Answer in the API that was asked."""
        return gcs_json.listed(page, request.bucket) if gcs_json.is_spoken(request) else None

    def refused(self, error: ApiError, request: Request) -> Answer:
        """Answer in the API that was asked."""
        return gcs_json.refused(error) if gcs_json.is_spoken(request) else error.answer(request.target)

    def headers(self, found: StoredObject) -> list[tuple[str, str]]:
        """Return generation, stored length, and the MD5 where it is at hand."""
        told = [
            ("x-goog-generation", str(found.generation)),
            ("x-goog-metageneration", "1"),
            ("x-goog-stored-content-length", str(found.size)),
            ("x-goog-stored-content-encoding", "identity"),
            ("x-goog-storage-class", "STANDARD"),
        ]
        return [*told, ("x-goog-hash", f"md5={found.md5}")] if found.md5 else told

    def check(self, request: Request, found: StoredObject) -> None:
        """Another generation does not exist: old ones are not kept."""
        wanted = request.query.get("generation")
        if wanted is not None and wanted != str(found.generation):
            raise ApiError(404, "NoSuchKey", "The specified key does not exist.")
        matched = request.headers.get("x-goog-if-generation-match")
        if matched is not None and matched != str(found.generation):
            raise ApiError(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold.")

    def fields(self, found: StoredObject) -> str:
        """Return the generations."""
        return f"<Generation>{found.generation}</Generation><MetaGeneration>1</MetaGeneration>"


def _check_etag(request: Request, found: StoredObject) -> None:
    wanted = request.headers.get("if-match")
    if wanted is not None and not _names(wanted, found.etag):
        raise ApiError(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")


def _names(condition: str, etag: str) -> bool:
    """Return whether an If-Match header names the ETag; clients send it with and without quotes."""
    return any(each.strip() in {"*", etag, etag.strip('"')} for each in condition.split(","))
