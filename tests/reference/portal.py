"""A trio loop beside the thread of a test, so that a synchronous state machine can take one step at a time.

Law: between two calls nothing runs: each call ends only when every task waits for something that the test decides.
"""

import queue
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import trio
import trio.testing

T = TypeVar("T")

PATIENCE_S = 60  # for one step, against hanging


class Portal:
    """Runs async functions in a trio loop in a thread of its own. ``nursery`` outlives the calls."""

    def __init__(self) -> None:
        started: queue.SimpleQueue[tuple[trio.lowlevel.TrioToken, trio.Nursery]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=trio.run, args=(self._main, started), daemon=True)
        self._thread.start()
        self._token, self.nursery = started.get(timeout=PATIENCE_S)

    async def _main(self, started: "queue.SimpleQueue[tuple[trio.lowlevel.TrioToken, trio.Nursery]]") -> None:
        async with trio.open_nursery() as nursery:
            started.put((trio.lowlevel.current_trio_token(), nursery))
            await trio.sleep_forever()

    def call(self, function: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """Run one async function, and then what it set going until that waits."""

        async def step() -> T:
            with trio.fail_after(PATIENCE_S):
                result = await function(*arguments)
                await trio.testing.wait_all_tasks_blocked()
                return result

        return trio.from_thread.run(step, trio_token=self._token)

    def settle(self) -> None:
        """Run what can run until everything waits."""
        self.call(trio.lowlevel.checkpoint)

    def close(self) -> None:
        """Cancel all that is left, and wait for the thread."""
        trio.from_thread.run_sync(self.nursery.cancel_scope.cancel, trio_token=self._token)
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
