"""From a Location to its Store: the one place that knows which engine serves what.

Law: an engine is imported only when its location is used, since each costs start-up time and memory.
"""

from collections.abc import Mapping

from modelfs import credentials
from modelfs.errors import UsageError
from modelfs.location import Location
from modelfs.store import Store

_REGION = "us-east-1"
"""What private stores take, and where AWS sends those who name no region."""


def open_store(
    location: Location,
    *,
    region: str | None,
    connect_timeout_s: float,
    stall_timeout_s: float,
    max_connections: int,
    environment: Mapping[str, str],
) -> Store:
    """Return the store of ``location``, with the credentials that the environment tells of.

    Sends nothing to the store yet, but may ask a credential source for a second. ``stall_timeout_s`` is how long an
    answer may make no progress. Raises UsageError when a setting is wrong or this version has no engine for it.
    """
    if location.scheme == "file":
        from modelfs.store_local import LocalStore  # noqa: PLC0415  see the law

        return LocalStore(location.prefix)
    if location.scheme == "s3":
        from modelfs.store_s3 import S3Store  # noqa: PLC0415  see the law

        return S3Store(
            location,
            region=region or credentials.find_s3_region(environment) or _REGION,
            keys=credentials.find_s3(environment),
            connect_timeout_s=connect_timeout_s,
            stall_timeout_s=stall_timeout_s,
            max_connections=max_connections,
            ca_bundle=credentials.find_ca_bundle(environment),
        )
    raise UsageError(f"{location.scheme}:// locations cannot be served by this version yet: use s3:// or a local path")
