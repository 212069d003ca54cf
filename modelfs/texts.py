"""The small objects that decide what is shown (configs, manifests, indexes of shards), read once for each version.

Law: never in the way of a refresh. All that one refresh asks for is read within one deadline, and bounded in number
and bytes; what cannot be read is None, and what does not fit is left out. ``settle`` says what follows from that.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import trio
from cachetools import LRUCache

from modelfs.blocks import ObjectInfo
from modelfs.errors import ModelfsError
from modelfs.store import RetryPolicy, Store, in_thread_with_retries

TEXT_BYTES_MAX = 4 * 1024 * 1024  # the index of a model of 1,000 shards and 100,000 tensors has 10 MB; the usual 0.1
TEXTS_MAX = 2000  # in one refresh
ROUND_BYTES_MAX = 64 * 1024 * 1024
KEPT_BYTES = 8 * 1024 * 1024
AT_ONCE = 8


class TextReader:
    """Reads from ``store``. ``policy`` has the deadline for all that one call reads, where it is given none."""

    def __init__(self, store: Store, policy: RetryPolicy) -> None:
        self._store = store
        self._policy = policy
        self._kept: LRUCache[tuple[str, str], bytes] = LRUCache(KEPT_BYTES, getsizeof=len)  # by key and version

    async def read(self, wanted: Sequence[ObjectInfo], *, deadline_s: float | None = None) -> dict[str, bytes | None]:
        """Return the contents of ``wanted`` by key, as far as the bounds allow, in this order; None is a failure."""
        chosen: list[ObjectInfo] = []
        left_bytes = ROUND_BYTES_MAX
        for info in wanted:
            left_bytes -= info.size
            if info.size > TEXT_BYTES_MAX or left_bytes < 0 or len(chosen) == TEXTS_MAX:
                break
            chosen.append(info)
        found: dict[str, bytes | None] = {info.key: self._recall(info) for info in chosen}
        limiter = trio.CapacityLimiter(AT_ONCE)
        deadline_s = self._policy.deadline_s if deadline_s is None else deadline_s
        policy = replace(self._policy, deadline_s=deadline_s, attempt_s=deadline_s)
        with trio.move_on_after(deadline_s):
            async with trio.open_nursery() as nursery:
                for info in chosen:
                    if found[info.key] is None:
                        nursery.start_soon(self._read, info, found, policy, limiter)
        return found

    async def _read(
        self,
        info: ObjectInfo,
        found: dict[str, bytes | None],
        policy: RetryPolicy,
        limiter: trio.CapacityLimiter,
    ) -> None:
        try:
            text = await in_thread_with_retries(
                partial(self._store.read, info, 0, info.size),
                what=f"read {info.key}",
                policy=policy,
                limiter=limiter,
            )
        except ModelfsError:
            return  # what follows from it is told where it is decided
        found[info.key] = self._kept[info.key, info.version] = bytes(text)

    def _recall(self, info: ObjectInfo) -> bytes | None:
        return self._kept.get((info.key, info.version)) if info.size else b""
