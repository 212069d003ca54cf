"""What of the listings still counts.

Law: pure. A key that was listed is withdrawn only when two complete listings in a row lack it: a store can be
eventually consistent, an upload tool deletes before it puts back, and a Triton that polls in between would unload a
model that serves. What of the rest is whole, and so shown, is ``settle``'s.
"""

from collections.abc import Iterable, Mapping

from modelfs.blocks import ObjectInfo


class Gate:
    """Remembers what was listed, and what is missing for the first time. ``listed`` is what was before this process."""

    def __init__(self, listed: Mapping[str, ObjectInfo] | None = None) -> None:
        self.listed: Mapping[str, ObjectInfo] = listed or {}
        self._missing: frozenset[str] = frozenset()

    @property
    def missing(self) -> frozenset[str]:
        """The keys that are admitted although the last regular listing lacked them; the next one decides."""
        return self._missing

    def admit(self, listing: Iterable[ObjectInfo], *, may_withdraw: bool = True) -> Mapping[str, ObjectInfo]:
        """Take one complete listing and return the objects that count, by key. It is never changed again.

        ``may_withdraw`` is False for a listing that came early: it may lie a moment behind the one before or ahead of
        the next, and two that saw the same moment would be one witness heard twice. So it is no witness.

        >>> gate = Gate()
        >>> a, b = ObjectInfo("a", 1, "v1", 0), ObjectInfo("b", 1, "v1", 0)
        >>> [sorted(gate.admit(listing)) for listing in ([a, b], [a], [a])]
        [['a', 'b'], ['a', 'b'], ['a']]
        """
        # what did not change stays the same object, so that a second copy of a large listing does not stay in memory
        same_or_new = (before if (before := self.listed.get(info.key)) == info else info for info in listing)
        listed = {info.key: info for info in same_or_new}
        vanished = self.listed.keys() - listed.keys()
        kept = vanished - self._missing if may_withdraw else vanished
        self._missing = frozenset(kept if may_withdraw else vanished & self._missing)
        listed.update((key, self.listed[key]) for key in kept)
        self.listed = listed
        return listed
