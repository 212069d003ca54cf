"""Triton does on a mount what it does on a local folder that gets the same changes at once: the same, to the last line.

One set of scenarios for each mode; ``tests/soak/scenarios.sh`` plays them on every store, one by one, in both orders.
"""

from pathlib import Path

import pytest
from soak.scenario import Mode
from soak.scenarios import together
from soak.side_by_side import play
from soak.stores import STORES

ONE_FILE = {"dummy": b"x"}


@pytest.mark.parametrize(("store", "mode", "settle_s"), [("S3", "poll", 1.0), ("Azure", "explicit", 0.0)])
def test_index_answers_loads_and_unloads_are_those_of_a_local_folder(
    triton: Path, tmp_path: Path, store: str, mode: Mode, settle_s: float
) -> None:
    """The servers start on a repository of one file, to which all models are uploaded."""
    *_, mixed = together(mode)
    with STORES[store]() as bucket:
        played = play(triton, bucket, mixed, tmp_path, mode=mode, settle_s=settle_s, starts_with=ONE_FILE)
    assert [(each.scenario.name, each.differences) for each in played if each.differences] == []
    for each in played:
        assert any(seen.loading for seen in each.seen), f"{each.scenario.name} has seen nothing"
