"""One Triton on many mounts at once: of every cloud, by name and by address, with each kind of credential."""

from pathlib import Path

import pytest
from soak.homes import CLOSED
from soak.inhabited import be_refused, serve

IN_CI = (
    "S3, keys and token in the environment",
    "S3, by name, root of a bucket with a dot",
    "S3, by address, path with a dot",
    "S3, HTTPS by name, private authority",
    "GCS, service account",
    "Azure, key, root of a container",
    "Azure, SAS",
    "folder",
)
"""Those that no test beside this one has Triton read; ``tests/soak/homes.sh`` has all of them."""


def test_a_model_of_every_home_is_ready_on_one_server_and_answers(triton: Path, tmp_path: Path) -> None:
    served = serve(triton, IN_CI, tmp_path, "explicit")
    assert [(each.home, each.ready, each.told) for each in served] == [(name, ("1",), [1]) for name in IN_CI]


@pytest.mark.parametrize("name", CLOSED)
def test_a_home_that_lets_nobody_in_is_one_sentence_and_no_mount(tmp_path: Path, name: str) -> None:
    """Nothing is mounted that a server could start on: it would find an empty folder, and be content."""
    (refused,) = be_refused([name], tmp_path)
    assert (refused.status, refused.is_mounted) == (2, False), refused.said
    assert refused.said.count("\n") == 1
    assert 60 < len(refused.said) < 500, refused.said
