"""``modelfs lint``: one listing of a repository and the small files in it, given to the rules of ``lint``.

Law: nothing is written, and nothing is read but what the rules ask for, a few at a time.
"""

from collections.abc import Iterable
from functools import partial

import trio

from modelfs import growing, lint, location
from modelfs.blocks import ObjectInfo
from modelfs.config import Config
from modelfs.findings import Finding
from modelfs.gathering import gather
from modelfs.opening import open_configured
from modelfs.store import RetryPolicy, Store, in_thread_with_retries, list_everything


def lint_repository(url: str, config: Config) -> list[Finding]:
    """Return what is wrong with the repository at ``url``. Raises a ModelfsError when it cannot be looked at."""

    async def look() -> list[Finding]:
        store = await open_configured(location.parse(url), config)
        policy = RetryPolicy(deadline_s=config.mount_timeout_s)
        objects = await list_everything(store, policy=policy, limiter=trio.CapacityLimiter(1))
        shown = growing.build(objects, show_hidden=True)
        contents = await read_small(store, lint.wanted(shown), config)
        return lint.lint(shown, contents, shows_hidden=config.show_hidden)

    return trio.run(look)


async def read_small(store: Store, files: Iterable[ObjectInfo], config: Config) -> dict[str, bytes]:
    """Return the whole content of each of ``files`` by its key. Raises a ModelfsError, the first that comes."""
    limiter = trio.CapacityLimiter(config.max_connections)
    policy = RetryPolicy(deadline_s=config.mount_timeout_s)

    async def read(info: ObjectInfo) -> bytes:
        if not info.size:
            return b""
        request = partial(store.read, info, 0, info.size)
        return bytes(await in_thread_with_retries(request, what=f"read {info.key}", policy=policy, limiter=limiter))

    return {info.key: content for info, content in (await gather(files, read)).items()}
