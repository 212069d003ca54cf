"""Which versions a config selects, whatever stands in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfs.version_policy import selected

NAMES = ["1", "2", "3", "10", "labels.txt", "config", "1a", "01", "0", "x"]


@pytest.mark.parametrize(
    ("config", "versions"),
    [
        ("", ["10"]),
        ("name: 'a' max_batch_size: 8", ["10"]),
        ("version_policy: { latest { num_versions: 2 } }", ["10", "3"]),
        ("version_policy { latest: { num_versions : 2 } }", ["10", "3"]),
        ("version_policy:{latest{num_versions:99}}", ["10", "3", "2", "1"]),
        ("version_policy: { latest { } }", ["10"]),
        ("version_policy: { latest { num_versions: 0 } }", ["10"]),
        ("version_policy: { all { } }", ["10", "3", "2", "1"]),
        ("version_policy\n{\n  all\n  {\n  }\n}\n", ["10", "3", "2", "1"]),
        ("version_policy: { specific { versions: [1, 3] } }", ["3", "1"]),
        ("version_policy: { specific: { versions: 1 versions: 3, versions: 77 } }", ["3", "1"]),
        ("version_policy: { specific { versions: [] } }", []),
        ("version_policy: { specific { versions: [3, " + "9" * 5000 + "] } }", ["3"]),
        ("version_policy: { specific { versions: 3 versions: " + "1" * 5000 + " } }", ["3"]),
        ("# version_policy: { all {} }\nname: 'x'", ["10"]),
        ("version_policy: { # the newest\n latest { num_versions: 2 # two\n } }", ["10", "3"]),
        ("version_policy: { nonsense { } }", ["10"]),
        ("version_policy: {", ["10"]),
        ("\0\ufffd" * 100, ["10"]),
    ],
)
def test_a_policy_selects_as_in_triton(config: str, versions: list[str]) -> None:
    assert selected(config, NAMES) == versions


def test_without_versions_nothing_is_selected() -> None:
    for policy in ("", "version_policy { all {} }", "version_policy { latest { num_versions: 3 } }"):
        assert selected(policy, ["labels.txt", "0", "01", "x1", "9" * 19]) == []


NAMES_OF_FIELDS = ("version_policy", "latest", "all", "specific", "num_versions", "versions")
words = st.sampled_from([*NAMES_OF_FIELDS, *":{}[],# \n123x", "99999999999999999999"])


@given(st.lists(words, max_size=60).map("".join) | st.text(max_size=60), st.lists(st.text("0123x", max_size=20)))
def test_any_text_selects_versions_that_are_there_and_the_greatest_first(config: str, names: list[str]) -> None:
    found = selected(config, names)
    assert set(found) <= set(names)
    assert found == sorted(found, key=int, reverse=True)


@pytest.mark.parametrize(
    "piece",
    [
        " ",
        "version_policy",
        "version_policy ",
        "version_policy:{all{",
        "version_policy{ all",
        "versions:",
        "#",
        "}",
        "1",
    ],
)
@pytest.mark.parametrize("before", ["version_policy", "version_policy:{ specific {", "version_policy: { latest"])
def test_a_megabyte_of_anything_is_read_at_once(before: str, piece: str) -> None:
    """It is read on the thread that answers the kernel. Where time grew with the square, this would take hours."""
    selected(before + piece * (2**20 // len(piece)), NAMES)
