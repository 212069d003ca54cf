"""From settings to a Store: the one place that knows which setting concerns which part of a store.

Law: a mount, ``modelfs ls`` and ``modelfs check`` open the store through here, so that they see the same. Finding
credentials may ask a process or a metadata service, some of which never answer: that is bounded as a listing's page is.
"""

import os
from functools import partial

import trio

from modelfs.buffers import Buffers
from modelfs.config import Config
from modelfs.engines import open_store
from modelfs.errors import StoreUnavailableError
from modelfs.location import Location
from modelfs.store import Store


async def open_configured(location: Location, config: Config, buffers: Buffers | None = None) -> Store:
    """Return the store of ``location`` within the time that a mount may take. Raises a ModelfsError.

    An engine that receives into memory of its own takes it from ``buffers``.
    """
    request = partial(
        open_store,
        location,
        engine=config.engine,
        allow_unpinned=config.allow_unpinned,
        region=config.region,
        endpoint_url=config.endpoint_url,
        addressing_style=config.addressing_style,
        sign_requests=config.sign_requests,
        request_payer=config.request_payer,
        expected_bucket_owner=config.expected_bucket_owner,
        sas_file=config.sas_file,
        ca_bundle=config.ca_bundle,
        connect_timeout_s=config.connect_timeout_s,
        stall_timeout_s=config.stall_timeout_s,
        max_connections=config.max_connections,
        environment=os.environ,
        buffers=buffers,
    )
    with trio.move_on_after(config.mount_timeout_s):
        return await trio.to_thread.run_sync(request, abandon_on_cancel=True)
    raise StoreUnavailableError(
        f"no credentials for {location.display} within {config.mount_timeout_s:g} s: their source (a metadata"
        " service, a token endpoint or credential_process) does not answer; check it, or raise --mount-timeout"
    )
