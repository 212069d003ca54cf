"""What is wrong with a repository, as ``modelfs lint`` and ``modelfs seal`` tell it.

Law: pure. A finding names one path and says, in two clauses, what is wrong there and what to do.
"""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]
"""What a load fails on or goes wrong with, and what may be meant so."""


@dataclass(frozen=True, slots=True)
class Finding:
    """``rule`` is a word for programs; ``path`` is relative to the repository, and "" is its root."""

    severity: Severity
    rule: str
    path: str
    what: str
    advice: str


def error(rule: str, path: str, what: str, advice: str) -> Finding:
    """Return what a load fails on or goes wrong with."""
    return Finding("error", rule, path, what, advice)


def warning(rule: str, path: str, what: str, advice: str) -> Finding:
    """Return what may be meant so."""
    return Finding("warning", rule, path, what, advice)
