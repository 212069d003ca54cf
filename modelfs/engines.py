"""From a Location to its Store: the one place that knows which engine serves what.

Law: an engine is imported only when its location is used, since each costs start-up time and memory.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Literal

from modelfs import aws_settings, credentials, credentials_triton
from modelfs.buffers import Buffers
from modelfs.location import Location
from modelfs.places import AzurePlace, GCSPlace, S3Place
from modelfs.proxies import proxy_for
from modelfs.s3_address import AddressingStyle, Where
from modelfs.store import Reader, Store

Engine = Literal["auto", "obstore", "fsspec"]
"""Who fetches the bytes of objects. auto is the fastest that can: connections of our own for S3 over plain HTTP, else
obstore. A local folder is read by ``LocalStore`` with each of them."""


def open_store(
    location: Location,
    *,
    engine: Engine = "auto",
    allow_unpinned: bool = False,
    region: str | None,
    connect_timeout_s: float,
    stall_timeout_s: float,
    max_connections: int,
    environment: Mapping[str, str],
    endpoint_url: str | None = None,
    addressing_style: AddressingStyle = "auto",
    sign_requests: bool = True,
    request_payer: bool = False,
    expected_bucket_owner: str | None = None,
    sas_file: str | None = None,
    ca_bundle: str | None = None,
    buffers: Buffers | None = None,
) -> Store:
    """Return the store of ``location``, with the credentials that the environment tells of.

    Sends nothing to the store yet, but may ask a credential source, and so may block. ``stall_timeout_s`` is how long
    an answer may make no progress. Raises UsageError when a setting is wrong.
    """
    if location.scheme == "file":
        from modelfs.store_local import LocalStore  # noqa: PLC0415  see the law

        return LocalStore(location.prefix)
    if location.scheme == "other":
        from modelfs import store_unpinned as unpinned  # noqa: PLC0415  see the law

        unpinned.check_allowed(location, is_engine_chosen=engine == "fsspec", is_allowed=allow_unpinned)
        return unpinned.UnpinnedStore(
            location,
            connect_timeout_s=connect_timeout_s,
            stall_timeout_s=stall_timeout_s,
            ca_bundle=Path(ca_bundle) if ca_bundle else None,
            proxy_for=partial(proxy_for, environment=environment),
        )
    if location.scheme == "s3":
        from modelfs.store_s3 import S3Store  # noqa: PLC0415  see the law

        file = credentials_triton.find_file(location, environment) if sign_requests else None
        aws = aws_settings.find(environment if file is None else credentials.with_entry(environment, file()))
        style = addressing_style if addressing_style != "auto" else aws.addressing_style or "auto"
        bundle = Path(ca_bundle) if ca_bundle else aws.ca_bundle
        return S3Store(
            location,
            open_reader=s3_reader(engine, buffers),
            where=Where(location.endpoint or endpoint_url or aws.endpoint_url, style, aws.use_dual_stack, aws.use_fips),
            region=region or aws.region,
            keys=credentials.find_s3(environment, file) if sign_requests else None,
            connect_timeout_s=connect_timeout_s,
            stall_timeout_s=stall_timeout_s,
            max_connections=max_connections,
            ca_bundle=bundle,
            proxy_for=partial(proxy_for, environment=environment),
            request_payer=request_payer,
            expected_bucket_owner=expected_bucket_owner,
        )
    if location.scheme == "as":
        from modelfs.credentials_azure import find_azure  # noqa: PLC0415  see the law
        from modelfs.store_azure import AzureStore  # noqa: PLC0415  only when it is needed

        file = credentials_triton.find_file(location, environment) if sign_requests else None
        return AzureStore(
            location,
            open_reader=azure_reader(engine),
            access=find_azure(
                location,
                environment,
                file,
                endpoint_url=endpoint_url,
                sas_file=Path(sas_file) if sas_file else None,
                is_anonymous=not sign_requests,
            ),
            connect_timeout_s=connect_timeout_s,
            stall_timeout_s=stall_timeout_s,
            max_connections=max_connections,
            ca_bundle=Path(ca_bundle) if ca_bundle else None,
            proxy_for=partial(proxy_for, environment=environment),
        )
    from modelfs import credentials_gcs as gcs  # noqa: PLC0415  see the law
    from modelfs.store_gcs import GCSStore  # noqa: PLC0415  only when it is needed

    entry = credentials_triton.find_file(location, environment) if sign_requests else None
    path = None if entry is None else lambda: entry()["path"]
    return GCSStore(
        location,
        open_reader=gcs_reader(engine),
        endpoint=endpoint_url.rstrip("/") if endpoint_url else gcs.find_gcs_endpoint(environment),
        tokens=gcs.find_gcs(environment, path, endpoint_url=endpoint_url) if sign_requests else None,
        billing_project=gcs.find_billing_project(environment),
        connect_timeout_s=connect_timeout_s,
        stall_timeout_s=stall_timeout_s,
        max_connections=max_connections,
        ca_bundle=Path(ca_bundle) if ca_bundle else None,
        proxy_for=partial(proxy_for, environment=environment),
    )


def s3_reader(engine: Engine, buffers: Buffers | None = None) -> Callable[[S3Place], Reader]:
    """Return what opens the reader of S3 that ``engine`` is."""
    if engine == "auto":
        return partial(_best_s3_reader, buffers or Buffers())
    if engine == "fsspec":
        from modelfs import fsspec_s3  # noqa: PLC0415  see the law

        return fsspec_s3.S3Reader
    from modelfs import obstore_s3  # noqa: PLC0415  see the law

    return obstore_s3.S3Reader


def _best_s3_reader(buffers: Buffers, place: S3Place) -> Reader:
    """Return the fastest reader that can serve ``place``: our own connections speak plain HTTP to the store itself."""
    if not place.link.is_secure and place.link.proxy is None:
        from modelfs import direct_s3  # noqa: PLC0415  see the law

        return direct_s3.S3Reader(place, buffers=buffers)
    return s3_reader("obstore")(place)


def gcs_reader(engine: Engine) -> Callable[[GCSPlace], Reader]:
    """Return what opens the reader of Google Cloud Storage that ``engine`` is."""
    if engine == "fsspec":
        from modelfs import fsspec_gcs  # noqa: PLC0415  see the law

        return fsspec_gcs.GCSReader
    from modelfs import obstore_gcs  # noqa: PLC0415  see the law

    return obstore_gcs.GCSReader


def azure_reader(engine: Engine) -> Callable[[AzurePlace], Reader]:
    """Return what opens the reader of Azure that ``engine`` is."""
    if engine == "fsspec":
        from modelfs import fsspec_azure  # noqa: PLC0415  see the law

        return fsspec_azure.AzureReader
    from modelfs import obstore_azure  # noqa: PLC0415  see the law

    return obstore_azure.AzureReader
