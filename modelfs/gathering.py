"""Several requests side by side, of which one that fails ends the others.

Law: what is raised is the first failure itself, and not a group of them.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import trio

from modelfs.errors import ModelfsError

K = TypeVar("K")
T = TypeVar("T")


async def gather(keys: Iterable[K], ask: Callable[[K], Awaitable[T]]) -> dict[K, T]:
    """Return what ``ask`` returns for each of ``keys``; how many at once is for it to limit."""
    found: dict[K, T] = {}
    failures: list[ModelfsError] = []

    async def one(key: K) -> None:
        try:
            found[key] = await ask(key)
        except ModelfsError as error:
            failures.append(error)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for key in keys:
            nursery.start_soon(one, key)
    if failures:
        raise failures[0]
    return found
