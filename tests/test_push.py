"""Pusher: what was taken is told, what is stuck stops nothing else, and a kernel that refuses is asked no more."""

import errno
import threading
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import pytest
import trio
import trio.testing

from modelfs.blocks import BLOCK_BYTES, ObjectInfo
from modelfs.extents import Extent
from modelfs.push import THREADS, Parts, Pusher

B = BLOCK_BYTES
Notify = Callable[[int, int, memoryview], None]


class Done(NamedTuple):
    """What a push told when it ended."""

    extent: Extent
    taken: Parts


def extent_of(blocks: range, size: int = 99 * B) -> Extent:
    extent = Extent(ObjectInfo("m/1/x", size, "v1", 0), blocks)
    extent.data = memoryview(bytes(range(1, 256)) * (extent.length // 255 + 1))[: extent.length]
    return extent


async def pushed(notify: Notify, extents: list[Extent], parts: Parts) -> tuple[Pusher, list[Done]]:
    """Push ``parts`` of each extent, and wait for the end."""
    done: list[Done] = []
    async with trio.open_nursery() as nursery:
        pusher = Pusher(notify, nursery=nursery, most_held_bytes=99 * B, memory_limit_bytes=None)
        for extent in extents:
            pusher.push(7, extent, parts, lambda extent, taken: done.append(Done(extent, taken)))
    return pusher, done


async def test_each_part_is_pushed_with_its_bytes_and_its_place_in_the_file() -> None:
    seen: list[tuple[int, int, bytes]] = []
    extent = extent_of(range(4, 8))
    parts = [(4 * B + 4096, 5 * B), (6 * B, 8 * B)]
    pusher, done = await pushed(lambda *told: seen.append((told[0], told[1], bytes(told[2]))), [extent], parts)
    assert extent.data is not None
    assert seen == [
        (7, 4 * B + 4096, bytes(extent.data[4096:B])),
        (7, 6 * B, bytes(extent.data[2 * B :])),
    ]
    assert done == [Done(extent, parts)]
    assert pusher.statistics().pushed_bytes == 3 * B - 4096
    assert pusher.has_room(99 * B)


async def test_an_inode_that_the_kernel_has_forgotten_ends_one_push_and_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def notify(_inode: int, offset: int, _data: memoryview) -> None:
        if offset:
            raise OSError(errno.ENOENT, "forgotten")

    pusher, done = await pushed(notify, [extent_of(range(2))], [(0, B), (B, 2 * B)])
    assert [each.taken for each in done] == [[(0, B)]]
    assert pusher.statistics() == (B, True)
    assert not caplog.records


async def test_a_kernel_that_refuses_is_asked_no_more_and_the_log_tells_it_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def notify(*_arguments: object) -> None:
        raise OSError(errno.EINVAL, "no such call")

    pusher, done = await pushed(notify, [extent_of(range(2)) for _ in range(5)], [(0, B)])
    assert [each.taken for each in done] == [[]] * 5
    assert not pusher.statistics().is_on
    assert not pusher.may_hold(1)
    assert not pusher.has_room(1)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_a_bug_in_a_push_ends_no_mount_and_holds_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def notify(*_arguments: object) -> None:
        raise ZeroDivisionError

    pusher, done = await pushed(notify, [extent_of(range(2))], [(0, B)])
    assert [each.taken for each in done] == [[]]
    assert pusher.has_room(99 * B)
    assert "m/1/x" in caplog.text


async def test_pushes_that_are_stuck_hold_no_more_than_they_may_and_are_left_behind_at_the_end() -> None:
    may_end = threading.Event()
    has_come = threading.Semaphore(0)
    here: list[int] = []

    def notify(_inode: int, offset: int, _data: memoryview) -> None:
        here.append(offset)
        has_come.release()
        may_end.wait(60)

    done: list[Done] = []
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            pusher = Pusher(notify, nursery=nursery, most_held_bytes=8 * B, memory_limit_bytes=None)
            for number in range(4):
                assert pusher.has_room(2 * B)
                extent = extent_of(range(2 * number, 2 * number + 2))
                pusher.push(
                    7,
                    extent,
                    [(extent.offset, extent.offset + B)],
                    lambda extent, taken: done.append(Done(extent, taken)),
                )
            assert not pusher.has_room(1)
            for _ in range(THREADS):
                assert await trio.to_thread.run_sync(partial(has_come.acquire, timeout=60))
            await trio.testing.wait_all_tasks_blocked()
            assert len(here) == THREADS
            nursery.cancel_scope.cancel()
    may_end.set()
    assert [each.taken for each in done] == [[]] * 4


@pytest.mark.parametrize(("limit", "size", "may"), [(None, 1 << 60, True), (100, 50, True), (100, 51, False)])
async def test_only_what_fits_into_half_the_memory_is_pushed(limit: int | None, size: int, *, may: bool) -> None:
    async with trio.open_nursery() as nursery:
        pusher = Pusher(lambda *_: None, nursery=nursery, most_held_bytes=1, memory_limit_bytes=limit)
        assert pusher.may_hold(size) == may


async def test_a_bug_behind_a_push_ends_no_mount(caplog: pytest.LogCaptureFixture) -> None:
    def done(_extent: Extent, _taken: object) -> None:
        raise ZeroDivisionError

    async with trio.open_nursery() as nursery:
        pusher = Pusher(lambda *_: None, nursery=nursery, most_held_bytes=2**30, memory_limit_bytes=None)
        pusher.push(7, extent_of(range(1)), [(0, 4096)], done)
    assert "unexpected error behind a push" in caplog.text
