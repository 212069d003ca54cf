"""Where the disk cache is when nobody says, and whether there is one at all.

Law: standard library only. On a host there is one. In a container there is one only on a volume that was mounted for
it: in the container's own layer it would be lost with it, and fill the disk of the node meanwhile; in memory it would
take what it is to save.
"""

# Paths stay strings here, as system calls and JSON take them.
# ruff: noqa: PTH100, PTH110, PTH111, PTH117, PTH118

import os
from collections.abc import Mapping

from modelfs import mounting

_MARKS = ("/.dockerenv", "/run/.containerenv", "/run/systemd/container")
_LAYERED = frozenset({"overlay", "aufs", "fuse.fuse-overlayfs"})
_IN_MEMORY = frozenset({"tmpfs", "ramfs", "devtmpfs"})


def cache_root(configured: str | None) -> str | None:
    """Return where blocks are to be kept: ``configured``, or what this machine offers; None where that is nothing."""
    if configured:
        return os.path.abspath(configured)
    path = default_root(os.environ)
    table = mounting.mount_table()
    if not is_container(os.environ, table):
        return path
    own = next((entry for entry in reversed(table) if entry.mountpoint == os.path.realpath(path)), None)
    return path if own is not None and own.fstype not in _IN_MEMORY else None


def default_root(environment: Mapping[str, str]) -> str:
    """Return the system's folder for caches, or the user's."""
    if os.geteuid() == 0:
        return "/var/cache/modelfs"
    given = environment.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(given):  # the standard says to ignore a relative one
        given = os.path.expanduser("~/.cache")
    return os.path.join(given, "modelfs")


def is_container(environment: Mapping[str, str], table: list[mounting.MountEntry]) -> bool:
    """Tell whether this is a container, as far as one can see from inside: none of the signs is there in all."""
    if "KUBERNETES_SERVICE_HOST" in environment or any(os.path.exists(mark) for mark in _MARKS):
        return True
    return any(entry.mountpoint == "/" and entry.fstype in _LAYERED for entry in table)
