"""R14 on a real Triton: what was sealed 100 ms ago is what an explicit load loads. tests/soak has more of it."""

from pathlib import Path

from soak.sealed_loads import load_sealed

LOADS = 4


def test_r14_a_sealed_version_that_is_loaded_100_ms_later_is_the_one_that_is_served(
    triton: Path, tmp_path: Path
) -> None:
    # a busy machine may need more than the half second that is the default
    outcome = load_sealed(triton, tmp_path, loads=LOADS, asks_index=True, options=("--look", "10"))
    assert outcome.wrong == {}
    assert len(outcome.found) == LOADS
