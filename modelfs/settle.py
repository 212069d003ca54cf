"""Which model versions are whole, and so shown; of the others, what was shown before.

Law: pure; time is passed in. Objects come in groups: a version folder MODEL/VERSION, and the model's own entries
(config.pbtxt, labels and whatever else lies in MODEL). A group that differs from what is shown waits, and what was
shown stays, until all of it was listed unchanged for ``settle_s`` and the files that Triton will ask for are there; a
version that a manifest seals does not wait. An object's date proves nothing, since S3 dates it from the start of its
upload: only at the first listing, when nothing else is known, is what is older than ``settle_s`` taken for settled.

A change of the own entries and of versions at the same time is one publication: the own entries wait until nothing of
the model is being changed, and versions wait with them. So does a new model until one version is whole. A version that
vanishes as a whole goes at once (the gate has seen two listings to that), but a part of one waits like any change: what
deletes a folder file by file must not be seen in between. Hidden objects neither start nor prolong the waiting.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from modelfs import manifest
from modelfs.blocks import ObjectInfo
from modelfs.manifest import MANIFEST_NAME
from modelfs.tree import PLACEHOLDER_SUFFIX, is_hidden
from modelfs.version_policy import CONFIG_NAME
from modelfs.wholeness import (
    INDEX_SUFFIX,
    is_known_without_config,
    why_not_whole,
    why_shard_missing,
    with_folders,
)

PLAIN_SETTLINGS = 10
"""How many settling times what has no config waits: it may be a model that begins with its labels or weights, which
Triton could not load, or files that a model elsewhere reads. Names do not tell."""

_VERSION_DIGITS_MAX = 18
_CONFIGS_FOLDER = "configs"  # where Triton looks with --model-config-name

Objects = Mapping[str, ObjectInfo]
_Models = dict[str, dict[str, dict[str, ObjectInfo]]]  # by model, version and key
Texts = Mapping[str, bytes | None]
"""By key. None could not be read; what is not there is too large, and then asks for nothing."""


class Group(NamedTuple):
    """What is shown together. ``version`` is "" for the model's own entries."""

    model: str
    version: str

    @property
    def folder(self) -> str:
        """The path of its folder."""
        return f"{self.model}/{self.version}" if self.version else self.model


class Moment(NamedTuple):
    """When a listing was taken: its begin and end on one steady clock, and the Unix time."""

    began_s: float
    ended_s: float
    wall_ns: int


class Pending(NamedTuple):
    """A folder that is not shown as it is stored, and why, for an operator. ``is_settling`` will end by itself."""

    folder: str
    reason: str
    is_settling: bool


@dataclass(slots=True)
class _Waiting:
    """A group that differs from what is shown (``before``, empty when nothing is)."""

    before: dict[str, ObjectInfo]
    changed_s: float
    now: dict[str, ObjectInfo] = field(default_factory=dict)
    reason: str = ""
    is_settling: bool = False
    is_plain: bool | None = None  # known once, at the first listing


def group_of(key: str) -> Group | None:
    """Return the group of a key; None for a file in the root and for what is hidden there, which belong to no model.

    >>> group_of("m/1/model.onnx"), group_of("m/config.pbtxt"), group_of("readme"), group_of(".git/config")
    (Group(model='m', version='1'), Group(model='m', version=''), None, None)
    """
    names = key.split("/", 2)
    if len(names) < 2 or is_hidden(names[0]):  # noqa: PLR2004  a model and something in it
        return None
    second = names[1]
    is_version = len(names) > 2 and second.isdecimal() and second.isascii() and len(second) <= _VERSION_DIGITS_MAX  # noqa: PLR2004  as above
    return Group(names[0], second if is_version else "")


