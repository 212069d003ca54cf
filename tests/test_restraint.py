"""How often a name is looked for in the store. Time is a number here."""

from itertools import accumulate

from hypothesis import given, settings
from hypothesis import strategies as st

from modelfs import restraint
from modelfs.restraint import EVERY_S, Restraint

PROPERTY = settings(deadline=None)


class Asked:
    """Asks as a kernel does, and looks whenever it may."""

    def __init__(self) -> None:
        self.restraint = Restraint()
        self.looks: list[float] = []

    def ask(self, name: str, now_s: float, *, is_known: bool = True) -> bool:
        """Ask for a name, and tell whether it was looked for."""
        may = self.restraint.may_look(name, now_s, is_known=is_known)
        if may:
            self.restraint.note_look(name, now_s)
            self.looks.append(now_s)
        return may


def test_who_stats_a_model_all_the_time_costs_one_look_a_second() -> None:
    asked = Asked()
    for step in range(1000):
        asked.ask("m", step * 0.05)
    assert len(asked.looks) == 50
    asked = Asked()
    for step in range(100):
        asked.ask("m", step * 0.3)  # with pauses
    assert len(asked.looks) == 30 / 1.2


def test_a_load_behind_a_load_has_a_look() -> None:
    asked = Asked()
    now_s = 0.0
    for _ in range(50):
        assert asked.ask("m", now_s)
        asked.restraint.note_opening("m", now_s + 0.001)
        assert not asked.ask("m", now_s + 0.06)  # of the same load
        now_s += 0.17
    assert asked.ask("m", now_s)


def test_what_is_opened_again_and_again_is_looked_for_once_a_second_in_the_long_run() -> None:
    asked = Asked()
    for step in range(20_000):
        asked.ask("m", step * 0.1)
        asked.restraint.note_opening("m", step * 0.1)
    assert 2000 <= len(asked.looks) <= 2000 + restraint.MODEL_MOST


def test_opening_one_model_says_nothing_of_another() -> None:
    asked = Asked()
    assert asked.ask("m", 0.0)
    assert asked.ask("n", 0.0)
    asked.restraint.note_opening("m", 0.01)
    assert asked.ask("m", 0.2)
    assert not asked.ask("n", 0.2)


def test_names_that_are_not_there_are_tried_out_at_little_cost() -> None:
    asked = Asked()
    for step in range(100_000):
        asked.ask(f"junk{step}", step * 0.001, is_known=False)
    assert len(asked.looks) <= restraint.UNKNOWN_MOST + 100 * restraint.UNKNOWN_PER_S
    assert asked.ask("m", 100.0)  # what is there is not held up by them


@PROPERTY
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from([0.0, 0.03, 0.1, 0.5, 3.0]), st.booleans(), st.booleans()),
        max_size=60,
    )
)
def test_bounds_hold_whatever_is_asked(requests: list[tuple[str, float, bool, bool]]) -> None:
    asked = Asked()
    times = accumulate(pause_s for _, pause_s, _, _ in requests)
    last: dict[str, float] = {}
    for (name, _, is_known, opens), now_s in zip(requests, times, strict=True):
        before = last.get(name)
        if asked.ask(name, now_s, is_known=is_known):
            last[name] = now_s
        else:
            assert before is not None  # the first look at a name is for nothing else to refuse here
            assert now_s - before < EVERY_S
        if opens:
            asked.restraint.note_opening(name, now_s)


def test_what_is_remembered_of_names_is_bounded() -> None:
    asked = Asked()
    for step in range(50_000):
        asked.ask(f"m{step}", step * 0.1)
    assert len(asked.restraint._past) <= restraint.MODEL_MOST / restraint.MODEL_PER_S / 0.1 + 1
