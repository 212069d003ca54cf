"""The direct engine for S3 over plain HTTP: pinned, ranged reads over connections of our own.

Law: a read is the bytes of one version or an error, as with the other engines: the version is sent as ``If-Match``, and
the answer's own ETag and size are compared as well. Only what is answered whole is given out.
"""

import re
from urllib.parse import quote, urlsplit

from modelfs.blocks import ObjectInfo
from modelfs.buffers import Buffers
from modelfs.direct_client import DirectClient
from modelfs.errors import CorruptAnswerError, VersionGoneError
from modelfs.places import S3Place, full_key
from modelfs.s3_errors import Refusal, from_read
from modelfs.s3_listing import quoted, signed
from modelfs.transport import user_agent

_SUCCESS = range(200, 300)
_PORT = 80
_RANGE = re.compile(r"bytes ([0-9]+)-[0-9]+/([0-9]+)")


class S3Reader:
    """Reads the objects of one bucket in one region; see ``Reader``."""

    name = "direct"
    unreadable = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
    """Control characters could be asked for, but every engine shows the same."""

    def __init__(self, place: S3Place, *, buffers: Buffers) -> None:
        """Connect to nothing yet."""
        self._place = place
        self._url = place.address.url
        parts = urlsplit(self._url)
        self._path = parts.path
        self._headers = {**user_agent(), **place.link.headers, "Accept-Encoding": "identity", "Host": parts.netloc}
        self._client = DirectClient(
            parts.hostname or "",
            parts.port or _PORT,
            connect_timeout_s=place.link.connect_timeout_s,
            stall_timeout_s=place.link.stall_timeout_s,
            most=place.link.max_connections,
            buffers=buffers,
        )

    def read(self, info: ObjectInfo, offset: int, length: int) -> memoryview:
        """Return exactly ``[offset, offset + length)`` of this version; see ``Store.read``."""
        what = f"cannot read {info.key!r} of {self._place.display}"
        path = "/" + quote(full_key(self._place, info.key), safe="/-_.~")
        headers = {**self._headers, "Range": f"bytes={offset}-{offset + length - 1}", "If-Match": info.version}
        if self._place.keys is not None:
            headers = signed(self._url + path, headers, self._place.keys(), self._place.region)
        answer = self._client.get(self._path + path, headers, length=length, what=what)
        if answer.status not in _SUCCESS:
            body = bytes(answer.body).decode("utf-8", "replace")
            region = answer.headers.get("x-amz-bucket-region", "")
            raise from_read(Refusal.of(answer.status, body, region=region), what=what)
        etag = answer.headers.get("ETag")
        told = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        start, size = (int(told[1]), int(told[2])) if told else (0, length)  # without a range it is all
        if etag is None or quoted(etag) != info.version or size != info.size:
            raise VersionGoneError(f"{what}: this version was replaced")
        if start != offset:
            raise CorruptAnswerError(f"{what}: the store's answer is not the range that was asked for")
        return answer.body
