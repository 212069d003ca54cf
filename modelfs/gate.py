"""What of the listings is shown.

Law: pure. A key that was shown is withdrawn only when two complete listings in a row lack it: a store can be
eventually consistent, an upload tool deletes before it puts back, and a Triton that polls in between would unload a
model that serves. New and replaced objects are shown at once.
"""

from collections.abc import Iterable

from modelfs.blocks import ObjectInfo


class Gate:
    """Remembers what is shown, and what is missing for the first time."""

    def __init__(self) -> None:
        self._shown: dict[str, ObjectInfo] = {}
        self._missing: frozenset[str] = frozenset()

    @property
    def missing(self) -> frozenset[str]:
        """The keys that are shown although the last listing lacked them; the next one decides."""
        return self._missing

    def admit(self, listing: Iterable[ObjectInfo], *, may_withdraw: bool = True) -> list[ObjectInfo]:
        """Take one complete listing and return the objects to show, in no particular order.

        ``may_withdraw`` is False for a listing that came early: it may lie a moment behind the one before, and two
        that saw the same moment would be one witness heard twice.

        >>> gate = Gate()
        >>> a, b = ObjectInfo("a", 1, "v1", 0), ObjectInfo("b", 1, "v1", 0)
        >>> [sorted(info.key for info in gate.admit(listing)) for listing in ([a, b], [a], [a])]
        [['a', 'b'], ['a', 'b'], ['a']]
        """
        # what did not change stays the same object, so that a second copy of a large listing does not stay in memory
        same_or_new = (before if (before := self._shown.get(info.key)) == info else info for info in listing)
        listed = {info.key: info for info in same_or_new}
        vanished = self._shown.keys() - listed.keys()
        kept = vanished - self._missing if may_withdraw else vanished
        self._missing = frozenset(kept)
        listed.update((key, self._shown[key]) for key in kept)
        self._shown = listed
        return list(listed.values())
