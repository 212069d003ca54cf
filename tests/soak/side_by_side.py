"""Plays scenarios on a mount of a store and, beside it, on a local folder that gets the same changes at once.

Law: the folder's server is the measure. The mount's is given until it has done the same, and then two more polls in
which nothing may happen.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from soak.playing import PATIENCE_S, Seen, Stage, differences, for_models, stage
from soak.scenario import Files, Mode, Scenario, Step
from soak.stores import Bucket
from soak.targets import folder, mounted_bucket, write

_LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class Played:
    """How a scenario went: where the two servers differed, in words, and what the folder's server did."""

    scenario: Scenario
    differences: tuple[str, ...]
    seen: tuple[Seen, ...]


def play(
    home: Path,
    bucket: Bucket,
    scenarios: Sequence[Scenario],
    scratch: Path,
    *,
    mode: Mode,
    settle_s: float,
    backwards: bool = False,
    starts_with: Files | None = None,
) -> list[Played]:
    """Play scenarios on one pair of servers: the first step of all, then the second of all, and so on.

    The bucket is empty. ``backwards`` puts the files of each step in the other order. With ``starts_with`` the servers
    start on that alone, and what is initial is uploaded then.
    """
    initial = {path: data for each in scenarios for path, data in each.initial.items()}
    steps = _steps(scenarios)
    if starts_with is not None:
        steps.insert(0, Step("what is initial is uploaded", initial))
        initial = dict(starts_with)
    write(bucket, initial, backwards=backwards)
    found: list[tuple[Seen, Seen]] = []
    for name in ("folder", "store"):
        (scratch / name).mkdir(parents=True)
    with (
        folder(scratch / "folder", initial) as local,
        mounted_bucket(bucket, scratch / "store", settle_s=settle_s) as mount,
        stage(home, local, scratch / "folder", mode) as expected,
        stage(home, mount, scratch / "store", mode) as played,
    ):
        found.append(_at_the_start(expected, played))
        found += [_together(expected, played, step, backwards) for step in steps]
    return [_played(scenario, found, mode=mode, alone=len(scenarios) == 1) for scenario in scenarios]


def _steps(scenarios: Sequence[Scenario]) -> list[Step]:
    """Return steps that are those of all scenarios, each a change and then questions."""
    return [
        Step(
            ", ".join(step.name for step in steps if step is not None),
            {path: data for step in steps if step is not None for path, data in step.files.items()},
            tuple(ask for step in steps if step is not None for ask in step.asks),
        )
        for steps in zip_longest(*(scenario.steps for scenario in scenarios))
    ]


def _at_the_start(expected: Stage, played: Stage) -> tuple[Seen, Seen]:
    for each in (expected, played):
        each.wait_quiet()
    return expected.seen("start", ()), played.seen("start", ())


def _together(expected: Stage, played: Stage, step: Step, backwards: bool) -> tuple[Seen, Seen]:  # noqa: FBT001  one of play's
    with ThreadPoolExecutor(2) as pool:
        for each in (expected, played):
            each.play(step, backwards=backwards)
        if expected.mode == "explicit":
            asked = [pool.submit(each.ask, step) for each in (expected, played)]
            answers = [each.result() for each in asked]
            for each in (expected, played):
                each.wait_quiet()
            return expected.seen(step.name, answers[0]), played.seen(step.name, answers[1])
    expected.wait_quiet()
    _wait_for_the_same(expected.so_far(), played)
    played.wait_quiet()
    pair = expected.ask(step), played.ask(step)
    return expected.seen(step.name, pair[0]), played.seen(step.name, pair[1])


def _wait_for_the_same(expected: Seen, played: Stage) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while differences(expected, played.so_far(), in_order=False) and time.monotonic() < deadline:
        time.sleep(_LOOK_S)


def _played(scenario: Scenario, found: Sequence[tuple[Seen, Seen]], *, mode: Mode, alone: bool) -> Played:
    pairs = list(found)
    if not alone:
        pairs = [(for_models(one, scenario.models), for_models(other, scenario.models)) for one, other in found]
    in_order = mode == "explicit" and not scenario.asks_at_once
    told = [each for one, other in pairs for each in differences(one, other, in_order=in_order)]
    return Played(scenario, tuple(told), tuple(one for one, _ in pairs))
