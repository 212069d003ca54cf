"""Which folders of a model are versions, and which of them Triton will load.

Law: pure. ``selected`` decides what is fetched early, never what is shown; so what cannot be understood is taken for
Triton's default, the latest version.
Source: Triton's ``model_config.proto``, ModelVersionPolicy, and ``VersionsToLoad`` in its ``model_lifecycle.cc``.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from modelfs.pbtxt import Message, PbtxtError, Value, parse

CONFIG_NAME = "config.pbtxt"
CONFIGS_FOLDER = "configs"  # where Triton looks with --model-config-name

GUESSED_BYTES_MAX = 64 * 1024
"""A longer config counts as having no policy: ``selected`` is called on the thread that answers the kernel, and to read
a megabyte takes up to a second (measured). Triton's own examples have 1 KB."""

_VERSION = re.compile(r"[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True)
class Policy:
    """``specific`` versions and no others; without them the ``latest`` so many, or all where that is None."""

    latest: int | None = 1
    specific: frozenset[int] | None = None

    def selects(self, names: Iterable[str]) -> list[str]:
        """Return those of the folder ``names`` that are versions and that Triton loads, the greatest first."""
        versions = sorted(filter(is_version, names), key=int, reverse=True)
        if self.specific is not None:
            return [name for name in versions if int(name) in self.specific]
        return versions[: self.latest]


def is_version(name: str) -> bool:
    """Tell whether a folder's name is a version number as everyone reads it: canonical, and of at most 18 digits.

    >>> [is_version(name) for name in ("1", "0", "01", "3.bak", "9" * 18, "9" * 19)]
    [True, False, False, False, True, False]
    """
    return _VERSION.fullmatch(name) is not None


def of(config: Message) -> Policy:
    """Return the policy of a model's configuration."""
    policy = _last_message(config.get("version_policy"))
    if "specific" in policy:
        numbers = _last_message(policy["specific"]).get("versions", [])
        return Policy(specific=frozenset(number for each in numbers if (number := _number(each)) is not None))
    if "all" in policy:
        return Policy(latest=None)
    wanted = _last_message(policy.get("latest")).get("num_versions", ["1"])
    return Policy(latest=max(1, _number(wanted[-1]) or 1))


def selected(config: str, names: Iterable[str]) -> list[str]:
    """Return those of the folder ``names`` that are versions and that ``config`` selects, the greatest first.

    >>> selected("version_policy: { latest { num_versions: 2 } }", ["1", "3", "2", "labels"])
    ['3', '2']
    >>> selected("", ["1", "10", "9"]), selected("version_policy { all {} }", ["1", "2"])
    (['10'], ['2', '1'])
    >>> selected("version_policy: { specific: { versions: [1, 3] } }", ["1", "2", "3"])
    ['3', '1']
    """
    policy = Policy()
    if len(config) <= GUESSED_BYTES_MAX:
        with suppress(PbtxtError):
            policy = of(parse(config))
    return policy.selects(names)


def _last_message(values: list[Value] | None) -> Message:
    """Return the message that counts of a field that should have one."""
    return next((each for each in reversed(values or ()) if isinstance(each, dict)), {})


def _number(value: Value) -> int | None:
    try:
        return int(value, 0) if isinstance(value, str) else None
    except ValueError:
        return None