class Settling:
    """Decides, listing after listing. ``known`` is what was shown before this process began.

    ``listed``: it is shown still, by a mount that this process has taken over. Then no listing is the first one: what
    differs from it has changed just now.
    """

    def __init__(self, settle_s: float, known: Objects, *, listed: Objects | None = None) -> None:
        self._settle_s = settle_s
        self._known = known
        self._listed = listed
        self._models: _Models = {}  # in which something waits
        self._waiting: dict[Group, _Waiting] = {}
        self._moment = Moment(-math.inf, -math.inf, 0)

    @property
    def pending(self) -> list[Pending]:
        """What is not shown as it is stored, sorted by folder."""
        return sorted(
            Pending(group.folder, waiting.reason, waiting.is_settling) for group, waiting in self._waiting.items()
        )

    @property
    def settles_s(self) -> float | None:
        """The moment from which the next listing can show more, or None when no group is settling."""
        ends = (waiting.changed_s + self._settle_s for waiting in self._waiting.values())
        return min((end for end in ends if end > self._moment.began_s), default=None)

    def take(self, listed: Objects, moment: Moment) -> list[ObjectInfo]:
        """Take a complete listing, and return the objects whose text ``show`` wants to know, the smallest first."""
        before, self._listed, self._moment = self._listed, listed, moment
        if before is None:
            self._begin(listed)
        else:
            self._note_changes(before, listed)
        self._models = _members(listed, {group.model for group in self._waiting})
        for group, waiting in list(self._waiting.items()):
            waiting.now = self._models.get(group.model, {}).get(group.version, {})
            if self._is_over(group, waiting):
                del self._waiting[group]
        return sorted(self._wanted(), key=lambda info: info.size)

    def show(self, texts: Texts) -> list[ObjectInfo]:
        """Return the objects to show, in no particular order."""
        models: dict[str, dict[str, _Waiting]] = defaultdict(dict)
        for group, waiting in self._waiting.items():
            models[group.model][group.version] = waiting
        for model, groups in models.items():
            for version in self._publishable(model, groups, texts):
                del self._waiting[Group(model, version)]
        listed = self._listed or {}
        if not self._waiting:
            return list(listed.values())
        names = {group.model for group in self._waiting}
        shown = [
            info
            for key, info in listed.items()
            if key.partition("/")[0] not in names or group_of(key) not in self._waiting
        ]
        for waiting in self._waiting.values():
            shown += waiting.before.values()
        return shown

    # listings

    def _begin(self, listed: Objects) -> None:
        """Take the first listing: what is old, or was shown before, is settled; all else has changed just now."""
        known = _members(self._known)
        self._known = {}
        settled_ns = self._moment.wall_ns - int(self._settle_s * 1e9)
        for model, versions in _members(listed).items():
            for version, members in versions.items():
                files = _files(members)
                if files and files == _files(known.get(model, {}).get(version, {})):
                    continue
                is_old = all(info.mtime_ns <= settled_ns for info in members.values())
                self._waiting[Group(model, version)] = _Waiting({}, -math.inf if is_old else self._moment.ended_s)

    def _note_changes(self, before: Objects, listed: Objects) -> None:
        """Have every group wait in which something was added, replaced or removed."""
        changed = {key for key, info in listed.items() if _differ(before.get(key), info)}
        changed |= before.keys() - listed.keys()
        touched: dict[Group, bool] = {}  # with whether anything visible was
        for key in changed:
            group = group_of(key)
            if group is not None:
                touched[group] = touched.get(group, False) or not _is_hidden(key)
        shown = _members(before, {group.model for group in touched if group not in self._waiting})
        for group, is_visible in touched.items():
            before_it = shown.get(group.model, {}).get(group.version, {})
            if group in self._waiting:
                if is_visible:
                    self._waiting[group].changed_s = self._moment.ended_s
            elif is_visible or not before_it:
                self._waiting[group] = _Waiting(before_it, self._moment.ended_s)

    def _is_over(self, group: Group, waiting: _Waiting) -> bool:
        """Tell whether the group is as it is shown again, or has vanished."""
        if not waiting.now:
            return bool(group.version) or group.model not in self._models
        return bool(waiting.before) and _files(waiting.before) == _files(waiting.now)

    # texts

    def _wanted(self) -> Iterator[ObjectInfo]:
        models: set[str] = set()
        for group, waiting in self._waiting.items():
            seal = waiting.now.get(f"{group.folder}/{MANIFEST_NAME}")
            if seal is not None and group.version:
                yield seal
            if self._is_settled(waiting):
                if self._shows_version(group.model) if not group.version else not self._is_plain(group, waiting):
                    models.add(group.model)
                yield from _indexes(group, waiting)
        configs = (self._config_of(model) for model in models)
        yield from (config for config in configs if config is not None)

    def _is_plain(self, group: Group, waiting: _Waiting) -> bool:
        """Tell whether names alone are enough: an old version at the first listing that has a default file."""
        if waiting.changed_s != -math.inf:
            return False
        if waiting.is_plain is None:
            waiting.is_plain = is_known_without_config(_names(group, waiting.now))
        return waiting.is_plain

    def _shows_version(self, model: str) -> bool:
        waiting = [self._waiting.get(Group(model, version)) for version in self._models.get(model, {}) if version]
        return any(each is None or each.before for each in waiting)

    def _config_of(self, model: str) -> ObjectInfo | None:
        return (self._listed or {}).get(f"{model}/{CONFIG_NAME}")

    # decisions

    def _publishable(self, model: str, groups: dict[str, _Waiting], texts: Texts) -> list[str]:
        """Return which waiting groups of ``model`` are shown from now on, and note of the others why not."""
        for version, waiting in groups.items():
            waiting.is_settling = not self._is_settled(waiting)
            waiting.reason = self._why_waits(Group(model, version), waiting, texts)
        sealed = {version for version in groups if self._is_sealed(Group(model, version), texts)}
        own = groups.get("")
        if own is None:
            return [version for version, waiting in groups.items() if version in sealed or not waiting.reason]
        if not sealed and not all(self._is_settled(waiting) for waiting in groups.values()):
            for waiting in groups.values():
                waiting.is_settling = True
                waiting.reason = waiting.reason or f"in {model} something changed less than {self._settle_s:g} s ago"
            return []
        ready = [version for version in groups if version and (version in sealed or not groups[version].reason)]
        if sealed:
            return [*ready, ""]  # who seals a version has uploaded what it needs
        own.reason = self._why_own_waits(model, groups, ready, texts)
        for version in ready:
            groups[version].reason = own.reason
        return [] if own.reason else [*ready, ""]

    def _is_settled(self, waiting: _Waiting, times: int = 1) -> bool:
        return self._moment.began_s - waiting.changed_s >= times * self._settle_s

    def _is_sealed(self, group: Group, texts: Texts) -> bool:
        text = texts.get(f"{group.folder}/{MANIFEST_NAME}") if group.version else None
        files = manifest.parse(text) if text else None
        return files is not None and manifest.is_sealed(files, group.folder, self._waiting[group].now)

    def _why_waits(self, group: Group, waiting: _Waiting, texts: Texts) -> str:
        """Return why a group is not whole by itself."""
        if not self._is_settled(waiting):
            return f"it changed less than {self._settle_s:g} s ago"
        if not group.version:
            return ""
        reason = self._why_lacking(group, waiting, texts)
        if reason and waiting.before.keys() - waiting.now.keys():
            waiting.before = {}  # what is shown was deleted for good, so nobody can read it
        return reason

    def _why_lacking(self, group: Group, waiting: _Waiting, texts: Texts) -> str:
        indexes = _indexes(group, waiting)
        is_plain = self._is_plain(group, waiting)
        if is_plain and not indexes:
            return ""
        names = _names(group, waiting.now)
        reason = "" if is_plain else self._why_not_by_config(group.model, names, texts)
        if self._config_of(group.model) is None and self._is_settled(waiting, PLAIN_SETTLINGS):
            reason = ""  # perhaps no model at all, and never one that waits for its last file
        for index in indexes:
            text = texts.get(index.key, b"")
            name = index.key.removeprefix(f"{group.folder}/")
            reason = reason or (f"{name} cannot be read" if text is None else why_shard_missing(name, text, names))
        return reason

    def _why_not_by_config(self, model: str, names: Collection[str], texts: Texts) -> str:
        config = self._config_of(model)
        if config is None:
            own = self._models[model].get("", {})
            has_others = any(key.startswith(f"{model}/{_CONFIGS_FOLDER}/") for key in own)
            return "" if has_others else why_not_whole(names, None)
        if config.key not in texts:
            return ""
        text = texts[config.key]
        return f"{CONFIG_NAME} cannot be read" if text is None else why_not_whole(names, text.decode(errors="replace"))

    def _why_own_waits(self, model: str, groups: dict[str, _Waiting], ready: list[str], texts: Texts) -> str:
        """Return why settled own entries of ``model`` are not shown yet: no version would be whole with them."""
        shown = {
            version: members
            for version, members in self._models.get(model, {}).items()
            if version and version not in groups
        }
        shown |= {version: waiting.before for version, waiting in groups.items() if version and waiting.before}
        latest = max([*shown, *ready], key=int, default="")
        if latest in ready:
            return ""
        if not latest:
            if self._config_of(model) is not None or len(groups) > 1:
                return "no version of it is whole"
            own = groups[""]
            own.is_settling = not self._is_settled(own, PLAIN_SETTLINGS)
            return "it has neither a config nor a version yet" if own.is_settling else ""
        reason = self._why_not_by_config(model, _names(Group(model, latest), shown[latest]), texts)
        return f"of its version {latest} {reason}" if reason else ""


