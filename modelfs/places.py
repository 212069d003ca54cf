"""Where a bucket is, and how to get in: all that an engine has to know to read from it.

Law: pure. One value for all engines of a cloud, so that each has the same credentials, endpoint and time-outs.
``display`` is for messages; credentials are asked anew for every request, and None is anonymous.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelfs.transport import Link

if TYPE_CHECKING:  # what belongs to another cloud need not be imported
    from modelfs.credentials import KeySource
    from modelfs.credentials_azure import AzureAccess
    from modelfs.gcs_tokens import Tokens
    from modelfs.s3_address import Address

GCS_AS_STORED = {"Accept-Encoding": "gzip"}
"""Has GCS send an object that is stored with "Content-Encoding: gzip" as it is stored. Else it would unpack it on the
way, and then ignores ranges and sends another length than the listing's. No engine unpacks it."""


@dataclass(frozen=True, slots=True)
class S3Place:
    """One prefix of one bucket of S3, in one region."""

    bucket: str
    prefix: str
    display: str
    region: str
    address: "Address"
    keys: "KeySource | None"
    link: Link


@dataclass(frozen=True, slots=True)
class GCSPlace:
    """One prefix of one bucket of GCS. ``endpoint`` is the store's address, without a slash at the end."""

    bucket: str
    prefix: str
    display: str
    endpoint: str
    tokens: "Tokens | None"
    link: Link


@dataclass(frozen=True, slots=True)
class AzurePlace:
    """One prefix of one container."""

    container: str
    prefix: str
    display: str
    access: "AzureAccess"
    link: Link


def full_key(place: S3Place | GCSPlace | AzurePlace, key: str) -> str:
    """Return the cloud's own name of the repository's ``key``."""
    return f"{place.prefix}/{key}" if place.prefix else key
