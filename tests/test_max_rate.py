"""What --max-rate does to the order of requests."""

import trio
import trio.testing

from modelfs.connections import Connections, Ticket

MEGABYTE = 1_000_000


def test_demand_goes_before_the_prefetches_that_a_rate_holds_back() -> None:
    order: list[str] = []

    async def use(ticket: Ticket, name: str) -> None:
        async with ticket:
            order.append(name)
            await trio.sleep(0.1)

    async def main() -> None:
        connections = Connections(most=32, max_bytes_per_s=MEGABYTE)
        with trio.fail_after(1_000):
            async with trio.open_nursery() as nursery:
                for number in range(6):
                    early = connections.ticket("file", 8 * MEGABYTE, is_urgent=False)
                    nursery.start_soon(use, early, f"early {number}")
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(use, connections.ticket("other", 4096, is_urgent=True), "demand")

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert order.index("demand") == 1  # behind the one that had its turn before it came
    assert len(order) == 7


def test_a_rate_bounds_what_is_asked_for_in_a_while() -> None:
    asked_at_s: list[float] = []

    async def use(ticket: Ticket) -> None:
        async with ticket:
            asked_at_s.append(trio.current_time())

    async def main() -> None:
        began_s = trio.current_time()
        connections = Connections(most=4, max_bytes_per_s=MEGABYTE)
        with trio.fail_after(1_000):
            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(use, connections.ticket("file", MEGABYTE, is_urgent=True))
        asked_at_s[:] = [round(at_s - began_s, 6) for at_s in asked_at_s]

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert asked_at_s == list(range(10))


def test_whoever_gives_up_while_a_rate_holds_it_back_leaves_no_place_taken() -> None:
    async def main() -> None:
        connections = Connections(most=1, max_bytes_per_s=MEGABYTE)
        with trio.fail_after(1_000):
            async with connections.ticket("file", MEGABYTE, is_urgent=True):
                pass
            for is_urgent in (True, False):
                with trio.move_on_after(0.1):
                    async with connections.ticket("file", MEGABYTE, is_urgent=is_urgent):
                        raise AssertionError("the rate allows nothing yet")
            async with connections.ticket("file", MEGABYTE, is_urgent=False):
                pass

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
