"""The locks in packaging/ hold what pyproject.toml asks for, by hash, and name no host."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUNTIME: list[str] = PROJECT["project"]["dependencies"]
GROUPS = PROJECT["dependency-groups"]
LOCKS = ("bench", "build", "image", "quickstart", "test", "triton")


@pytest.mark.parametrize(
    ("lock", "wanted"),
    [
        ("bench", [*RUNTIME, *(one for one in GROUPS["bench"] if isinstance(one, str))]),
        ("build", GROUPS["build"]),
        ("image", RUNTIME),
        ("quickstart", [*RUNTIME, *GROUPS["quickstart"]]),
        ("test", [*RUNTIME, *GROUPS["quickstart"], *(one for one in GROUPS["test"] if isinstance(one, str))]),
        ("triton", GROUPS["triton"]),
    ],
)
def test_a_lock_holds_every_package_that_is_asked_for(lock: str, wanted: list[str]) -> None:
    names = {re.split(r"[\[<>=!~ ]", one)[0].lower() for one in wanted}
    assert names <= {pin.split("==")[0] for pin in _pins(lock)}, "run packaging/lock.sh"


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_a_hash_and_no_lock_names_a_host(lock: str) -> None:
    text = _text(lock)
    assert "://" not in text
    entries = re.split(r"(?m)^(?=[a-z])", text)[1:]
    assert entries
    assert all(re.match(r"[a-z0-9.-]+==\S+", entry) and "--hash=sha256:" in entry for entry in entries)


@pytest.mark.parametrize(
    ("lock", "own"),
    [("bench", {"flatbuffers", "onnxruntime", "safetensors"}), ("quickstart", set()), ("image", set())],
)
def test_the_smaller_locks_take_their_versions_from_the_test_lock(lock: str, own: set[str]) -> None:
    assert {pin for pin in _pins(lock) - _pins("test") if pin.split("==")[0] not in own} == set()


def _pins(lock: str) -> set[str]:
    return set(re.findall(r"(?m)^[a-z0-9.-]+==[^ ]+", _text(lock)))


def _text(lock: str) -> str:
    return (ROOT / "packaging" / f"requirements-{lock}.lock").read_text()
