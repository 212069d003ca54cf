"""From listings to the tree that is to be shown: what counts, what of it is whole, and with which times.

Law: plain calls that block, made in threads (a million objects are seconds of Python, and a stat must not wait for
them), one at a time: ``view`` sees to that. What a call returns is never changed again.

Only the models of which something may be shown otherwise than before are built anew.
"""

import logging
from collections.abc import Collection, Iterable
from itertools import chain
from typing import NamedTuple

from modelfs import collector, growing
from modelfs import tree as trees
from modelfs.blocks import ObjectInfo
from modelfs.gate import Gate, Models, Objects, by_model
from modelfs.journal import Journal
from modelfs.remembered import Memory
from modelfs.settle import Moment, Pending, Settling, Texts
from modelfs.tree import Difference, Tree
from modelfs.uploads import NO_UPLOADS, WHOLE, Uploads

log = logging.getLogger(__name__)

_BARE: Objects = {}

LOGGED = 5  # of what is new of one kind; the count tells the rest


class Shown(NamedTuple):
    """What is to be shown from now on, where it differs from what was, what waits, and until when at least."""

    tree: Tree
    differences: list[Difference]
    pending: tuple[Pending, ...]
    settles_s: float | None


class Showing:
    """Follows the listings of one mount. ``gate`` tells what was listed; see ``View`` for the rest."""

    def __init__(
        self, *, show_hidden: bool, settle_s: float, memory: Memory | None, journal: Journal | None = None
    ) -> None:
        self.gate = Gate()
        self._show_hidden = show_hidden
        self._settle_s = settle_s
        self._memory = memory
        self._journal = journal
        self.is_taken_over = False
        """Whether another worker made what is shown, and nothing was listed since."""
        self._settling: Settling | None = None
        self._previous: Tree = trees.EMPTY  # what was shown last, also by the process before this one
        self._shown: Tree = trees.EMPTY  # by this one
        self._built: Models | None = None  # what was listed then
        self._were_waiting: frozenset[str] = frozenset()  # then, the models of which not all was shown
        self._set_aside = 0  # of the gate's new objects
        self._names = Gate()  # of folders of which only the name was listed, as markers
        self._bare: frozenset[str] = frozenset()  # those of which nothing else is known
        self._remarks = _Remarks()

    @property
    def bare(self) -> int:
        """The number of the folders of the root of which only the name is known."""
        return len(self._bare)

    def is_bare(self, model: str) -> bool:
        """Tell whether nothing but its name is known of a folder of the root."""
        return model in self._bare

    def take_over(self, shown: Tree, *, is_on_open: bool) -> None:
        """Go on from what the worker before this one showed; ``is_on_open``: its empty folders were never listed."""
        self._previous = self._shown = shown
        self.is_taken_over = True
        if is_on_open:
            folders = shown.root.children.items()
            bare = (name for name, node in folders if isinstance(node, trees.Directory) and not node.children)
            self._bare = frozenset(bare)

    def due(self, now_s: float) -> list[str]:
        """Return the models whose open uploads are to be known before a listing that begins now; see ``uploads``."""
        if not self._settle_s or self.is_taken_over:
            return []
        return [WHOLE] if self._settling is None else self._settling.due(now_s)

    def take(
        self,
        listing: list[ObjectInfo],
        moment: Moment,
        *,
        may_withdraw: bool,
        bare: Collection[str] = (),
        uploads: Uploads = NO_UPLOADS,
    ) -> list[ObjectInfo]:
        """Take a complete listing, and return the objects whose content decides what of it is shown.

        Of the folders ``bare`` only the names were listed. ``uploads`` were open before it began.
        """
        self._go_on()
        if self._shown is trees.EMPTY and self._previous is trees.EMPTY and self._memory is not None:
            self._previous = self._memory.recall()
        if self._settling is None and self._settle_s:
            self._settling = Settling(self._settle_s, trees.files(self._previous).values())
        listed = self.gate.admit(listing, may_withdraw=may_withdraw)
        markers = (ObjectInfo(f"{name}/", 0, "", 0) for name in bare)
        names = self._names.admit(markers, may_withdraw=may_withdraw) if bare or self._names.listed else {}
        self._bare = frozenset(name for name in names if name not in listed)
        if self._settling is None:
            return []
        return self._settling.take(listed, moment, bare=self._bare, lacking=self.gate.lacking, uploads=uploads)

    def take_model(
        self, model: str, listing: list[ObjectInfo], moment: Moment, *, uploads: Uploads = NO_UPLOADS
    ) -> list[ObjectInfo] | None:
        """Take a complete listing of one model; see ``take``. None where nothing else can be shown than before."""
        self._go_on()
        before = self.gate.listed.get(model, {})
        objects = self.gate.admit_model(model, listing)
        is_first, self._bare = model in self._bare, self._bare - {model}
        if self._settling is None:
            return None if objects is before else []
        lacking = self.gate.lacking.get(model, ())
        wanted = self._settling.take_model(model, objects, moment, is_first=is_first, lacking=lacking, uploads=uploads)
        return None if objects is before and not self._settling.is_waiting(model) else wanted

    def show(self, texts: Texts, model: str | None = None) -> Shown:
        """Return what is to be shown of what was taken, of all or of ``model`` alone."""
        new = self._build(texts) if model is None else self._graft({model}, texts)
        self._built = {**self.gate.listed, **dict.fromkeys(self._bare, _BARE)} if self._bare else self.gate.listed
        self._were_waiting = frozenset(self._settling.waiting) if self._settling is not None else frozenset()
        if collector.set_aside(self.gate.new - self._set_aside):
            self._set_aside = self.gate.new
        if self._memory is not None:
            self._memory.keep(new)  # before it is shown: a crash must not take a time back
        differences = trees.differences(self._shown, new)
        if self._journal is not None:
            self._journal.keep(self._shown, new, differences)
        self._previous = self._shown = new
        pending = tuple(self._settling.pending) if self._settling is not None else ()
        self._remarks.tell(new, pending)
        return Shown(new, differences, pending, self._settling.settles_s if self._settling is not None else None)

    def _go_on(self) -> None:
        """After a takeover, take for listed what is shown: what differs from it has changed just now."""
        if not self.is_taken_over:
            return
        shown = by_model(info for info in trees.listing_of(self._shown).values())
        known = {model: objects for model, objects in shown.items() if model not in self._bare}
        self.gate.listed = known
        self._settling = Settling(self._settle_s, (), listed=known) if self._settle_s else None
        self.is_taken_over = False

    def _build(self, texts: Texts) -> Tree:
        models = self._concerned()
        if models is None:
            shown = chain.from_iterable(self._to_show(model, texts) for model in self.gate.listed)
            return growing.build(shown, previous=self._previous, show_hidden=self._show_hidden)
        return self._graft(models, texts) if models else self._previous

    def _graft(self, models: Iterable[str], texts: Texts) -> Tree:
        shown = {model: self._to_show(model, texts) for model in models}
        return growing.graft(self._previous, shown, show_hidden=self._show_hidden)

    def _to_show(self, model: str, texts: Texts) -> Iterable[ObjectInfo]:
        if model in self._bare:
            return (ObjectInfo(f"{model}/", 0, "", 0),)
        if self._settling is not None:
            return self._settling.show_model(model, texts)
        return self.gate.listed.get(model, {}).values()

    def _concerned(self) -> set[str] | None:
        """Return the models of which something else may be shown than before; None for all."""
        listed, built = self.gate.listed, self._built
        # what was shown of a folder before stays until it is listed again
        known = {name for name, node in self._previous.root.children.items() if isinstance(node, trees.Directory)}
        if built is None and not self._bare:
            return None
        if built is None:
            return {"", *listed, *(known - self._bare), *(self._bare - known)}
        waiting = self._settling.waiting if self._settling is not None else ()
        models = {*self._were_waiting, *waiting, *(self._bare - known)}
        models |= {model for model in built if model not in listed and model not in self._bare}
        models |= {model for model, objects in listed.items() if objects is not built.get(model)}
        if any(model in listed.get("", {}) for model in models):
            models.add("")  # a folder hides a file of its name, or does no longer
        return models


class _Remarks:
    """Logs what cannot be shown, and what is held back for another reason than that it is being uploaded, once."""

    def __init__(self) -> None:
        self._omissions: frozenset[trees.Omission] = frozenset()
        self._pending: frozenset[Pending] = frozenset()

    def tell(self, tree: Tree, pending: tuple[Pending, ...]) -> None:
        omissions = frozenset(tree.omissions)
        news = sorted(omissions - self._omissions)
        for omission in news[:LOGGED]:
            log.warning("an object is not shown key=%r because=%r", omission.key, omission.reason)
        if len(news) > LOGGED:
            log.warning("more objects are not shown count=%d", len(news) - LOGGED)
        stuck = [each for each in pending if not each.is_settling and each not in self._pending]
        for each in stuck[:LOGGED]:
            log.warning(
                "not shown as it is stored, because it is not whole folder=%r because=%r", each.folder, each.reason
            )
        if len(stuck) > LOGGED:
            log.warning("more folders are not whole count=%d", len(stuck) - LOGGED)
        self._omissions, self._pending = omissions, frozenset(pending)
