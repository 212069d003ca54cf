"""``modelfs warm``: has what a Triton will load put on this machine's disk before it asks.

Law: a repository is read as a mount would read it, past the page cache, into the cache that such a mount has. Of each
model what its version policy selects, and what lies beside the versions. For a mount that is there see
``warming_mount``.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

import trio

from modelfs import disk_places, growing, location, tree
from modelfs.blocks import ObjectInfo
from modelfs.buffers import Buffers
from modelfs.config import Config
from modelfs.connections import Connections
from modelfs.disk import DiskTier
from modelfs.disk_format import CHUNK_BYTES
from modelfs.disk_opening import close_tier, open_tier
from modelfs.errors import ModelfsError, UsageError
from modelfs.linting import read_small
from modelfs.opening import open_configured
from modelfs.reading import fetching
from modelfs.store import RetryPolicy, Store, list_everything
from modelfs.version_policy import CONFIG_NAME, GUESSED_BYTES_MAX, is_version, selected

AT_ONCE = 8
FAILURES_TOLD = 10
_LOOK_S = 0.02

Progress = Callable[[int], AbstractContextManager[Callable[[int], None]]]
"""Called with how many bytes there are to come; what it yields, with how many more have come."""


@dataclass(frozen=True, slots=True)
class Warmth:
    """How much of what was asked for is on the disk, and what was fetched for it now; what failed, for people."""

    files: int
    bytes: int
    kept_bytes: int
    fetched_bytes: int
    failures: list[str]

    @property
    def is_whole(self) -> bool:
        """Whether all is there."""
        return self.kept_bytes >= self.bytes and not self.failures


def choose(
    files: Iterable[str], wanted: Iterable[str], configs: Mapping[str, str], *, all_versions: bool
) -> tuple[list[str], list[str]]:
    """Return which of ``files`` a Triton needs, and which of ``wanted`` (MODEL or MODEL/VERSION, none for all) are not.

    ``configs`` are the texts of config.pbtxt, by model.

    >>> choose(["m/1/x", "m/2/x", "m/c"], [], {}, all_versions=False)
    (['m/2/x', 'm/c'], [])
    >>> choose(["m/1/x", "m/2/x", "m/c"], ["m/1", "n"], {}, all_versions=False)
    (['m/1/x', 'm/c'], ['n'])
    """
    asked: dict[str, set[str]] = {}
    for name in wanted:
        model, _, version = name.strip("/").partition("/")
        asked.setdefault(model, set()).update({version} if version else ())
    models: dict[str, list[tuple[str, str]]] = {}
    for path in files:
        model, _, rest = path.partition("/")
        version, slash, _ = rest.partition("/")
        models.setdefault(model if rest else "", []).append((version if slash and is_version(version) else "", path))
    chosen: list[str] = []
    for model, found in models.items():
        if asked and model not in asked:
            continue
        versions = {version for version, _ in found} - {""}
        keep = versions
        if asked.get(model):
            keep = asked[model]
        elif not all_versions:
            keep = set(selected(configs.get(model, ""), versions))
        chosen += [path for version, path in found if not version or version in keep]
    there = {name for path in chosen for name in (path.partition("/")[0], "/".join(path.split("/")[:2]))}
    return chosen, [name for name in wanted if name.strip("/") not in there]


def warm_url(
    url: str, config: Config, wanted: list[str], progress: Progress, *, all_versions: bool, only_look: bool
) -> Warmth:
    """Put a repository's files on the disk, or look how much is there. Raises a ModelfsError."""
    parsed = location.parse(url)
    path = disk_places.cache_root(config.cache_dir)
    if parsed.scheme in {"file", "other"}:
        raise UsageError(f"{parsed.display} is not kept on a disk: it is on one, or cannot be pinned to a version.")
    if path is None or config.cache_size_bytes == 0:
        raise UsageError("nothing is kept on a disk here. Give --cache-dir and a --cache-size.")

    async def warm() -> Warmth:
        buffers = Buffers()
        buffers.most_bytes = config.memory_bytes
        store = await open_configured(parsed, config, buffers)
        policy = RetryPolicy(deadline_s=config.mount_timeout_s)
        objects = await list_everything(store, policy=policy, limiter=trio.CapacityLimiter(2))
        files = await _chosen(store, objects, wanted, config, all_versions=all_versions)
        tier = await open_tier(
            path,
            store,
            source=parsed.display,
            group=config.cache_group,
            quota_bytes=config.cache_size_bytes,
            memory_bytes=config.memory_bytes,
            buffers=buffers,
            before=lambda: None,
        )
        if tier is None or tier.statistics()["trouble"]:
            why = f": {tier.statistics()['trouble']}" if tier is not None else ""
            raise UsageError(f"the disk cache at {path} cannot be used{why}. Choose another --cache-dir.")
        try:
            return await _Warming(store, tier, config, files).run(progress, only_look=only_look)
        finally:
            await close_tier(tier)

    return trio.run(warm)


