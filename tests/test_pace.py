"""Pace: as many requests at once as bring more, on links of every kind."""

from collections.abc import Callable
from typing import NamedTuple

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from modelfs.connections import Connections
from modelfs.pace import AGAIN_S, FAR_UNIT_BYTES, FIRST, FIRST_FAR, Pace

MIB = 2**20
UNIT_BYTES = 8 * MIB

Link = Callable[[int], float]
"""What one of so many requests at once gets, in bytes a second."""


class Trip(NamedTuple):
    """What came of a download."""

    limits: list[int]
    bytes_per_s: float
    pace: Pace


def shared(each: float, total: float) -> Link:
    return lambda running: min(each, total / running)


def download(
    link: Link,
    *,
    latency_s: float,
    total_bytes: int,
    most: int = 32,
    head_bytes: int = 128 * 1024,
    is_starved: bool = True,
    unit_bytes: int = UNIT_BYTES,
) -> Trip:
    """Fetch ``total_bytes`` over a link for a reader that waits for them, a small request first."""
    limits: list[int] = []
    ended: list[float] = []
    connections = Connections(most=most)
    running = 0

    async def fetch(length: int) -> None:
        nonlocal running
        ticket = connections.ticket("file", length, is_urgent=False)
        async with ticket:
            await trio.sleep(latency_s)
            running += 1
            left = float(length)
            while left >= 1:  # the share changes with those who come and go
                rate = link(running)
                slice_s = min(0.005, left / rate)
                await trio.sleep(slice_s)
                left -= rate * slice_s
            running -= 1
            if is_starved:
                connections.pace.starve()
            connections.pace.land(
                length, began_s=ticket.began_s, now_s=trio.current_time(), alongside=ticket.alongside()
            )
        limits.append(connections.pace.limit)
        ended.append(trio.current_time())

    async def main() -> None:
        await fetch(head_bytes)
        async with trio.open_nursery() as nursery:
            for _ in range(total_bytes // unit_bytes):
                nursery.start_soon(fetch, unit_bytes)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return Trip(limits, total_bytes / ended[-1], connections.pace)


def test_a_cloud_of_90_mb_a_connection_and_600_in_all_is_filled_at_once() -> None:
    trip = download(shared(90e6, 600e6), latency_s=0.03, total_bytes=2**31)
    assert trip.limits[0] >= 8  # from its first small answer
    assert trip.bytes_per_s > 0.9 * 600e6


def test_a_link_that_wants_many_connections_gets_them_within_a_few_seconds() -> None:
    trip = download(shared(20e6, 1000e6), latency_s=0.03, total_bytes=2**31, most=64)
    assert trip.pace.limit >= 32
    assert trip.bytes_per_s > 0.6 * 20e6 * 48  # three quarters of 64 may be prefetches


def test_a_loopback_that_one_connection_fills_sees_no_more_than_a_try() -> None:
    trip = download(shared(1200e6, 1200e6), latency_s=0.0003, total_bytes=2**32)
    assert trip.pace.limit <= FIRST
    assert max(trip.limits) <= 2 * FIRST
    assert trip.bytes_per_s > 0.9 * 1200e6


def test_a_link_that_suffers_from_many_is_not_given_them() -> None:
    trip = download(
        lambda running: min(100e6, 800e6 / running) / (1 + running / 16), latency_s=0.001, total_bytes=2**31
    )
    assert trip.pace.limit <= FIRST
    assert sum(limit > FIRST for limit in trip.limits) < 0.2 * len(trip.limits)


def test_nothing_is_tried_while_nobody_waits() -> None:
    trip = download(shared(20e6, 1e9), latency_s=0.001, total_bytes=2**30, is_starved=False)
    assert set(trip.limits) == {FIRST}


def test_a_slow_link_asks_for_little_at_once() -> None:
    trip = download(shared(5e6, 5e6), latency_s=0.05, total_bytes=64 * MIB, unit_bytes=2 * MIB)
    assert trip.pace.unit_bytes_max < MIB
    assert download(shared(90e6, 9e9), latency_s=0.03, total_bytes=2**28).pace.unit_bytes_max == FAR_UNIT_BYTES
    assert download(shared(90e6, 9e9), latency_s=0.003, total_bytes=2**28).pace.unit_bytes_max > UNIT_BYTES


def test_a_store_that_was_fast_once_is_near_however_long_its_first_bytes_take() -> None:
    pace = Pace(least=2, most=64, fastest_answer_s=0.002)
    pace.land(128 * 1024, began_s=0.0, now_s=0.1, alongside=1)
    assert (pace.limit, pace.unit_bytes_max > FAR_UNIT_BYTES) == (FIRST, True)


def test_a_store_that_was_taken_for_far_is_near_from_its_first_fast_answer_on() -> None:
    pace = Pace(least=2, most=64)
    pace.land(128 * 1024, began_s=0.0, now_s=0.1, alongside=1)
    assert (pace.limit, pace.unit_bytes_max) == (FIRST_FAR, FAR_UNIT_BYTES)
    pace.land(128 * 1024, began_s=1.0, now_s=1.001, alongside=1)
    assert (pace.limit, pace.unit_bytes_max > FAR_UNIT_BYTES) == (FIRST, True)


def test_before_anything_has_landed_a_fetch_may_be_of_any_size() -> None:
    assert Pace(least=2, most=24).unit_bytes_max > 2**40


def test_a_link_that_has_grown_is_tried_again_after_a_while() -> None:
    pace = Pace(least=2, most=64)
    now_s = 0.0

    def pass_by(seconds: float, rate: Link) -> None:
        nonlocal now_s
        until_s = now_s + seconds
        while now_s < until_s:
            took_s = UNIT_BYTES / rate(pace.limit)
            began_s, now_s = now_s, now_s + took_s
            for _ in range(pace.limit):
                pace.starve()
                pace.land(UNIT_BYTES, began_s=began_s, now_s=now_s, alongside=pace.limit)

    pass_by(5, shared(1e9, 400e6))
    assert pace.limit == FIRST
    pass_by(2 * AGAIN_S, shared(50e6, 10e9))
    assert pace.limit > 2 * FIRST


landings = st.tuples(st.integers(1, 64 * MIB), st.floats(0, 100), st.floats(0, 20), st.integers(1, 64), st.booleans())


@settings(deadline=None)
@given(st.integers(0, 10), st.integers(0, 100), st.lists(landings, max_size=200))
def test_whatever_lands_the_limit_stays_in_its_bounds(
    least: int, most: int, landed: list[tuple[int, float, float, int, bool]]
) -> None:
    pace = Pace(least=least, most=most)
    now_s = 0.0
    for length, took_s, passed_s, alongside, starved in landed:
        now_s += passed_s
        if starved:
            pace.starve()
        pace.land(length, began_s=now_s - took_s, now_s=now_s, alongside=alongside)
        assert 1 <= pace.limit <= max(1, most)
        assert pace.unit_bytes_max >= 0


def test_the_first_megabyte_of_a_slow_link_keeps_the_next_fetches_small() -> None:
    pace = Pace(least=2, most=24)
    pace.land(MIB, began_s=0.0, now_s=4.0, alongside=1)
    assert pace.unit_bytes_max <= MIB