def _members(objects: Objects, models: Collection[str] | None = None) -> _Models:
    """Return the objects of all groups, or of those of ``models``."""
    found: _Models = {}
    for key, info in objects.items() if models is None or models else ():
        if models is None or key.partition("/")[0] in models:
            group = group_of(key)
            if group is not None:
                found.setdefault(group.model, {}).setdefault(group.version, {})[key] = info
    return found


def _files(members: Objects) -> dict[str, tuple[int, str]]:
    """Return what a reader could see of a group: its files, by size and version."""
    return {key: info[1:3] for key, info in members.items() if key[-1] != "/" and not _is_hidden(key)}


def _names(group: Group, members: Objects) -> set[str]:
    start = len(group.folder) + 1
    return with_folders({key[start:].rstrip("/") for key in members if not _is_hidden(key)})


def _indexes(group: Group, waiting: _Waiting) -> list[ObjectInfo]:
    return [info for key, info in waiting.now.items() if group.version and key.endswith(INDEX_SUFFIX)]


def _is_hidden(key: str) -> bool:
    """Tell whether a name in ``key`` is hidden. Most hold none of these, which is a quarter of the time to find out."""
    may_be = "/." in key or key[0] == "." or "__pycache__" in key or PLACEHOLDER_SUFFIX in key
    return may_be and any(is_hidden(name) for name in key.split("/"))


def _differ(before: ObjectInfo | None, info: ObjectInfo) -> bool:
    """Tell whether a key is new or has another version. A new date alone is none (R10)."""
    return before is not info and (before is None or before[1:3] != info[1:3])
