"""Which model versions are whole, and so shown; of the others, what was shown before.

Law: pure; time is passed in. Objects come in groups: a version folder MODEL/VERSION, and the model's own entries
(config.pbtxt, labels and whatever else lies in MODEL). A group that differs from what is shown waits, and what was
shown stays, until all of it was listed unchanged for ``settle_s`` and the files that Triton will ask for are there; a
version that a manifest seals does not wait. An object's date proves nothing, since S3 dates it from the start of its
upload: only at the first listing, when nothing else is known, is what is older than ``settle_s`` taken for settled.

A change of the own entries and of versions at the same time is one publication: the own entries wait until nothing of
the model is being changed, and versions wait with them. So does a new model until one version is whole. A version that
vanishes as a whole goes at once (the gate has seen two listings to that), but a part of one waits like any change: what
deletes a folder file by file must not be seen in between. Nor what deletes a model version by version: while a part of
one has just gone, or is missed by one listing so far, those that vanished stay too. Hidden objects neither start nor
prolong the waiting.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from modelfs import manifest
from modelfs.blocks import ObjectInfo
from modelfs.gate import Models, Objects, by_model
from modelfs.groups import Group, Versions, by_version, differ, group_of, is_key_hidden, look_alike, names_of, visible
from modelfs.manifest import MANIFEST_NAME
from modelfs.uploads import NO_UPLOADS, Upload, Uploads, below, why_open
from modelfs.version_policy import CONFIG_NAME, CONFIGS_FOLDER
from modelfs.wholeness import (
    INDEX_SUFFIX,
    is_known_without_config,
    why_not_whole,
    why_shard_missing,
)

PLAIN_SETTLINGS = 10
"""How many settling times what has no config waits: it may be a model that begins with its labels or weights, which
Triton could not load, or files that a model elsewhere reads. Names do not tell."""

_NOTHING_LACKING: Mapping[str, Collection[str]] = {}

Texts = Mapping[str, bytes | None]
"""By key. None could not be read; what is not there is too large, and then asks for nothing."""


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
    unchanged_s: float = 0.0  # as of the last listing that it was in
    now: dict[str, ObjectInfo] = field(default_factory=dict)
    lacking: Collection[str] = ()  # keys of ``now`` that were not listed any more, and count until that is certain
    reason: str = ""
    is_settling: bool = False
    is_held: bool = False  # since it is not decided yet what of it is there
    is_plain: bool | None = None  # known once, at the first listing
    is_unasked: bool = False  # whole, but nobody has asked for uploads below it

    @property
    def listed(self) -> dict[str, ObjectInfo]:
        """What was listed last."""
        return {key: info for key, info in self.now.items() if key not in self.lacking} if self.lacking else self.now


class Settling:
    """Decides, listing after listing. ``known`` is what was shown before this process began, in no order.

    ``listed``: it is shown still, by a mount that this process has taken over. Then no listing is the first one: what
    differs from it has changed just now.
    """

    def __init__(self, settle_s: float, known: Iterable[ObjectInfo], *, listed: Models | None = None) -> None:
        self._settle_s = settle_s
        self._known = by_model(known)
        self._listed = listed
        self._versions: dict[str, Versions] = {}  # of the models in which something waits
        self._waiting: dict[str, dict[str, _Waiting]] = {}  # by model and version; no model has none
        self._uploads = NO_UPLOADS  # of the last listing
        self._open: dict[str, list[Upload]] = {}  # of them, those that hold back something of what waits, by model

    @property
    def pending(self) -> list[Pending]:
        """What is not shown as it is stored, sorted by folder."""
        return sorted(
            Pending(Group(model, version).folder, waiting.reason, waiting.is_settling)
            for model, version, waiting in self._all_waiting()
        )

    @property
    def settles_s(self) -> float | None:
        """The moment from which the next listing can show more, or None when no group is settling."""
        waiting = (each for _, _, each in self._all_waiting() if each.is_unasked or not self._is_old(each))
        return min((each.changed_s + self._settle_s for each in waiting), default=None)

    @property
    def waiting(self) -> Collection[str]:
        """The models of which something is not shown as it was listed."""
        return self._waiting.keys()

    def is_waiting(self, model: str) -> bool:
        """Tell whether something of ``model`` is not shown as it was listed."""
        return model in self._waiting

    def due(self, now_s: float) -> list[str]:
        """Return the models of which uploads are to be asked for, if a listing that begins now may show more of them.

        What lacks a file or a config is not asked for, however long it waits.
        """
        return [
            model
            for model, versions in self._waiting.items()
            if any(each.is_settling and now_s - each.changed_s >= self._settle_s for each in versions.values())
        ]

    def take(
        self,
        listed: Models,
        moment: Moment,
        *,
        bare: Collection[str] = (),
        lacking: Mapping[str, Collection[str]] = _NOTHING_LACKING,
        uploads: Uploads = NO_UPLOADS,
    ) -> list[ObjectInfo]:
        """Take a complete listing, and return the objects whose text ``show`` wants to know, the smallest first.

        A model whose mapping is the one of the listing before has not changed. The models ``bare`` were not listed yet.
        ``lacking`` are, by model, the keys that were not listed any more, and count until another listing agrees.
        ``uploads`` is what was open before the listing began.
        """
        self._uploads = uploads
        before, self._listed = self._listed, listed
        for model in dict.fromkeys((*listed, *(before or ()))):
            objects = listed.get(model, {})
            if before is None:
                self._begin(model, objects, moment)
            elif before.get(model) is not objects:
                self._note_changes(model, before.get(model, {}), objects, moment)
        self._known = {model: objects for model, objects in self._known.items() if model in bare}
        wanted = [
            info for model in list(self._waiting) for info in self._look_at(model, moment, lacking.get(model, ()))
        ]
        return sorted(wanted, key=lambda info: info.size)

    def take_model(
        self,
        model: str,
        objects: Objects,
        moment: Moment,
        *,
        is_first: bool = False,
        lacking: Collection[str] = (),
        uploads: Uploads = NO_UPLOADS,
    ) -> list[ObjectInfo]:
        """Take what counts of one model that was listed alone; see ``take``. Not for the first listing of all.

        ``is_first``: of this model it is the first, so that nothing is known of when it changed. ``lacking`` are
        the keys of it that were not listed any more, and count.

        A model is judged by its own listings, so that for this one it is as if all had been listed, and for the others
        as if nothing had.
        """
        self._uploads = uploads
        before = self._listed or {}
        self._listed = {**before, model: objects}
        if is_first:
            self._begin(model, objects, moment)
        else:
            self._note_changes(model, before.get(model, {}), objects, moment)
        return sorted(self._look_at(model, moment, lacking), key=lambda info: info.size)

    def show(self, texts: Texts) -> list[ObjectInfo]:
        """Return the objects to show, in no particular order."""
        for model in list(self._waiting):
            self._publish(model, texts)
        return [info for model in self._listed or () for info in self._shown(model)]

    def show_model(self, model: str, texts: Texts) -> list[ObjectInfo]:
        """Return the objects to show of one model, in no particular order."""
        self._publish(model, texts)
        return list(self._shown(model))

    def _publish(self, model: str, texts: Texts) -> None:
        groups = self._waiting.get(model, {})
        for version in self._publishable(model, groups, texts) if groups else ():
            waiting = groups[version]
            if waiting.lacking and self._is_sealed(Group(model, version), texts):
                waiting.before = waiting.listed  # whoever sealed it knows what has gone, if the gate does not yet
                waiting.is_settling = True
                waiting.reason = "what is not listed any more is gone when the next listing lacks it too"
            else:
                self._end(model, version)

    def _shown(self, model: str) -> Iterator[ObjectInfo]:
        objects = (self._listed or {}).get(model, {})
        waiting = self._waiting.get(model)
        if waiting is None:
            yield from objects.values()
            return
        for key, info in objects.items():
            group = group_of(key)
            if group is None or group.version not in waiting:
                yield info
        for each in waiting.values():
            yield from each.before.values()

    def _all_waiting(self) -> Iterator[tuple[str, str, _Waiting]]:
        for model, versions in self._waiting.items():
            for version, waiting in versions.items():
                yield model, version, waiting

    def _end(self, model: str, version: str) -> None:
        """Have a group wait no more."""
        del self._waiting[model][version]
        if not self._waiting[model]:
            del self._waiting[model]
            self._versions.pop(model, None)
            self._open.pop(model, None)

    # listings

    def _begin(self, model: str, objects: Objects, moment: Moment) -> None:
        """Take a model of the first listing: what is old or was shown before is settled, all else changed just now."""
        known = by_version(self._known.pop(model, {}))
        settled_ns = moment.wall_ns - int(self._settle_s * 1e9)
        for version, members in by_version(objects).items():
            if any(visible(members)) and look_alike(members, known.get(version, {})):
                continue
            is_old = all(info.mtime_ns <= settled_ns for info in members.values())
            waiting = _Waiting({}, -math.inf if is_old else moment.ended_s)
            self._waiting.setdefault(model, {})[version] = waiting

    def _note_changes(self, model: str, before: Objects, objects: Objects, moment: Moment) -> None:
        """Have every group of ``model`` wait in which something was added, replaced or removed."""
        changed = {key for key, info in objects.items() if differ(before.get(key), info)}
        changed |= {key for key in before if key not in objects}
        touched: dict[str, bool] = {}  # by version, with whether anything visible was
        for key in changed:
            group = group_of(key)
            if group is not None:
                touched[group.version] = touched.get(group.version, False) or not is_key_hidden(key)
        shown = by_version(before) if touched else {}
        for version, is_visible in touched.items():
            waiting = self._waiting.get(model, {}).get(version)
            if waiting is not None:
                if is_visible:
                    waiting.changed_s = moment.ended_s
            elif is_visible or version not in shown:
                waiting = _Waiting(shown.get(version, {}), moment.ended_s)
                self._waiting.setdefault(model, {})[version] = waiting

    def _look_at(self, model: str, moment: Moment, lacking: Collection[str]) -> list[ObjectInfo]:
        """See what of ``model`` is listed now and still waits, and return the objects whose text is wanted for it."""
        objects = (self._listed or {}).get(model, {})
        self._versions[model] = by_version(objects)
        self._open[model] = self._uploads.holding(model, objects, moment.wall_ns)
        groups = dict(self._waiting.get(model, {}))
        for version, waiting in groups.items():
            waiting.now = self._versions[model].get(version, {})
            waiting.unchanged_s = moment.began_s - waiting.changed_s
        is_going = self._note_lacking(groups, lacking)
        is_going = is_going or self._is_config_new(model)  # which may no longer ask for a version that has vanished
        for version, waiting in groups.items():
            if self._is_over(Group(model, version), waiting, is_going=is_going):
                self._end(model, version)
        return list(self._wanted(model))

    def _note_lacking(self, groups: Mapping[str, _Waiting], lacking: Collection[str]) -> bool:
        """Tell whether the model of ``groups`` is being deleted: something is lacking, or has lost a part lately.

        What is lacking is held until it is decided; what has lost a part, until nothing of its model goes any more.
        """
        for waiting in groups.values():
            waiting.lacking = {key for key in lacking if key in waiting.now}
        undecided = {group.version for key in lacking if (group := group_of(key)) is not None}
        lost = {version for version, each in groups.items() if each.before.keys() - each.now.keys()}
        is_going = bool(undecided) or any(groups[version].now and not self._is_old(groups[version]) for version in lost)
        for version, waiting in groups.items():
            waiting.is_held = version in undecided or (version in lost and is_going)
        return is_going

    def _is_config_new(self, model: str) -> bool:
        """Tell whether another config than the one that is shown has been there for less than the settling time."""
        own = self._waiting.get(model, {}).get("")
        if own is None or self._is_old(own):
            return False
        key = f"{model}/{CONFIG_NAME}"
        one, other = own.before.get(key), own.now.get(key)
        return (one and one[1:3]) != (other and other[1:3])

    def _is_over(self, group: Group, waiting: _Waiting, *, is_going: bool) -> bool:
        """Tell whether the group is as it is shown again, or has vanished; but not while more of its model changes."""
        if not waiting.now:
            return not self._versions.get(group.model) or (bool(group.version) and not is_going)
        return bool(waiting.before) and look_alike(waiting.before, waiting.now)

    # texts

    def _wanted(self, model: str) -> Iterator[ObjectInfo]:
        wants_config = False
        for version, waiting in self._waiting.get(model, {}).items():
            group = Group(model, version)
            seal = waiting.now.get(f"{group.folder}/{MANIFEST_NAME}")
            if seal is not None and version:
                yield seal
            if self._is_settled(waiting):
                wants_config |= self._shows_version(model) if not version else not self._is_plain(group, waiting)
                yield from _indexes(group, waiting)
        config = self._config_of(model) if wants_config else None
        if config is not None:
            yield config

    def _is_plain(self, group: Group, waiting: _Waiting) -> bool:
        """Tell whether names alone are enough: an old version at the first listing that has a default file."""
        if waiting.changed_s != -math.inf:
            return False
        if waiting.is_plain is None:
            waiting.is_plain = is_known_without_config(names_of(group, waiting.now))
        return waiting.is_plain

    def _shows_version(self, model: str) -> bool:
        waiting = [self._waiting[model].get(version) for version in self._versions[model] if version]
        return any(each is None or each.before for each in waiting)

    def _config_of(self, model: str) -> ObjectInfo | None:
        return (self._listed or {}).get(model, {}).get(f"{model}/{CONFIG_NAME}")

    # decisions

    def _publishable(self, model: str, groups: dict[str, _Waiting], texts: Texts) -> list[str]:
        """Return which waiting groups of ``model`` are shown from now on, and note of the others why not."""
        for version, waiting in groups.items():
            waiting.is_settling = not self._is_settled(waiting)
            waiting.is_unasked = False
            waiting.reason = self._why_waits(Group(model, version), waiting, texts)
        sealed = {version for version in groups if self._is_sealed(Group(model, version), texts)}
        whole = self._whole(model, groups, sealed, texts)
        is_together = "" in groups and not sealed
        return [
            version
            for version in whole
            if version in sealed
            or (sealed and not version)
            or not self._is_uploading(Group(model, version), groups[version], is_together=is_together)
        ]

    def _is_uploading(self, group: Group, waiting: _Waiting, *, is_together: bool) -> bool:
        """Tell whether what is whole is held back by an upload, below it or, with ``is_together``, in its model."""
        if not self._uploads.knows(group.model):
            waiting.is_unasked = waiting.is_settling = True
            waiting.reason = "whether an upload below it has not ended is asked before the next listing"
            return True
        found = self._open[group.model]
        found = found if is_together else below(found, group)
        if found:
            waiting.reason = why_open(found, group.folder)
            waiting.is_settling = True
        return bool(found)

    def _whole(self, model: str, groups: dict[str, _Waiting], sealed: Collection[str], texts: Texts) -> list[str]:
        """Return which waiting groups of ``model`` are whole or ``sealed``, and note of the others why they are not."""
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
        return not waiting.is_held and self._is_old(waiting, times)

    def _is_old(self, waiting: _Waiting, times: int = 1) -> bool:
        return waiting.unchanged_s >= times * self._settle_s

    def _is_sealed(self, group: Group, texts: Texts) -> bool:
        text = texts.get(f"{group.folder}/{MANIFEST_NAME}") if group.version else None
        files = manifest.parse(text) if text else None
        waiting = self._waiting[group.model][group.version]
        return files is not None and manifest.is_sealed(files, group.folder, waiting.listed)

    def _why_waits(self, group: Group, waiting: _Waiting, texts: Texts) -> str:
        """Return why a group is not whole by itself."""
        if not self._is_settled(waiting):
            return f"it changed less than {self._settle_s:g} s ago"
        if not group.version:
            return ""
        reason = self._why_lacking(group, waiting, texts)
        if reason and any(key not in waiting.now for key in waiting.before):
            waiting.before = {}  # what is shown was deleted for good, so nobody can read it
        return reason

    def _why_lacking(self, group: Group, waiting: _Waiting, texts: Texts) -> str:
        indexes = _indexes(group, waiting)
        is_plain = self._is_plain(group, waiting)
        if is_plain and not indexes:
            return ""
        names = names_of(group, waiting.now)
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
            own = self._versions[model].get("", {})
            has_others = any(key.startswith(f"{model}/{CONFIGS_FOLDER}/") for key in own)
            return "" if has_others else why_not_whole(names, None)
        if config.key not in texts:
            return ""
        text = texts[config.key]
        return f"{CONFIG_NAME} cannot be read" if text is None else why_not_whole(names, text.decode(errors="replace"))

    def _why_own_waits(self, model: str, groups: dict[str, _Waiting], ready: list[str], texts: Texts) -> str:
        """Return why settled own entries of ``model`` are not shown yet: no version would be whole with them."""
        shown = {
            version: members for version, members in self._versions[model].items() if version and version not in groups
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
        if self._config_of(model) is None and self._is_settled(groups[""], PLAIN_SETTLINGS):
            return ""  # as it is with a version
        reason = self._why_not_by_config(model, names_of(Group(model, latest), shown[latest]), texts)
        return f"of its version {latest} {reason}" if reason else ""


def _indexes(group: Group, waiting: _Waiting) -> list[ObjectInfo]:
    return [info for key, info in waiting.now.items() if group.version and key.endswith(INDEX_SUFFIX)]
