"""The kernel's read-ahead for one mount, set through sysfs once it is mounted.

Law: what is not allowed here is one warning, never a failure. pyfuse3 exposes nothing of ``fuse_conn_info``, where
libfuse would set this, and a container's sysfs is often read-only.
"""

import logging
from pathlib import Path

from modelfs import mounting

log = logging.getLogger(__name__)

_BDI = Path("/sys/class/bdi")


def tune(mountpoint: str, read_ahead_kib: int, *, bdi: Path = _BDI) -> bool:
    """Let the kernel read up to ``read_ahead_kib`` ahead of readers, and return whether it will.

    The default of 128 KiB makes a READ of every 128 KiB: 0.6-1.2 GB/s through an empty file system; 1,024 made it 2.9.
    The device comes from the mount table: a stat would be served by the process that calls us.
    """
    entry = mounting.mounted_at(mountpoint)
    if entry is None:
        return False
    target = bdi / entry.device / "read_ahead_kb"
    try:
        target.write_text(str(read_ahead_kib), encoding="ascii")
    except OSError as error:
        log.warning(
            "read-ahead stays at the kernel's default, so cold reads are slower: %s (%s); as root run 'echo %d > %s',"
            " in a container mount /sys/devices/virtual/bdi writable, or silence this with --read-ahead 0",
            target,
            error.strerror,
            read_ahead_kib,
            target,
        )
        return False
    return True
