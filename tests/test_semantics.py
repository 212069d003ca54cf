"""docs/semantics.md: its table of the contract has a row for each rule, and the tests that it names are there.

A rule that has a test named for it (``test_r5_...``) must name one; the nearest other test is good enough until then.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RULES = [f"R{number}" for number in range(1, 28)]
ROWS = re.findall(
    r"(?m)^\| (R[0-9]+) \| [^|]+ \|([^|]+)\|$",
    (ROOT / "docs" / "semantics.md").read_text().partition("## The contract")[2],
)
TESTS = {rule: re.findall(r"`(tests/[^`]+)::(test_\w+)`", named) for rule, named in ROWS}


def functions() -> set[tuple[str, str]]:
    """Return the rule and the name of each test that is named for a rule."""
    found = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        for name in re.findall(r"(?m)^(?:async )?def (test_\w+)", path.read_text()):
            found |= {(f"R{number}", name) for number in re.findall(r"_r([0-9]+)(?=_)", name)}
    return found


def test_each_rule_of_the_contract_has_one_row() -> None:
    assert [rule for rule, _ in ROWS] == RULES


@pytest.mark.parametrize("rule", RULES)
def test_the_tests_of_a_rule_are_there(rule: str) -> None:
    assert TESTS[rule]
    for path, name in TESTS[rule]:
        assert re.search(rf"(?m)^(?:async )?def {name}\(", (ROOT / path).read_text()), f"{path} has no {name}"


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_names_a_test_that_is_named_for_it_where_there_is_one(rule: str) -> None:
    named_for = {name for number, name in functions() if number == rule}
    assert not named_for or named_for & {name for _, name in TESTS[rule]}
