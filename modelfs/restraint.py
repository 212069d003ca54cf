"""When a name of the root may be looked for in the store again.

Law: pure; time is passed in. Each name has a look once a second: whoever stats a model all the time costs one listing
of it a second. A model that is in use, and of which nothing was asked for 80 ms, may have one earlier, since that is a
load behind a load: a next version may be sealed and loaded 0.1 s later (without: 1 of 15 such loads in a row found what
was sealed before it). In the long run it is once a second for each model all the same, and how many looks there are at
all is bounded, for names that are not there more tightly: whoever tries out names costs the store nothing to speak of.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass, field

EVERY_S = 1.0
LEFT_ALONE_S = 0.08
IN_USE_S = 10.0  # since something of it was opened

MODEL_MOST, MODEL_PER_S = 300, 1.0
"""Looks at one model: so many at once, and then so many in a second. A load of a Python model takes two to
five, since its processes leave it alone while they start; and one that opens files by their paths at each inference
leaves itself alone in between."""

KNOWN_MOST, KNOWN_PER_S = 64, 10.0
"""Of names that are shown. A script that stats 1,000 models, each in a process of its own, has the first ones looked
for and the others answered at once."""

UNKNOWN_MOST, UNKNOWN_PER_S = 16, 1.0
"""Of names that are not."""


class Allowance:
    """So many at once, and then so many in a second.

    >>> allowance = Allowance(2, 1.0)
    >>> [allowance.take(at_s) for at_s in (5.0, 5.0, 5.5, 6.0, 6.5)]
    [True, True, False, True, False]
    """

    def __init__(self, most: int, per_s: float) -> None:
        self._most = most
        self._per_s = per_s
        self._left: float = most
        self._at_s = -math.inf

    def is_left(self, now_s: float) -> bool:
        """Tell whether there is one left."""
        self._left = min(self._most, self._left + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        return self._left >= 1

    def take(self, now_s: float) -> bool:
        """Take one, if there is one left."""
        if not self.is_left(now_s):
            return False
        self._left -= 1
        return True


@dataclass(slots=True)
class _Past:
    """When a name was looked for last, and how it was used since."""

    looked_s: float
    asked_s: float
    opened_s: float = -math.inf
    looks: Allowance = field(default_factory=lambda: Allowance(MODEL_MOST, MODEL_PER_S))


class Restraint:
    """Counts the looks of one mount."""

    def __init__(self) -> None:
        self._past: OrderedDict[str, _Past] = OrderedDict()  # by name, the one that was looked for last behind
        self._known = Allowance(KNOWN_MOST, KNOWN_PER_S)
        self._unknown = Allowance(UNKNOWN_MOST, UNKNOWN_PER_S)

    def may_look(self, name: str, now_s: float, *, is_known: bool) -> bool:
        """Take note that ``name`` is asked for, and tell whether it may be looked for now: ``note_look`` follows."""
        past = self._past.get(name)
        is_due = past is None or now_s - past.looked_s >= EVERY_S
        if past is not None:
            is_left_alone = now_s - past.opened_s <= IN_USE_S and now_s - past.asked_s >= LEFT_ALONE_S
            past.asked_s = now_s
            is_due = is_due or (is_left_alone and past.looks.is_left(now_s))
        return is_due and (self._known if is_known else self._unknown).take(now_s)

    def note_look(self, name: str, now_s: float) -> None:
        """Take note that ``name`` is being looked for."""
        past = self._past.pop(name, None) or _Past(now_s, now_s)
        past.looked_s = now_s
        past.looks.take(now_s)
        self._past[name] = past
        while now_s - next(iter(self._past.values())).looked_s > MODEL_MOST / MODEL_PER_S:
            self._past.popitem(last=False)  # as good as never looked for

    def note_opening(self, name: str, now_s: float) -> None:
        """Take note that a file or folder in ``name`` is opened."""
        past = self._past.get(name)
        if past is not None:
            past.asked_s = past.opened_s = now_s
