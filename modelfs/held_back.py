"""``modelfs ls MOUNTPOINT --pending``: what a mount does not show as it is stored, and why.

Law: what is told is what the mount's own worker says; nothing here looks into the mount or asks the store.
"""

from dataclasses import dataclass

from modelfs import mounts


@dataclass(frozen=True, slots=True)
class Held:
    """A folder that is not shown as it is stored.

    ``is_shown``: it is shown as it was before. ``is_settling``: what waits has changed just now, and only time is
    missing so far.
    """

    folder: str
    is_shown: bool
    is_settling: bool
    reason: str


def held_back(root: str, mountpoint: str) -> list[Held]:
    """Return what the mount at ``mountpoint`` (resolved) holds back, sorted by folder.

    Raises UsageError where nothing is mounted, and ControlError where the worker does not answer.
    """
    folder = mounts.living(root, mountpoint)
    found: list[Held] = []
    while page := mounts.ask(folder, "pending", after=found[-1].folder if found else "")["pending"]:
        found += [Held(each["folder"], each["is_shown"], each["is_settling"], each["reason"]) for each in page]
    return found