async def _chosen(
    store: Store, objects: list[ObjectInfo], wanted: list[str], config: Config, *, all_versions: bool
) -> list[ObjectInfo]:
    shown = {info.key: info for info in tree.files_below(growing.build(objects, show_hidden=config.show_hidden).root)}
    configs = [
        info for info in shown.values() if _is_config(info.key) and info.size <= GUESSED_BYTES_MAX
    ]  # of others the default counts, as everywhere
    texts = {} if all_versions else await read_small(store, configs, config)
    by_model = {key.partition("/")[0]: text.decode("utf-8", "replace") for key, text in texts.items()}
    chosen, absent = choose(shown, wanted, by_model, all_versions=all_versions)
    refuse_absent(absent)
    return [shown[key] for key in chosen]


def _is_config(key: str) -> bool:
    return key.count("/") == 1 and key.endswith(f"/{CONFIG_NAME}")


def refuse_absent(absent: list[str]) -> None:
    """Raise UsageError where something was asked for that is not there."""
    if absent:
        raise UsageError(f"there is no {absent[0]} in the repository. Name a MODEL or a MODEL/VERSION.")


class _Warming:
    """Reads files through the tier, a chunk at a time, as fast as the disk takes them."""

    def __init__(self, store: Store, tier: DiskTier, config: Config, files: list[ObjectInfo]) -> None:
        self._tier = tier
        self._files = files
        self._connections = Connections(
            most=min(AT_ONCE, config.max_connections), max_bytes_per_s=config.max_rate_bytes_per_s
        )
        self._fetch = fetching(
            store, deadline_s=config.mount_timeout_s, stall_timeout_s=config.stall_timeout_s, disk=tier
        )
        self._waiting_most = config.memory_bytes // 8
        self._fetched_bytes = 0
        self._failures: list[str] = []

    async def run(self, progress: Progress, *, only_look: bool) -> Warmth:
        chunks = await trio.to_thread.run_sync(self._lacking)
        if chunks and not only_look:
            with progress(sum(length for _, _, length in chunks)) as on_bytes:
                await self._fetch_all(chunks, on_bytes)
            await trio.to_thread.run_sync(self._tier.flush, 60.0)
            chunks = await trio.to_thread.run_sync(self._lacking)
            if chunks and not self._failures:
                trouble = self._tier.statistics()["trouble"] or "the cache has no room for all; raise --cache-size"
                self._failures.append(trouble)
        total_bytes = sum(info.size for info in self._files)
        kept_bytes = total_bytes - sum(length for _, _, length in chunks)
        return Warmth(len(self._files), total_bytes, kept_bytes, self._fetched_bytes, self._failures)

    def _lacking(self) -> list[tuple[ObjectInfo, int, int]]:
        found = []
        for info in self._files:
            for offset in range(0, info.size, CHUNK_BYTES):
                length = min(CHUNK_BYTES, info.size - offset)
                if self._tier.lacks(info, offset, length):
                    found.append((info, offset, length))
        return found

    async def _fetch_all(self, chunks: list[tuple[ObjectInfo, int, int]], on_bytes: Callable[[int], None]) -> None:
        waiting = iter(chunks)

        async def work() -> None:
            for info, offset, length in waiting:
                while self._tier.waiting_bytes > self._waiting_most:  # noqa: ASYNC110  of threads
                    await trio.sleep(_LOOK_S)
                await self._fetch_one(info, offset, length)
                on_bytes(length)

        async with trio.open_nursery() as nursery:
            for _ in range(AT_ONCE):
                nursery.start_soon(work)

    async def _fetch_one(self, info: ObjectInfo, offset: int, length: int) -> None:
        ticket = self._connections.ticket(info.key, length, is_urgent=True)
        try:
            await self._fetch(info, offset, length, ticket)
            self._fetched_bytes += length
        except ModelfsError as error:
            if len(self._failures) < FAILURES_TOLD:
                self._failures.append(str(error))
        finally:
            ticket.end()
