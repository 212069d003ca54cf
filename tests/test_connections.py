"""Connections: demand first, files by turns, never more than allowed, and nothing lost by who gives up."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from modelfs.connections import SMALL_BYTES, Connections, Ticket

MIB = 2**20
PATIENCE_S = 10_000  # of virtual time


class Lab:
    """Runs requests, each for a second unless told, and logs which got a connection, in order."""

    def __init__(self, connections: Connections, nursery: trio.Nursery) -> None:
        self.connections = connections
        self.begun: list[tuple[str, int]] = []
        self.running = 0
        self.most_running = 0
        self._nursery = nursery

    def ask(self, name: str, number: int = 0, *, urgent: bool = False, length: int = MIB, takes_s: float = 1) -> Ticket:
        """Line up, and make the request when its turn has come."""
        ticket = self.connections.ticket(name, length, is_urgent=urgent)
        ticket.line_up()
        self._nursery.start_soon(self.make, ticket, name, number, takes_s)
        return ticket

    async def make(self, ticket: Ticket, name: str, number: int, takes_s: float) -> None:
        async with ticket:
            self.begun.append((name, number))
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            try:
                await trio.sleep(takes_s)
            finally:
                self.running -= 1


def run(body: Callable[[Lab], Awaitable[None]], *, most: int, max_bytes_per_s: float | None = None) -> Lab:
    """Run ``body`` in virtual time, and check that every place was given back."""
    made: list[Lab] = []

    async def main() -> None:
        connections = Connections(most=most, max_bytes_per_s=max_bytes_per_s)
        with trio.fail_after(PATIENCE_S):
            async with trio.open_nursery() as nursery:
                made.append(Lab(connections, nursery))
                await body(made[0])
        check_at_rest(connections)
        assert made[0].most_running <= most

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return made[0]


def check_at_rest(connections: Connections) -> None:
    assert connections._running == connections._prefetches == 0
    assert not connections._urgent
    assert not connections._early


def test_prefetches_of_a_file_go_in_the_order_they_were_asked_for() -> None:
    async def body(lab: Lab) -> None:
        for number in range(30):
            lab.ask("a", number)

    assert run(body, most=1).begun == [("a", number) for number in range(30)]


def test_files_take_turns() -> None:
    async def body(lab: Lab) -> None:
        for number in range(10):
            lab.ask("a", number)
        for name in "bc":
            lab.ask(name, 0)
            lab.ask(name, 1)

    names = [name for name, _ in run(body, most=1).begun]
    assert names[:7] == ["a", "a", "b", "c", "a", "b", "c"]


def test_demand_goes_before_every_prefetch() -> None:
    async def body(lab: Lab) -> None:
        for number in range(10):
            lab.ask("a", number)
        await trio.testing.wait_all_tasks_blocked()
        for number in range(3):
            lab.ask("b", number, urgent=True)

    assert [name for name, _ in run(body, most=1).begun] == ["a", "b", "b", "b", *"a" * 9]


def test_a_quarter_of_the_connections_is_kept_for_demand() -> None:
    async def body(lab: Lab) -> None:
        for length in (SMALL_BYTES, MIB):
            for number in range(40):
                lab.ask("a", number, length=length)
        await trio.testing.wait_all_tasks_blocked()
        assert lab.running == 12
        for number in range(6):
            lab.ask("b", number, urgent=True)
        await trio.testing.wait_all_tasks_blocked()
        assert lab.running == 16

    run(body, most=16)


def test_large_prefetches_are_no_more_than_pace_allows_and_small_ones_pass_them_by() -> None:
    async def body(lab: Lab) -> None:
        limit = lab.connections.pace.limit
        for number in range(40):
            lab.ask("large", number, length=MIB)
        await trio.testing.wait_all_tasks_blocked()
        assert lab.running == limit
        for number in range(40):
            lab.ask("small", number, length=SMALL_BYTES)
        await trio.testing.wait_all_tasks_blocked()
        assert lab.running == 24

    run(body, most=32)


def test_a_prefetch_that_somebody_waits_for_goes_before_the_others() -> None:
    async def body(lab: Lab) -> None:
        tickets = [lab.ask("a", number) for number in range(10)]
        await trio.testing.wait_all_tasks_blocked()
        tickets[7].promote()
        tickets[7].promote()

    assert run(body, most=1).begun[:3] == [("a", 0), ("a", 7), ("a", 1)]


def test_a_prefetch_that_is_promoted_as_it_runs_makes_room_for_another() -> None:
    async def body(lab: Lab) -> None:
        tickets = [lab.ask("a", number) for number in range(10)]
        await trio.testing.wait_all_tasks_blocked()
        assert lab.running == 3
        tickets[0].promote()
        await trio.testing.wait_all_tasks_blocked()
        assert lab.running == 4

    run(body, most=4)


def test_who_gives_up_before_or_after_its_turn_gives_its_place_back() -> None:
    async def body(lab: Lab) -> None:
        for urgent in (True, False):
            for takes_s in (0.1, 5):
                with trio.move_on_after(1):
                    async with trio.open_nursery() as nursery:
                        for number in range(5):
                            ticket = lab.connections.ticket("a", MIB, is_urgent=urgent)
                            nursery.start_soon(lab.make, ticket, "a", number, takes_s)
        check_at_rest(lab.connections)

    run(body, most=2)


def test_a_place_that_was_not_taken_up_is_given_back() -> None:
    async def body(lab: Lab) -> None:
        tickets = [lab.connections.ticket("a", MIB, is_urgent=number % 2 == 0) for number in range(6)]
        for ticket in tickets:
            ticket.line_up()
        for ticket in reversed(tickets):
            ticket.end()
            ticket.end()
        check_at_rest(lab.connections)

    run(body, most=2)


def test_a_request_that_is_made_again_waits_for_its_turn_again() -> None:
    async def body(lab: Lab) -> None:
        ticket = lab.connections.ticket("a", MIB, is_urgent=False)
        for number in range(3):
            assert ticket.is_waiting
            await lab.make(ticket, "a", number, 1)
        assert lab.begun == [("a", 0), ("a", 1), ("a", 2)]

    run(body, most=1)


@pytest.mark.parametrize("urgent", [True, False])
def test_no_more_is_asked_for_than_the_rate_allows(*, urgent: bool) -> None:
    async def body(lab: Lab) -> None:
        for number in range(20):
            lab.ask("a", number, urgent=urgent, takes_s=0)

    async def main() -> None:
        began_s = trio.current_time()
        connections = Connections(most=8, max_bytes_per_s=MIB)
        async with trio.open_nursery() as nursery:
            lab = Lab(connections, nursery)
            await body(lab)
        assert trio.current_time() - began_s >= 19  # the first needs no pause

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_demand_does_not_wait_for_the_prefetches_that_the_rate_holds_back() -> None:
    async def body(lab: Lab) -> None:
        for number in range(8):
            lab.ask("a", number, takes_s=0)
        await trio.sleep(0.5)
        lab.ask("b", urgent=True, takes_s=0)

    assert run(body, most=12, max_bytes_per_s=MIB).begun[:2] == [("a", 0), ("b", 0)]


def test_a_rate_bounds_what_is_asked_for_at_once() -> None:
    assert Connections(most=8, max_bytes_per_s=2 * MIB).unit_bytes_max == MIB
    assert Connections(most=8).unit_bytes_max > 2**40


class Step(NamedTuple):
    """One step of a schedule: a request that lasts, is given up or is promoted after a while, and a pause."""

    name: str
    urgent: bool
    length: int
    takes_s: float
    gives_up_after_s: float
    promoted_after_s: float
    pause_s: float


times = st.sampled_from([0, 0.5, 1, 3, 10])
steps = st.builds(
    Step,
    name=st.sampled_from("abc"),
    urgent=st.booleans(),
    length=st.sampled_from([1, SMALL_BYTES, MIB]),
    takes_s=times,
    gives_up_after_s=times,
    promoted_after_s=times,
    pause_s=times,
)


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 12), st.sampled_from([None, 1.0, MIB, 100 * MIB]), st.lists(steps, max_size=40))
def test_any_schedule_keeps_the_bounds_and_ends(most: int, rate: float | None, schedule: list[Step]) -> None:
    served: list[int] = []
    given_up: list[int] = []

    async def request(lab: Lab, number: int, step: Step) -> None:
        ticket = lab.connections.ticket(step.name, step.length, is_urgent=step.urgent)
        with trio.move_on_after(step.gives_up_after_s or float("inf")) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(promote, ticket, step.promoted_after_s)
                await lab.make(ticket, step.name, number, step.takes_s)
                nursery.cancel_scope.cancel()
                served.append(number)
        if scope.cancelled_caught:
            given_up.append(number)

    async def promote(ticket: Ticket, after_s: float) -> None:
        await trio.sleep(after_s)
        ticket.promote()

    async def body(lab: Lab) -> None:
        async with trio.open_nursery() as nursery:
            for number, step in enumerate(schedule):
                nursery.start_soon(request, lab, number, step)
                await trio.sleep(step.pause_s)
                assert 0 <= lab.connections._prefetches <= lab.connections._running <= most
                assert lab.running <= lab.connections._running

    if rate == 1.0:  # a megabyte would take days
        schedule = [step._replace(length=1) for step in schedule]
    run(body, most=most, max_bytes_per_s=rate)
    assert sorted(served + given_up) == list(range(len(schedule)))
