"""Which lookups in the root have their model listed first, and how long they wait. In virtual time, on a fake view."""

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from modelfs import looks as module
from modelfs.blocks import ObjectInfo
from modelfs.errors import ModelfsError, StoreUnavailableError
from modelfs.growing import build
from modelfs.looks import Looks
from modelfs.tree import Difference, Node
from modelfs.view import Round

WAIT_S = 0.5
LOADER, POLLER = 1, 2
SHOWN = build([ObjectInfo(key, 1, "v", 0) for key in ("m/1/x", "n/1/x", "file")])


class FakeView:
    """Lists one model in ``takes_s`` and answers what a test says."""

    def __init__(self) -> None:
        self.tree = SHOWN
        self.takes_s = 0.01
        self.error: Exception | None = None
        self.differences: list[Difference] = []
        self.listed: list[tuple[str, float]] = []  # and when that began
        self.ended = 0
        self.told = 0
        self.bare: set[str] = set()

    def note_use(self, model: str) -> bool:
        return model in self.bare

    def is_bare(self, model: str) -> bool:
        return model in self.bare

    def note_told(self) -> None:
        self.told += 1

    def find(self, path: str) -> Node | None:
        return self.tree.find(path)

    async def refresh_model(self, model: str) -> list[Difference]:
        self.listed.append((model, trio.current_time()))
        await trio.sleep(self.takes_s)
        self.ended += 1
        if self.error is not None:
            raise self.error
        return self.differences


class Root:
    """A root whose names are looked up by threads."""

    def __init__(self, nursery: trio.Nursery, wait_s: float) -> None:
        self.view = FakeView()
        self.told: list[tuple[list[Difference], int]] = []  # with how many lookups waited
        self.tell_takes_s = 0.0
        self.waiting = 0
        self.looks = Looks(self.view, wait_s=wait_s, nursery=nursery, tell=self._tell)  # type: ignore[arg-type]  # a fake

    async def _tell(self, differences: list[Difference]) -> None:
        if differences:
            await trio.sleep(self.tell_takes_s)
            self.told.append((differences, self.waiting))

    async def lookup(self, name: str, thread: int = LOADER) -> float:
        """Return how long the lookup waited."""
        began_s = trio.current_time()
        self.waiting += 1
        await self.looks.before_lookup(name, thread)
        self.waiting -= 1
        return trio.current_time() - began_s

    def names(self) -> list[str]:
        return [name for name, _ in self.view.listed]


def in_virtual_time(body: Callable[[Root, trio.Nursery], Awaitable[None]], wait_s: float = WAIT_S) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await body(Root(nursery, wait_s), nursery)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_r14_a_lookup_waits_until_its_model_is_listed() -> None:
    async def body(root: Root, _nursery: trio.Nursery) -> None:
        assert await root.lookup("m") == pytest.approx(0.01)
        assert await root.lookup("brand-new") == pytest.approx(0.01)
        assert root.names() == ["m", "brand-new"]

    in_virtual_time(body)


@pytest.mark.parametrize("name", [".git", "__pycache__", "x_$folder$", "file", "\udc80", "x" * 256, ""])
def test_hidden_names_and_what_can_be_no_model_are_never_looked_for(name: str) -> None:
    async def body(root: Root, _nursery: trio.Nursery) -> None:
        assert await root.lookup(name) == 0
        assert root.names() == []

    in_virtual_time(body)


def test_with_a_wait_of_0_nothing_is_looked_for_but_what_is_asked_for() -> None:
    async def body(root: Root, _nursery: trio.Nursery) -> None:
        assert await root.lookup("m") == 0
        assert root.names() == []
        root.looks.ask("m")
        await trio.sleep(1)
        assert root.names() == ["m"]

    in_virtual_time(body, wait_s=0)


