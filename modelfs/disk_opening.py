"""From a store and settings to its disk tier, opened in a bounded time.

Law: nothing here fails a mount. Where there is no tier, one line says why.
"""

import logging
from collections.abc import Callable
from functools import partial

import trio

from modelfs.buffers import Buffers
from modelfs.disk import DiskTier, Readership
from modelfs.disk_format import scope_of
from modelfs.errors import ModelfsError
from modelfs.store import Placed, Store

log = logging.getLogger(__name__)

OPEN_S = 5.0
END_S = 5.0
QUEUE_SHARE = 4
"""Of the memory for blocks, what may wait to be written: a disk that stops for a moment then costs nothing."""


async def open_tier(
    path: str | None,
    store: Store,
    *,
    source: str,
    group: str | None,
    quota_bytes: int | None,
    memory_bytes: int,
    buffers: Buffers,
    before: Callable[[], None],
) -> DiskTier | None:
    """Return the disk tier of ``store`` in the folder ``path``; None where there is none. ``source`` is for people.

    Its blocks are shared by those who give the same ``group``; without one, by those who are the same to the store.
    """
    if path is None or not isinstance(store, Placed):
        return None

    def build() -> DiskTier | None:
        place = store.place()
        if group is None and place.principal is None:
            log.warning("there is no disk cache: these credentials do not tell whose they are; give a --cache-group")
            return None
        who = ("principal", place.principal or "") if group is None else ("group", group)
        tier = DiskTier(
            path,
            Readership(scope_of(place.store, *who), source, place.prefix),
            take=buffers.take,
            quota_bytes=quota_bytes,
            queue_bytes=memory_bytes // QUEUE_SHARE,
            before=before,
        )
        tier.open()
        return tier

    try:
        with trio.move_on_after(OPEN_S):
            return await trio.to_thread.run_sync(build, abandon_on_cancel=True)
        log.warning("there is no disk cache: its folder does not answer within %g s path=%s", OPEN_S, path)
    except ModelfsError as error:
        log.warning("there is no disk cache: who reads here cannot be told path=%s because=%r", path, str(error))
    return None


async def close_tier(tier: DiskTier | None) -> None:
    """Have what was read last written, in a bounded time."""
    if tier is not None:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(partial(tier.end, END_S), abandon_on_cancel=True)
