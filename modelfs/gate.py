"""What of the listings still counts.

Law: pure. A key that was listed is withdrawn only when two complete listings in a row lack it: a store can be
eventually consistent, an upload tool deletes before it puts back, and a Triton that polls in between would unload a
model that serves. What of the rest is whole, and so shown, is ``settle``'s.

The listing of one model alone counts like one of all that came early: it brings what is new, and withdraws nothing.

Objects are kept by model, the folder of the root that they lie in. A model of which nothing changed stays the same
mapping from one listing to the next, so that whoever follows looks only at the others.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from modelfs.blocks import ObjectInfo

Objects = Mapping[str, ObjectInfo]
Models = Mapping[str, Objects]
"""Objects by key, by model. What lies in no folder is under ""."""


_NOTHING: Objects = {}


def model_of(key: str) -> str:
    """Return the folder of the root that ``key`` lies in; "" for a file in the root itself.

    >>> model_of("m/1/model.onnx"), model_of("m/"), model_of("readme"), model_of("/m")
    ('m', 'm', '', '')
    """
    return key[: max(0, key.find("/"))]


def by_model(objects: Iterable[ObjectInfo]) -> dict[str, dict[str, ObjectInfo]]:
    """Return ``objects`` by model and key."""
    found: dict[str, dict[str, ObjectInfo]] = defaultdict(dict)
    for info in objects:
        found[model_of(info.key)][info.key] = info
    return dict(found)


class Gate:
    """Remembers what was listed, and what is missing for the first time."""

    def __init__(self) -> None:
        self.listed: Models = {}
        """The objects that count. Whoever takes a mount over puts in what another one has listed."""
        self.lacking: dict[str, frozenset[str]] = {}
        """By model, the keys that are admitted although its last listing lacked them, also one that came early."""
        self._missing: dict[str, frozenset[str]] = {}  # by model; none is empty
        self.new = 0
        """The objects that were new or different, in all listings so far."""

    @property
    def missing(self) -> frozenset[str]:
        """The keys that are admitted although the last regular listing lacked them; the next one decides."""
        return frozenset().union(*self._missing.values())

    def find(self, key: str) -> ObjectInfo | None:
        """Return the object of ``key`` that counts now."""
        return self.listed.get(model_of(key), _NOTHING).get(key)

    def recall(self, info: ObjectInfo) -> ObjectInfo:
        """Return the object that counts now where it is equal to ``info``: a listing needs no second copy of it."""
        known = self.find(info.key)
        return info if known is None or known != info else known

    def admit(self, listing: Iterable[ObjectInfo], *, may_withdraw: bool = True) -> Models:
        """Take one complete listing and return the objects that count. Neither they nor their mappings change again.

        ``may_withdraw`` is False for a listing that came early: it may lie a moment behind the one before or ahead of
        the next, and two that saw the same moment would be one witness heard twice. So it is no witness.

        >>> gate = Gate()
        >>> a, b = ObjectInfo("m/a", 1, "v1", 0), ObjectInfo("m/b", 1, "v1", 0)
        >>> [sorted(gate.admit(listing)["m"]) for listing in ([a, b], [a], [a])]
        [['m/a', 'm/b'], ['m/a', 'm/b'], ['m/a']]
        """
        found = by_model(listing)
        merged = {
            model: self._merge(model, found.get(model, {}), may_withdraw=may_withdraw)
            for model in dict.fromkeys((*found, *self.listed))
        }
        self.listed = {model: objects for model, objects in merged.items() if objects}
        return self.listed

    def admit_model(self, model: str, listing: Iterable[ObjectInfo]) -> Objects:
        """Take one complete listing of the folder ``model`` alone, and return the objects of it that count.

        That its own marker is not in it says nothing: see ``Store.list_page``.
        """
        folder = f"{model}/"
        marker = self.find(folder)
        is_known = marker is not None and folder not in self._missing.get(model, ())
        found = {folder: marker} if marker is not None and is_known else {}
        found.update((info.key, info) for info in listing)
        objects = self._merge(model, found, may_withdraw=False)
        if objects is not self.listed.get(model):
            self.listed = {**self.listed, model: objects} if objects else self.listed
        return objects

    def _merge(self, model: str, found: Objects, *, may_withdraw: bool) -> Objects:
        # by loops, not by operations on whole sets: of a million keys each would hold the interpreter's lock for long
        before = self.listed.get(model, {})
        missing = self._missing.pop(model, frozenset())
        vanished = [key for key in before if key not in found]
        kept = [key for key in vanished if key not in missing] if may_withdraw else vanished
        if still_missing := frozenset(kept if may_withdraw else (key for key in vanished if key in missing)):
            self._missing[model] = still_missing
        if kept:
            self.lacking[model] = frozenset(kept)
        else:
            self.lacking.pop(model, None)
        # what did not change stays the same object, so that a second copy of a large listing does not stay in memory
        different = {key: info for key, info in found.items() if before.get(key) != info}
        self.new += len(different)
        if not different and len(kept) == len(vanished):
            return before
        now = {key: different.get(key) or before[key] for key in found}
        now.update((key, before[key]) for key in kept)
        return now
