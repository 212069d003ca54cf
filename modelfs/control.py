"""The unix socket on which a worker answers questions about its mount.

Law: one connection, one JSON line asked, one JSON line answered. Whoever may open the socket may ask: it lies in a
folder of its user's alone. A client can neither stall the worker (time-out, bounded size, bounded number) nor end it.
"""

import json
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import trio

log = logging.getLogger(__name__)

Answer = dict[str, Any]
Handler = Callable[[dict[str, Any]], Answer | Awaitable[Answer]]

REQUEST_BYTES_MAX = 64 * 1024
CLIENT_TIMEOUT_S = 10.0
_CLIENTS_MAX = 16


async def serve(
    path: str,
    handlers: Mapping[str, Handler],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer ``{"command": NAME, ...}`` on the socket ``path`` by ``handlers[NAME]`` until cancelled.

    A handler gets the whole request, must not block, and returns what JSON can hold, or what can be awaited for that
    within a bound of its own. The answer is that, with ``"ok": true``; or ``{"ok": false, "error": ...}``. A socket
    that a crash left at ``path`` is replaced.
    """
    with suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108  a path that the supervisor gave as a string
    slots = trio.Semaphore(_CLIENTS_MAX)

    async def on_client(stream: trio.SocketStream) -> None:
        async with slots:
            await _answer_client(stream, handlers)

    with trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM) as sock:
        await sock.bind(path)
        sock.listen(_CLIENTS_MAX)
        try:
            await trio.serve_listeners(on_client, [trio.SocketListener(sock)], task_status=_Started(task_status))
        finally:
            with suppress(OSError):
                os.unlink(path)  # noqa: PTH108  a path that the supervisor gave as a string


class _Started(trio.TaskStatus[Any]):
    """Passes on that we have begun, without the listeners."""

    def __init__(self, outer: trio.TaskStatus[None]) -> None:
        self._outer = outer

    def started(self, value: object = None) -> None:  # noqa: ARG002  the listeners are nobody's business
        self._outer.started()


async def _answer_client(stream: trio.SocketStream, handlers: Mapping[str, Handler]) -> None:
    try:
        async with stream:
            line = None
            with trio.move_on_after(CLIENT_TIMEOUT_S):
                line = await _read_line(stream)
            if line is None:
                return
            answer = await _answer(line, handlers)
            with trio.move_on_after(CLIENT_TIMEOUT_S):
                await stream.send_all(json.dumps(answer).encode() + b"\n")
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return


async def _read_line(stream: trio.SocketStream) -> bytes | None:
    data = bytearray()
    while b"\n" not in data:
        received = await stream.receive_some()
        if not received or len(data) + len(received) > REQUEST_BYTES_MAX:
            return None
        data += received
    return bytes(data.partition(b"\n")[0])


async def _answer(line: bytes, handlers: Mapping[str, Handler]) -> Answer:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):  # the second: brackets, thousands deep
        request = None
    if not isinstance(request, dict):
        return {"ok": False, "error": "the request is not a JSON object"}
    handler = handlers.get(str(request.get("command")))
    if handler is None:
        return {"ok": False, "error": f"no such command; there are {', '.join(sorted(handlers))}"}
    try:
        found = handler(request)
        return {**(found if isinstance(found, dict) else await found), "ok": True}
    except Exception:  # a root: whatever a handler does, the mount goes on
        log.exception("unexpected error in control command=%s", request.get("command"))
        return {"ok": False, "error": "the worker met an unexpected error; its log tells more"}
