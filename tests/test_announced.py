"""Announced: what will be opened is brought before, in order, in bounds, and is forgotten when nobody comes."""

import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
import trio
import trio.testing

from modelfs.announced import PATIENCE_S, Announced
from modelfs.blocks import ObjectInfo
from modelfs.inodes import Inodes
from modelfs.open_files import OpenFiles
from modelfs.streamer import Streamer
from modelfs.tree import File

MIB = 2**20


class FakeStreamer:
    """Takes a second to be brought."""

    def __init__(self, info: ObjectInfo, log: list[str], *, is_pushing: bool = True) -> None:
        self.info = info
        self.is_pushing = is_pushing
        self.is_closed = False
        self._log = log

    async def bring(self, stop: int) -> None:
        self._log.append(f"{self.info.key} {min(stop, self.info.size) // MIB}")
        await trio.sleep(1)
        if self.info.key.endswith("bug"):
            raise RuntimeError("a bug")

    def close(self) -> None:
        self.is_closed = True


class Parts:
    """What is put together, and what was brought: key and MiB."""

    def __init__(self, nursery: trio.Nursery, *, most: int, is_pushing: bool = True) -> None:
        self.brought: list[str] = []
        self.inodes = Inodes()
        self.files = OpenFiles(
            lambda info, _number: cast("Streamer", FakeStreamer(info, self.brought, is_pushing=is_pushing))
        )
        self.announced = Announced(self.inodes, self.files, nursery=nursery, most_bytes=lambda: most * MIB)

    def file(self, path: str, size: int, *, known: bool = True) -> File:
        node = File(ObjectInfo(path, size * MIB, "v", 0), 0)
        if known:
            self.inodes.look_up(path, node)
        return node

    def announce(self, path: str, size: int, *, known: bool = True) -> int:
        node = self.file(path, size, known=known)
        self.announced.announce(path, node)
        return self.inodes.number_of(path, node)

    def open(self, number: int, path: str) -> None:
        self.files.open(number, ObjectInfo(path, MIB, "v", 0))
        self.announced.opened(number)


def in_virtual_time(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        with_arguments = functools.partial(test, *arguments, **named)
        trio.run(with_arguments, clock=trio.testing.MockClock(autojump_threshold=0))

    return run


@asynccontextmanager
async def parts(**options: Any) -> AsyncIterator[Parts]:
    async with trio.open_nursery() as nursery:
        yield Parts(nursery, **options)
        nursery.cancel_scope.cancel()


@in_virtual_time
async def test_what_is_announced_is_brought_one_after_the_other() -> None:
    async with parts(most=100) as made:
        for number in range(4):
            made.announce(f"m{number}/1/x", 10)
        await trio.sleep(2.5)
        assert made.brought == ["m0/1/x 10", "m1/1/x 10", "m2/1/x 10"]
        await trio.sleep(10)
        assert len(made.brought) == 4


@in_virtual_time
async def test_what_the_kernel_does_not_know_or_somebody_has_open_is_not_brought() -> None:
    async with parts(most=100) as made:
        made.announce("m/1/unknown", 10, known=False)
        node = made.file("m/1/open", 10)
        made.open(made.inodes.number_of("m/1/open", node), "m/1/open")
        made.announced.announce("m/1/open", node)
        await trio.sleep(5)
        assert made.brought == []


@in_virtual_time
async def test_no_more_is_brought_than_may_be_ahead_of_those_who_open() -> None:
    async with parts(most=25) as made:
        numbers = [made.announce(f"m{number}/1/x", 10) for number in range(5)]
        await trio.sleep(20)
        assert made.brought == ["m0/1/x 10", "m1/1/x 10", "m2/1/x 5"]
        made.open(numbers[0], "m0/1/x")
        await trio.sleep(20)
        assert made.brought[3:] == ["m3/1/x 10"]
        made.open(numbers[4], "m4/1/x")  # its reader comes before us
        made.open(numbers[1], "m1/1/x")
        await trio.sleep(20)
        assert len(made.brought) == 4


@in_virtual_time
async def test_what_nobody_opens_is_forgotten_and_nothing_more_is_brought() -> None:
    async with parts(most=25) as made:
        for number in range(50):
            made.announce(f"m{number}/1/x", 10)
        await trio.sleep(0.5)
        streamers = list(made.files.streamers.values())
        await trio.sleep(5 * PATIENCE_S)
        assert len(made.brought) == 3
        assert not made.files.streamers
        assert all(cast("FakeStreamer", each).is_closed for each in streamers)
        made.announce("n/1/x", 1)
        await trio.sleep(1)
        assert made.brought[-1] == "n/1/x 1"


@in_virtual_time
async def test_a_load_that_takes_its_time_is_waited_for_as_long_as_it_goes_on() -> None:
    async with parts(most=25) as made:
        numbers = [made.announce(f"m{number}/1/x", 10) for number in range(8)]
        for number in range(8):
            await trio.sleep(0.8 * PATIENCE_S)
            made.open(numbers[number], f"m{number}/1/x")
        await trio.sleep(5)
        assert [each.split("/")[0] for each in made.brought] == [f"m{number}" for number in range(8)]


@in_virtual_time
async def test_where_nothing_is_pushed_nothing_is_brought_or_kept() -> None:
    async with parts(most=25, is_pushing=False) as made:
        for number in range(5):
            made.announce(f"m{number}/1/x", 10)
        await trio.sleep(1)
        assert made.brought == []
        assert not made.files.streamers


@in_virtual_time
async def test_what_was_brought_or_opened_once_is_not_brought_again() -> None:
    async with parts(most=100) as made:
        number = made.announce("m/1/x", 10)
        await trio.sleep(2)
        made.open(number, "m/1/x")
        made.files.close(number)
        await trio.sleep(2 * PATIENCE_S)
        made.announce("m/1/x", 10)
        made.open(made.inodes.number_of("n/1/x", made.file("n/1/x", 10)), "n/1/x")
        made.announce("n/1/x", 10)
        await trio.sleep(5)
        assert made.brought == ["m/1/x 10"]


@in_virtual_time
async def test_a_bug_in_bringing_ends_neither_the_mount_nor_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    async with parts(most=100) as made:
        made.announce("m/1/bug", 10)
        made.announce("m/1/x", 10)
        await trio.sleep(5)
        assert made.brought == ["m/1/bug 10", "m/1/x 10"]
    assert "unexpected error" in caplog.text


@in_virtual_time
async def test_a_file_that_is_announced_outlives_its_first_reader() -> None:
    """Triton opens a model twice: to complete its config, and to load it."""
    async with parts(most=100) as made:
        number = made.announce("m/1/x", 10)
        await trio.sleep(0.5)
        first = made.files.streamers[number]
        made.open(number, "m/1/x")
        made.files.close(number)
        assert made.files.streamers[number] is first
        made.open(number, "m/1/x")
        await trio.sleep(2 * PATIENCE_S)
        assert made.files.streamers[number] is first
        made.files.close(number)
        assert not made.files.streamers
