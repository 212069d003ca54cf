"""A few random publications against a Triton that polls a mount; ``tests/soak/publications.sh`` does any number."""

from pathlib import Path

from soak.publications import soak
from soak.publishing import Pace

PACE = Pace(refresh_s=1.0, settle_s=2.0, poll_s=1.0, slack_s=60.0)
"""The bounds are those of a busy machine; the script holds them to five seconds."""


def test_random_publications_are_served_each_once_whole_and_nothing_else_is(triton: Path, tmp_path: Path) -> None:
    found = soak(triton, tmp_path, seed=3, publications=10, models=5, pace=PACE, told=lambda *_: None)
    wrong = [(each.publication.model, each.publication.kind, each.wrong) for each in found.verdicts if each.wrong]
    assert wrong == []
    assert found.problem == ""
    assert len(found.verdicts) == 10