def test_r14_a_poll_looks_for_nothing_and_a_load_beside_it_does() -> None:
    async def body(root: Root, _nursery: trio.Nursery) -> None:
        for _ in range(60):
            root.looks.visits.note_reading(POLLER, trio.current_time(), names=2)
            for name in "mn":
                assert await root.lookup(name, POLLER) == 0
                await trio.sleep(0.05)
            await trio.sleep(15)
        assert root.names() == []
        root.looks.visits.note_reading(POLLER, trio.current_time(), names=2)
        assert await root.lookup("m", LOADER) > 0
        assert root.names() == ["m"]

    in_virtual_time(body)


def test_a_name_that_was_not_there_to_be_read_belongs_to_no_poll() -> None:
    async def body(root: Root, _nursery: trio.Nursery) -> None:
        root.looks.visits.note_reading(POLLER, trio.current_time(), names=2)
        assert await root.lookup("brand-new", POLLER) > 0

    in_virtual_time(body)


def test_a_lookup_waits_a_bounded_time_and_the_listing_counts_when_it_comes() -> None:
    async def body(root: Root, _nursery: trio.Nursery) -> None:
        root.view.takes_s = 3.0
        root.view.differences = [Difference("m", ("2",)), Difference("", ())]
        assert await root.lookup("m") == pytest.approx(WAIT_S)
        assert root.view.ended == 0
        await trio.sleep(3)
        assert [told for told, _ in root.told] == [[Difference("m", ("2",))], [Difference("", ())]]

    in_virtual_time(body)


def test_what_changed_in_the_model_is_told_before_the_lookup_is_answered_and_the_root_behind_it() -> None:
    async def body(root: Root, _nursery: trio.Nursery) -> None:
        root.tell_takes_s = 0.1
        root.view.differences = [Difference("", ("n",)), Difference("m", ("2",)), Difference("m/1", ("x",))]
        assert await root.lookup("m") == pytest.approx(0.11)
        await trio.sleep(1)
        assert root.told == [([Difference("m", ("2",)), Difference("m/1", ("x",))], 1), ([Difference("", ("n",))], 0)]
        assert root.view.told == 1  # of all

    in_virtual_time(body)


def test_who_looks_into_a_model_of_which_only_the_name_is_known_is_answered_before_the_kernel_is_told() -> None:
    """The kernel would wait for the lookup in the model to end, and the lookup for the kernel."""

    async def body(root: Root, _nursery: trio.Nursery) -> None:
        root.tell_takes_s = 5.0
        root.view.bare = {"m"}
        root.view.differences = [Difference("m", ("1", "config.pbtxt"))]
        began_s = trio.current_time()
        await root.looks.before_use("m/1")
        assert trio.current_time() - began_s == pytest.approx(0.01)
        await trio.sleep(10)
        assert [told for told, _ in root.told] == [[Difference("m", ("1", "config.pbtxt"))]]

    in_virtual_time(body)


def test_who_asks_while_a_look_is_under_way_waits_for_one_that_began_later() -> None:
    async def body(root: Root, nursery: trio.Nursery) -> None:
        root.view.takes_s = 0.2
        nursery.start_soon(root.lookup, "m")
        await trio.sleep(0.01)
        root.looks.note_opening("m/1")
        await trio.sleep(0.1)
        assert await root.lookup("m") == pytest.approx(0.09 + 0.2)
        assert [name for name, _ in root.view.listed] == ["m", "m"]

    in_virtual_time(body)


def test_many_that_ask_at_once_share_one_look() -> None:
    async def body(root: Root, _nursery: trio.Nursery) -> None:
        async with trio.open_nursery() as many:
            for thread in range(50):
                many.start_soon(root.lookup, "m", thread)
        assert root.names() == ["m"]

    in_virtual_time(body)


def test_a_store_that_does_not_answer_is_waited_for_a_few_times_and_again_once_it_does() -> None:
    async def body(root: Root, _nursery: trio.Nursery) -> None:
        root.view.takes_s = 5.0
        waits = []
        for _ in range(10):
            waits.append(await root.lookup("m"))
            await trio.sleep(6)
        assert waits == [pytest.approx(WAIT_S)] * module.LATE_MOST + [0.0] * (10 - module.LATE_MOST)
        root.view.takes_s = 0.01
        assert await root.lookup("m") == 0  # it is looked for nevertheless, and that is in time
        await trio.sleep(2)
        assert await root.lookup("m") == pytest.approx(0.01)

    in_virtual_time(body)


