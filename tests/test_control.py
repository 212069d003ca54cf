"""The control socket: what it answers, and that no client can harm it."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from modelfs import control, mounts


def double(request: dict[str, Any]) -> dict[str, Any]:
    return {"twice": 2 * request.get("number", 21)}


async def double_later(request: dict[str, Any]) -> dict[str, Any]:
    await trio.lowlevel.checkpoint()
    return double(request)


def fail(_request: dict[str, Any]) -> dict[str, Any]:
    raise RuntimeError("a defect")


async def ask(path: str, *data: bytes) -> Any:
    stream = await trio.open_unix_socket(path)
    async with stream:
        for piece in data:
            await stream.send_all(piece)
        answer = b"".join([piece async for piece in stream])
    return json.loads(answer) if answer else None


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "control.sock")


@contextmanager
def patience() -> Iterator[None]:
    with trio.fail_after(30):
        yield


async def start(nursery: trio.Nursery, path: str) -> None:
    handlers: dict[str, control.Handler] = {"double": double, "later": double_later, "fail": fail}

    async def serve(task_status: trio.TaskStatus[None]) -> None:
        await control.serve(path, handlers, task_status=task_status)

    await nursery.start(serve)


async def test_question_is_answered_on_one_line(path: str) -> None:
    async with trio.open_nursery() as nursery:
        await start(nursery, path)
        with patience():
            assert await ask(path, b'{"command": "double", "number": 4}\n') == {"twice": 8, "ok": True}
            assert await ask(path, b'{"comm', b'and": "double"}\n') == {"twice": 42, "ok": True}
            assert await ask(path, b'{"command": "later", "number": 3}\n') == {"twice": 6, "ok": True}
        nursery.cancel_scope.cancel()
    assert not await trio.Path(path).exists()


async def test_socket_that_a_crash_left_is_replaced(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    async with trio.open_nursery() as nursery:
        await start(nursery, path)
        with patience():
            assert (await ask(path, b'{"command": "double"}\n'))["ok"]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"garbage\n", "not a JSON object"),
        (b"[1]\n", "not a JSON object"),
        (b"\xff\n", "not a JSON object"),
        (b"[" * 60_000 + b"\n", "not a JSON object"),
        (b"{}\n", "no such command; there are double, fail"),
        (b'{"command": ["double"]}\n', "no such command"),
        (b'{"command": "fail"}\n', "unexpected error"),
    ],
)
async def test_nonsense_is_refused_and_service_goes_on(path: str, line: bytes, words: str) -> None:
    async with trio.open_nursery() as nursery:
        await start(nursery, path)
        with patience():
            answer = await ask(path, line)
            assert not answer["ok"]
            assert words in answer["error"]
            assert (await ask(path, b'{"command": "double"}\n'))["ok"]
        nursery.cancel_scope.cancel()


async def flood(path: str) -> None:
    async with await trio.open_unix_socket(path) as stream:
        for _ in range(10_000):
            await stream.send_all(b"x" * 65536)


async def test_request_without_end_is_cut(path: str) -> None:
    async with trio.open_nursery() as nursery:
        await start(nursery, path)
        with patience(), pytest.raises(trio.BrokenResourceError):
            await flood(path)
        nursery.cancel_scope.cancel()


async def test_silent_clients_are_dropped_and_delay_nobody_for_long(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "CLIENT_TIMEOUT_S", 0.05)
    async with trio.open_nursery() as nursery:
        await start(nursery, path)
        with patience():
            silent = [await trio.open_unix_socket(path) for _ in range(40)]
            assert (await ask(path, b'{"command": "double"}\n'))["ok"]
            assert await silent[0].receive_some() == b""
        nursery.cancel_scope.cancel()


async def test_command_line_asks_and_names_what_is_wrong(tmp_path: Path, path: str) -> None:
    async with trio.open_nursery() as nursery:
        await start(nursery, path)
        with patience():
            asking = trio.to_thread.run_sync
            assert await asking(mounts.ask, str(tmp_path), "double") == {"twice": 42}
            with pytest.raises(mounts.ControlError, match="the worker refuses: no such command"):
                await asking(mounts.ask, str(tmp_path), "triple")
        nursery.cancel_scope.cancel()
    with pytest.raises(mounts.ControlError, match="does not answer"):
        mounts.ask(str(tmp_path), "double")


def test_command_line_waits_no_longer_than_it_says(tmp_path: Path, path: str) -> None:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(path)
        deaf.listen()
        with pytest.raises(mounts.ControlError, match=r"within 0\.1 s"):
            mounts.ask(str(tmp_path), "double", timeout_s=0.1)
