"""Groups: the objects of a model that are shown together, a version's or the model's own.

Law: pure. A version is a folder of the model whose name is a number of at most 18 digits; all else that lies in the
model is its own.
"""

from collections.abc import Iterator
from typing import NamedTuple

from modelfs.blocks import ObjectInfo
from modelfs.gate import Objects
from modelfs.names import PLACEHOLDER_SUFFIX, is_hidden
from modelfs.wholeness import with_folders

_VERSION_DIGITS_MAX = 18

Versions = dict[str, dict[str, ObjectInfo]]
"""The objects of a model by version and key."""


class Group(NamedTuple):
    """What is shown together. ``version`` is "" for the model's own entries."""

    model: str
    version: str

    @property
    def folder(self) -> str:
        """The path of its folder."""
        return f"{self.model}/{self.version}" if self.version else self.model


def group_of(key: str) -> Group | None:
    """Return the group of a key; None for a file in the root and what is hidden or nameless there: it is in no model.

    >>> group_of("m/1/model.onnx"), group_of("m/config.pbtxt")
    (Group(model='m', version='1'), Group(model='m', version=''))
    >>> group_of("readme"), group_of(".git/config"), group_of("/m/1/model.onnx")
    (None, None, None)
    """
    names = key.split("/", 2)
    if len(names) < 2 or not names[0] or is_hidden(names[0]):  # noqa: PLR2004  a model and something in it
        return None
    second = names[1]
    is_version = len(names) > 2 and second.isdecimal() and second.isascii() and len(second) <= _VERSION_DIGITS_MAX  # noqa: PLR2004  as above
    return Group(names[0], second if is_version else "")


def by_version(objects: Objects) -> Versions:
    """Return the objects of one model by their group's version; "" is the model's own."""
    found: Versions = {}
    for key, info in objects.items():
        group = group_of(key)
        if group is not None:
            found.setdefault(group.version, {})[key] = info
    return found


def visible(members: Objects) -> Iterator[str]:
    """Yield the files of a group that a reader could see."""
    return (key for key in members if key[-1] != "/" and not is_key_hidden(key))


def look_alike(one: Objects, other: Objects) -> bool:
    """Tell whether a reader would see the same of two states of a group: the same files, by size and version.

    By loops: operations on whole sets of a million keys would hold the interpreter's lock for long.
    """
    files = 0
    for files, key in enumerate(visible(one), start=1):  # noqa: B007  how many there were is asked below
        if differ(other.get(key), one[key]):
            return False
    return files == sum(1 for _ in visible(other))


def names_of(group: Group, members: Objects) -> set[str]:
    """Return the files and folders of a group that a reader could see, by their paths in it."""
    start = len(group.folder) + 1
    return with_folders({key[start:].rstrip("/") for key in members if not is_key_hidden(key)})


def is_key_hidden(key: str) -> bool:
    """Tell whether a name in ``key`` is hidden. Most hold none of these, which is a quarter of the time to find out."""
    may_be = "/." in key or key[0] == "." or "__pycache__" in key or PLACEHOLDER_SUFFIX in key
    return may_be and any(is_hidden(name) for name in key.split("/"))


def differ(before: ObjectInfo | None, info: ObjectInfo) -> bool:
    """Tell whether a key is new or has another version. A new date alone is none (R10)."""
    return before is not info and (before is None or before[1:3] != info[1:3])
