"""Names that were withdrawn from the root a moment ago.

Law: pure; time is passed in. Triton reads the root and then stats what it has read: one name that is gone by then, and
it unloads *all* models and answers its index with an error (measured). So for some seconds whoever may have read a name
is answered from the tree that had it. Whoever reads the root anew does not find it, and unloads that model alone.
"""

from collections.abc import Iterable
from typing import NamedTuple

from modelfs.tree import Node, Tree

ANSWERED_S = 10.0
"""The stats of a poll follow its reading of the root within seconds: 1,000 models take less than five (R26)."""


class Gone(NamedTuple):
    """What stood under a name, and when it was withdrawn."""

    node: Node
    when_s: float


class Withdrawn:
    """The names that the last swaps of the tree took from the root."""

    def __init__(self) -> None:
        self._gone: dict[str, Gone] = {}

    def note(self, names: Iterable[str], *, old: Tree, new: Tree, now_s: float) -> None:
        """Take note that ``new`` is shown in place of ``old``, of whose root ``names`` differ."""
        shown = new.root.children
        self._gone = {
            name: gone for name, gone in self._gone.items() if name not in shown and self._is_fresh(gone, now_s)
        }
        for name in names:
            node = old.root.children.get(name)
            if node is not None and name not in shown:
                self._gone[name] = Gone(node, now_s)

    def find(self, name: str, now_s: float) -> Gone | None:
        """Return what stood under ``name`` until a moment ago."""
        gone = self._gone.get(name)
        return gone if gone is not None and self._is_fresh(gone, now_s) else None

    @staticmethod
    def _is_fresh(gone: Gone, now_s: float) -> bool:
        return now_s - gone.when_s < ANSWERED_S
