"""From settings to a Store: the one place that knows which setting concerns which part of a store.

Law: a mount, ``modelfs ls`` and ``modelfs check`` open the store through here, so that they see the same. Finding
credentials may ask a process or a metadata service, some of which never answer: that is bounded as a listing's page is.
"""

import logging
import os
from collections.abc import Callable
from functools import partial

import trio

from modelfs.buffers import Buffers
from modelfs.config import Config
from modelfs.engines import open_store
from modelfs.errors import ModelfsError, StoreUnavailableError
from modelfs.late_store import LateStore
from modelfs.location import Location
from modelfs.store import Store

log = logging.getLogger(__name__)

TAKE_OVER_S = 2.0
"""What an opening may hold up a mount that others wait for. It took 0.3 s where no service is asked."""


async def open_configured(location: Location, config: Config, buffers: Buffers | None = None) -> Store:
    """Return the store of ``location`` within the time that a mount may take. Raises a ModelfsError.

    An engine that receives into memory of its own takes it from ``buffers``.
    """
    request = _opener(location, config, buffers)
    with trio.move_on_after(config.mount_timeout_s):
        return await trio.to_thread.run_sync(request, abandon_on_cancel=True)
    raise StoreUnavailableError(
        f"no credentials for {location.display} within {config.mount_timeout_s:g} s: their source (a metadata"
        " service, a token endpoint or credential_process) does not answer; check it, or raise --mount-timeout"
    )


async def open_at_once(location: Location, config: Config, buffers: Buffers) -> Store:
    """Return the store for a mount that is there already: opened, or to be opened when it is first asked."""
    request = _opener(location, config, buffers)
    with trio.move_on_after(TAKE_OVER_S):
        try:
            return await trio.to_thread.run_sync(request, abandon_on_cancel=True)
        except ModelfsError as error:
            log.warning("the store cannot be opened yet error=%s", error)
    return LateStore(request)


def _opener(location: Location, config: Config, buffers: Buffers | None) -> Callable[[], Store]:
    return partial(
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
