"""Which names of a store's keys are shown.

Law: pure. A key is shown at its own path, except (each has a test, docs/semantics.md has the table):

- a key with an empty segment, `.`, `..`, a NUL, a name over 255 bytes, more than 255 folders, or text that is not
  UTF-8 cannot be a path, and is not shown;
- names that begin with ".", `__pycache__` and `*_$folder$` placeholders are not shown (`show_hidden`), but the
  folder that such an object lies in exists;
- in a model, folders that Triton takes for a version although they are none: `3.bak`, `01`, numbers of 19 digits.
"""

import re

NAME_BYTES_MAX = 255  # NAME_MAX of Linux
DEPTH_MAX = 255  # Azure allows 254 segments; bounds how deep the tree is

PLACEHOLDER_SUFFIX = "_$folder$"  # what Hadoop's S3 connectors leave for a folder


_TAKEN_FOR_A_NUMBER = re.compile(r"\s*[+-]?[0-9]")  # what Triton's std::stoll reads of a name, whatever follows
_VERSION = re.compile(r"0|[1-9][0-9]{0,17}")


def is_misread(name: str) -> bool:
    """Tell whether Triton takes a folder of this name in a model for a version, and it is none.

    It loads `3.bak` as version 3, which then is not there, and a Python model waits for that for ever; a number of 20
    digits ends the server (measured). 0 is a version to it.

    >>> [is_misread(name) for name in ("3", "3.bak", "01", "9" * 18, "9" * 19, "+5", "0", "v2", "assets")]
    [False, True, True, False, True, True, False, False, False]
    """
    return _TAKEN_FOR_A_NUMBER.match(name) is not None and _VERSION.fullmatch(name) is None


def why_no_path(names: list[str]) -> str:
    """Return why these segments cannot be a path, or "" when they can."""
    if len(names) > DEPTH_MAX:
        return f"it lies more than {DEPTH_MAX} folders deep"
    for name in names:
        if name in {"", ".", ".."}:
            return f"it holds the segment {name!r}"
        if "\0" in name:
            return "it holds a NUL"
        try:
            too_long = len(name.encode()) > NAME_BYTES_MAX
        except UnicodeEncodeError:
            return "it is not UTF-8"
        if too_long:
            return f"it holds a name of over {NAME_BYTES_MAX} bytes"
    return ""


def is_hidden(name: str) -> bool:
    """Tell whether a name is hidden by rule.

    >>> [is_hidden(name) for name in (".git", "__pycache__", "1_$folder$", "model.onnx")]
    [True, True, True, False]
    """
    return name.startswith(".") or name == "__pycache__" or name.endswith(PLACEHOLDER_SUFFIX)


def is_model_name(name: str) -> bool:
    """Tell whether a folder of the root can have this name, and is shown.

    >>> [is_model_name(name) for name in ("resnet", ".git", "", "x" * 256, "a/b")]
    [True, False, False, False, False]
    """
    return not is_hidden(name) and "/" not in name and not why_no_path([name])


def visible_depth(names: list[str]) -> int:
    """Return how many leading segments come before the first hidden one."""
    for depth, name in enumerate(names):
        if is_hidden(name):
            return depth
    return len(names)
