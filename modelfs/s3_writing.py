"""One small object put into S3.

Law: one request, one try, signed with its body; whole or not at all. Its MD5 goes along, which buckets with object lock
want, and by which the store notices a body that was damaged on its way.
"""

import base64
import hashlib
from urllib.parse import quote

from modelfs.credentials import KeySource
from modelfs.s3_errors import Refusal, from_write
from modelfs.s3_listing import Bucket, signed
from modelfs.transport import OK, Link, Transport, user_agent


def put(bucket: Bucket, key: str, data: bytes, *, keys: KeySource | None, link: Link) -> None:
    """Put ``data`` under ``key``, which is relative to the bucket's prefix."""
    what = f"cannot write {key!r} of {bucket.display}"
    name = f"{bucket.prefix}/{key}" if bucket.prefix else key
    url = f"{bucket.url}/{quote(name, safe='/-_.~')}"
    checksum = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
    headers = {**user_agent(), **link.headers, "Content-MD5": checksum, "Content-Type": "application/json"}
    if keys is not None:
        headers = signed(url, headers, keys(), bucket.region, method="PUT", data=data)
    reply = Transport(link).send("PUT", url, headers, data, what=what)
    if reply.status != OK:
        region = reply.headers.get("x-amz-bucket-region", "")
        raise from_write(Refusal.of(reply.status, reply.body.decode("utf-8", "replace"), region=region), what=what)
