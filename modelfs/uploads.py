"""Uploads that have begun and not ended: what is about to be shown waits for those below it.

Law: pure. An upload in parts is no object before it ends, and may take hours, in which nothing that is listed changes.
So it is asked for before the listing that would show something, never after: what ends in between is in the listing.

Many are never ended, since whoever began them died. One holds nothing when it is older than HOLDS_S, nor when there is
an object under its key that is as new: it was begun again then, and is done.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from modelfs.gate import Objects
from modelfs.groups import Group, group_of, is_key_hidden

HOLDS_S = 24 * 3600.0
"""How long an upload holds back what it lies in. 100 GB at 10 Mbit/s take 22 hours."""

WHOLE = ""
"""In place of a model: all of the repository."""


class Upload(NamedTuple):
    """One upload that has not ended. ``key`` is as in ObjectInfo; ``begun_ns`` is Unix time, 0 where it is not told."""

    key: str
    begun_ns: int


@dataclass(frozen=True, slots=True)
class Uploads:
    """What the store told of uploads, by model, before a listing began.

    ``asked`` are the models that it was asked of; None where it cannot be asked.
    """

    open: Mapping[str, Sequence[Upload]] = field(default_factory=dict)
    asked: frozenset[str] | None = None

    def knows(self, model: str) -> bool:
        """Tell whether nothing more can be known of ``model``."""
        return self.asked is None or model in self.asked or WHOLE in self.asked

    def holding(self, model: str, objects: Objects, wall_ns: int) -> list[Upload]:
        """Return what holds back something of ``model``, of which ``objects`` are listed. ``wall_ns`` is Unix time."""
        oldest_ns = wall_ns - int(HOLDS_S * 1e9)
        return [
            upload
            for upload in self.open.get(model, ())
            if upload.begun_ns >= oldest_ns and not is_key_hidden(upload.key) and not _is_done(upload, objects)
        ]


NO_UPLOADS = Uploads()
"""Of a store that cannot be asked."""


def why_open(uploads: Sequence[Upload], folder: str) -> str:
    """Return why what is in ``folder`` waits for ``uploads``, which lie below it; "" when there are none."""
    if not uploads:
        return ""
    first = min(uploads, key=lambda upload: upload.begun_ns)
    begun = datetime.fromtimestamp(first.begun_ns // 10**9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    more = f", nor have {len(uploads) - 1} more" if len(uploads) > 1 else ""
    return f"the upload of {first.key.removeprefix(f'{folder}/')} that began at {begun} has not ended{more}"


def below(uploads: Sequence[Upload], group: Group) -> list[Upload]:
    """Return those of ``uploads`` that will be objects of ``group``."""
    return [upload for upload in uploads if group_of(upload.key) == group]


def _is_done(upload: Upload, objects: Objects) -> bool:
    found = objects.get(upload.key)
    return found is not None and found.mtime_ns >= upload.begun_ns
