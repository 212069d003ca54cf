"""When the next worker starts: at once, but for those that die as soon as they serve."""

import itertools

import pytest

from modelfs.lives import SHORT_S, UNSERVED_MOST_S, Facts, Lives


class Bench:
    """A clock, and workers that live for as long as told."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.lives = Lives()

    def live(self, for_s: float | None, reason: str = "signal SIGKILL") -> float:
        """Have a worker serve ``for_s``, or never with None, and return the pause after it, which passes."""
        if for_s is not None:
            self.lives.serves(self.now_s)
            self.now_s += for_s
        self.lives.ended(self.now_s, reason, at_s=1_700_000_000.5)
        pause_s = self.lives.pause_s
        self.now_s += pause_s
        return pause_s


def test_after_a_long_life_there_is_no_pause() -> None:
    bench = Bench()
    assert [bench.live(SHORT_S) for _ in range(100)] == [0.0] * 100
    assert not bench.lives.was_short


@pytest.mark.parametrize("for_s", [None, 0.0, SHORT_S - 0.1])
def test_after_some_short_lives_pauses_grow_to_a_bound(for_s: float | None) -> None:
    bench = Bench()
    bench.live(100)
    pauses = [bench.live(for_s) for _ in range(100)]
    assert pauses[:5] == [0.0, 0.0, 0.0, 0.5, 1.0]
    assert all(one <= other for one, other in itertools.pairwise(pauses))
    assert pauses[-1] == 30.0
    assert bench.lives.was_short


def test_a_long_life_begins_anew() -> None:
    bench = Bench()
    for _ in range(20):
        bench.live(1)
    assert bench.live(SHORT_S) == 0.0
    assert [bench.live(1) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]


def test_only_workers_that_never_serve_make_it_hopeless() -> None:
    bench = Bench()
    for _ in range(1000):
        bench.live(0.1)
        assert not bench.lives.is_hopeless(bench.now_s)
    bench.lives.serves(bench.now_s)
    died_s = bench.now_s
    while bench.now_s <= died_s + UNSERVED_MOST_S:
        assert not bench.lives.is_hopeless(bench.now_s)
        bench.live(0 if bench.now_s == died_s else None)
    assert bench.lives.is_hopeless(bench.now_s)
    bench.lives.serves(bench.now_s)
    assert not bench.lives.is_hopeless(bench.now_s + 10 * UNSERVED_MOST_S)


def test_each_death_is_told() -> None:
    bench = Bench()
    assert bench.lives.facts == Facts(0, 0, "")
    bench.live(5)
    bench.live(None, "status 1")
    assert bench.lives.facts == Facts(2, 1_700_000_000, "status 1")
