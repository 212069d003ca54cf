"""Which files ``modelfs warm`` takes: those that a Triton will load."""

import pytest

from modelfs.warming import Warmth, choose

FILES = ["m/config.pbtxt", "m/1/x", "m/2/x", "m/10/a/b", "m/labels.txt", "n/1/x", "n/3.bak/x", "readme"]
ALL = "version_policy { all { } }"


@pytest.mark.parametrize(
    ("wanted", "configs", "all_versions", "chosen"),
    [
        ([], {}, False, ["m/config.pbtxt", "m/10/a/b", "m/labels.txt", "n/1/x", "n/3.bak/x", "readme"]),
        ([], {"m": ALL}, False, FILES),
        ([], {}, True, FILES),
        (["n"], {}, False, ["n/1/x", "n/3.bak/x"]),
        (["m/1"], {}, False, ["m/config.pbtxt", "m/1/x", "m/labels.txt"]),
        (["m/1", "m/2/"], {}, False, ["m/config.pbtxt", "m/1/x", "m/2/x", "m/labels.txt"]),
        (["m"], {"m": "not a config {"}, False, ["m/config.pbtxt", "m/10/a/b", "m/labels.txt"]),
    ],
)
def test_what_a_triton_loads_is_chosen(
    *,
    wanted: list[str],
    configs: dict[str, str],
    all_versions: bool,
    chosen: list[str],
) -> None:
    found, absent = choose(FILES, wanted, configs, all_versions=all_versions)
    assert sorted(found) == sorted(chosen)
    assert not absent


@pytest.mark.parametrize("name", ["o", "m/3", "m/labels", "n/1/y"])
def test_what_is_not_there_is_told(name: str) -> None:
    assert choose(FILES, [name, "n"], {}, all_versions=False)[1] == [name]


def test_only_all_is_whole() -> None:
    assert Warmth(1, 10, 10, 0, []).is_whole
    assert not Warmth(1, 10, 9, 0, []).is_whole
    assert not Warmth(1, 10, 10, 0, ["failed"]).is_whole
