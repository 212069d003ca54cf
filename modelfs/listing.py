"""One listing of a repository without a mount, for ``modelfs ls``.

Law: what it returns is what a mount of the same URL and settings would show.
"""

import trio

from modelfs import growing, location
from modelfs.config import Config
from modelfs.opening import open_configured
from modelfs.store import RetryPolicy, list_everything
from modelfs.tree import Tree

_THREADS = 2


def list_repository(url: str, config: Config) -> Tree:
    """Return the tree of ``url``. Raises a ModelfsError."""

    async def list_once() -> Tree:
        store = await open_configured(location.parse(url), config)
        policy = RetryPolicy(deadline_s=config.mount_timeout_s)
        objects = await list_everything(store, policy=policy, limiter=trio.CapacityLimiter(_THREADS))
        return growing.build(objects, show_hidden=config.show_hidden)

    return trio.run(list_once)
