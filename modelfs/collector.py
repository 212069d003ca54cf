"""Python's collector of cycles, kept from walking over a tree of a million files.

Law: it holds the interpreter's lock while it walks, and so the thread that answers: 0.25 s over a million objects, and
more than once while they come. A tree has no cycles, so nothing is lost when it is left out: what counts references
frees it.

So the collector never looks at all by itself. What came in large numbers is set aside at once, and the rest, which is
little, is looked at once a minute. Cycles that are garbage at the moment when much is set aside are set aside with it:
some kilobytes, each time that tens of thousands of objects are new.
"""

import gc

import trio

SWEEP_S = 60.0
MANY = 50_000
"""New objects that are set aside: a walk over as many takes 12 ms."""

_YOUNG, _MIDDLE = 700, 10  # Python's own
_NEVER = 2**31 - 1


def tame() -> None:
    """Keep the collector from looking at all by itself, in this process."""
    gc.set_threshold(_YOUNG, _MIDDLE, _NEVER)


def set_aside(new: int) -> bool:
    """Leave out of all walks what there is now, if many objects are new, and tell whether they were."""
    if new >= MANY:
        gc.freeze()
    return new >= MANY


async def keep_sweeping() -> None:
    """Collect the cycles that are left, for ever."""
    while True:
        await trio.sleep(SWEEP_S)
        gc.collect()
