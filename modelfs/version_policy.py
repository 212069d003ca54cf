"""Which versions of a model Triton will load, read off its config.pbtxt.

Law: pure, and a guess: it decides what is fetched early, never what is shown. What cannot be understood is taken for
Triton's default, the latest version.
Source: Triton's ``model_config.proto``, ModelVersionPolicy.
"""

import re
from collections.abc import Iterable

CONFIG_NAME = "config.pbtxt"

_COMMENT = re.compile(r"#[^\n]*")
# possessive: a megabyte of blanks would else take hours, on the thread that answers the kernel
_POLICY = re.compile(r"version_policy\s*+:?+\s*+\{\s*+(latest|all|specific)\s*+:?+\s*+\{([^{}]*+)\}")
_LATEST = re.compile(r"num_versions\s*+:\s*+(\d{1,9})")
_SPECIFIC = re.compile(r"versions\s*+:\s*+(\[[\d\s,]*+\]|\d++)")
_NUMBER = re.compile(r"(?<!\d)\d{1,18}(?!\d)")  # Python refuses to read one of 4,300 digits
_VERSION = re.compile(r"[1-9][0-9]{0,17}")


def selected(config: str, names: Iterable[str]) -> list[str]:
    """Return those of the folder ``names`` that are versions and that ``config`` selects, the greatest first.

    >>> selected("version_policy: { latest { num_versions: 2 } }", ["1", "3", "2", "labels"])
    ['3', '2']
    >>> selected("", ["1", "10", "9"]), selected("version_policy { all {} }", ["1", "2"])
    (['10'], ['2', '1'])
    >>> selected("version_policy: { specific: { versions: [1, 3] } }", ["1", "2", "3"])
    ['3', '1']
    """
    versions = sorted((name for name in names if _VERSION.fullmatch(name)), key=int, reverse=True)
    found = _POLICY.search(_COMMENT.sub("", config))
    if found is None:
        return versions[:1]
    kind, inside = found.groups()
    if kind == "all":
        return versions
    if kind == "latest":
        number = _LATEST.search(inside)
        return versions[: max(1, int(number[1]))] if number else versions[:1]
    wanted = {int(number) for group in _SPECIFIC.findall(inside) for number in _NUMBER.findall(group)}
    return [name for name in versions if int(name) in wanted]