@pytest.mark.parametrize("error", [StoreUnavailableError("away"), ModelfsError("no"), KeyError("a bug")])
def test_a_look_that_fails_leaves_the_old_view_and_ends_nothing(error: Exception) -> None:
    async def body(root: Root, _nursery: trio.Nursery) -> None:
        root.view.error = error
        for _ in range(5):
            assert await root.lookup("m") <= 0.02
            await trio.sleep(2)
        root.view.error = None
        await root.lookup("m")
        await trio.sleep(2)
        assert await root.lookup("m") == pytest.approx(0.01)

    in_virtual_time(body)


def test_junk_costs_little_and_does_not_keep_a_load_from_its_look() -> None:
    async def body(root: Root, _nursery: trio.Nursery) -> None:
        for number in range(1000):
            await root.lookup(f"junk{number}", number + 100)
        assert len(root.names()) <= 17
        assert await root.lookup("m") > 0

    in_virtual_time(body)


def test_an_invalidation_in_the_root_waits_for_a_moment_in_which_nobody_waits_there() -> None:
    async def body(root: Root, nursery: trio.Nursery) -> None:
        root.view.takes_s = 0.3
        nursery.start_soon(root.lookup, "m")
        await trio.sleep(0.1)
        nursery.start_soon(root.lookup, "n")
        began_s = trio.current_time()
        await root.looks.until_nobody_waits()
        assert trio.current_time() - began_s == pytest.approx(0.3)
        await root.looks.until_nobody_waits()
        assert trio.current_time() - began_s == pytest.approx(0.3)

    in_virtual_time(body)


def test_an_invalidation_does_not_wait_for_ever_for_lookups_that_never_end() -> None:
    async def body(root: Root, nursery: trio.Nursery) -> None:
        root.view.takes_s = 0.4

        async def ask(name: str, after_s: float) -> None:
            await trio.sleep(after_s)
            while True:
                await root.lookup(name)
                await trio.sleep(1)

        for number in range(60):
            nursery.start_soon(ask, f"m{number}" if number > 8 else "mn"[number % 2], number * 0.05)
        await trio.sleep(0.2)
        began_s = trio.current_time()
        await root.looks.until_nobody_waits()
        assert trio.current_time() - began_s <= module.QUIET_S

    in_virtual_time(body)


# asked for by hand


def test_a_model_that_is_asked_for_is_listed_after_the_asking_and_told_by_its_number() -> None:
    async def body(root: Root, nursery: trio.Nursery) -> None:
        root.view.takes_s = 0.2
        root.view.differences = [Difference("", ()), Difference("m", ("2",))]
        nursery.start_soon(root.lookup, "m")
        await trio.sleep(0.1)
        one, two, other = root.looks.ask("m"), root.looks.ask("m"), root.looks.ask("n")
        await trio.sleep(0.15)
        assert [root.looks.round(number) for number in (one, two, other)] == [None, None, None]
        await trio.sleep(0.6)
        assert root.looks.round(one) == Round(one, "", ("m/2",))
        assert root.looks.round(two) == Round(two, "", ("m/2",))
        assert root.looks.round(other) == Round(other, "", ("m/2",))
        assert sorted(root.names()) == ["m", "m", "m", "n"]
        root.view.error = StoreUnavailableError("away")
        failing = root.looks.ask("m")
        await trio.sleep(1)
        assert root.looks.round(failing) == Round(failing, "away")

    in_virtual_time(body)


def test_rounds_that_nobody_asked_about_are_forgotten() -> None:
    async def body(root: Root, _nursery: trio.Nursery) -> None:
        for _ in range(3 * module.ROUNDS_KEPT):
            root.looks.ask("m")
        await trio.sleep(100)
        assert len(root.looks._rounds) == module.ROUNDS_KEPT

    in_virtual_time(body)
