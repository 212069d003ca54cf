"""One small blob put into Azure.

Law: one request, one try; whole or not at all. The MD5 goes along, by which the store notices a damaged body.
"""

import base64
import datetime as dt
import hashlib
from urllib.parse import quote

from modelfs.azure_errors import Refusal, from_write
from modelfs.azure_listing import complaint
from modelfs.azure_signing import authorized
from modelfs.errors import ModelfsError
from modelfs.places import AzurePlace, full_key
from modelfs.transport import CREATED, OK, Transport, user_agent


def put(place: AzurePlace, key: str, data: bytes) -> None:
    """Put ``data`` under ``key``, which is relative to the place's prefix."""
    what = f"cannot write {key!r} of {place.display}"
    credential = None if place.access.source is None else place.access.source()
    headers = {
        **user_agent(),
        "x-ms-blob-type": "BlockBlob",
        "Content-Type": "application/json",
        "Content-Length": str(len(data)),  # urllib3 would add it, but a key signs it
        "Content-MD5": base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode(),
    }
    url = f"{place.access.service_url}/{place.container}/{quote(full_key(place, key), safe='/-_.~')}"
    url, headers = authorized(url, headers, credential, now=dt.datetime.now(dt.UTC), method="PUT")
    try:
        reply = Transport(place.link).send("PUT", url, headers, data, what=what)
    except ModelfsError as error:
        raise error from None  # its cause is urllib3's, which quotes the URL and so the SAS
    if reply.status not in {OK, CREATED}:
        refusal = Refusal.of(reply.status, reply.body.decode("utf-8", "replace"))
        raise from_write(refusal, what=what, complaint=complaint(credential))
