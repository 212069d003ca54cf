"""docs/semantics.md: each rule that has a number has a test named for it, and what it names as a test is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "semantics.md").read_text()


@pytest.mark.parametrize("number", sorted(set(re.findall(r"\bR[0-9]+\b", TEXT))))
def test_a_rule_has_a_test_of_a_real_mount_that_is_named_for_it(number: str) -> None:
    sources = [path.read_text() for folder in ("mount", "triton") for path in (ROOT / "tests" / folder).glob("*.py")]
    assert any(re.search(rf"def test_(?:\w+_)?{number.lower()}_", source) for source in sources)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`(tests/[^`]*)`", TEXT))))
def test_a_test_that_is_named_is_there(path: str) -> None:
    assert (ROOT / path).exists()
