"""A disk tier in a folder of a test's own."""

import mmap
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modelfs.blocks import ObjectInfo
from modelfs.disk import DiskTier, Readership
from modelfs.disk_format import scope_of

PATIENCE_S = 60.0  # bounds a hang; nothing here measures time
MIB = 1024 * 1024
QUOTA_BYTES = 256 * MIB


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def take(length: int) -> memoryview:
    return memoryview(mmap.mmap(-1, length))


def content(info: ObjectInfo) -> bytes:
    return random.Random(f"{info.key} {info.version}").randbytes(info.size)


def info(key: str = "m/1/x", size: int = 20 * MIB + 5, version: str = '"v1"') -> ObjectInfo:
    return ObjectInfo(key, size, version, 0)


def tier_at(
    folder: Path,
    *,
    principal: str = "me",
    prefix: str = "models/",
    quota_bytes: int | None = QUOTA_BYTES,
    queue_bytes: int = 128 * MIB,
    clock: Callable[[], float] = time.monotonic,
) -> DiskTier:
    """Return a tier that is not open yet."""
    readership = Readership(scope_of("s3 somewhere", principal), f"s3://b/{prefix}".rstrip("/"), prefix)
    return DiskTier(
        str(folder / "cache"), readership, take=take, quota_bytes=quota_bytes, queue_bytes=queue_bytes, clock=clock
    )


@contextmanager
def opened(folder: Path, **more: Any) -> Iterator[DiskTier]:
    """Open a tier, and end it."""
    tier = tier_at(folder, **more)
    tier.open()
    try:
        yield tier
    finally:
        tier.end(PATIENCE_S)


def keep(tier: DiskTier, whole: ObjectInfo, offset: int = 0, length: int | None = None) -> None:
    """Have a part of an object kept, and wait until it is."""
    data = memoryview(content(whole))[offset : whole.size if length is None else offset + length]
    assert tier.keep(whole, offset, data, None)
    assert tier.flush(PATIENCE_S)


def read(tier: DiskTier, whole: ObjectInfo, offset: int, length: int) -> bytes | None:
    found = tier.read(whole, offset, length)
    return None if found is None else bytes(found)


def chunk_files(folder: Path) -> list[Path]:
    return sorted((folder / "cache" / "modelfs-blocks").glob("??/*-*"))


def disk_bytes(folder: Path) -> int:
    """Return what all that lies below a folder takes of the disk, as du counts."""
    return sum(path.lstat().st_blocks * 512 for path in [folder, *folder.rglob("*")])


class Store:
    """Answers for the store, and counts what it is asked for."""

    def __init__(self, whole: ObjectInfo) -> None:
        self.content = content(whole)
        self.asked: list[tuple[int, int]] = []

    def get(self, offset: int, length: int) -> memoryview:
        self.asked.append((offset, length))
        return memoryview(self.content)[offset : offset + length]


def read_through(tier: DiskTier, whole: ObjectInfo, offset: int, length: int, store: Store) -> bytes:
    return bytes(tier.read_through(whole, offset, length, store.get))


def check_hurts_nobody(tier: DiskTier, whole: ObjectInfo) -> None:
    """See that a read goes on from the store."""
    store = Store(whole)
    if tier.may_have(whole, 0, whole.size):
        assert read(tier, whole, 0, whole.size) is None
    assert read_through(tier, whole, 0, whole.size, store) == store.content
    claim = tier.claim(whole, 0, whole.size)
    assert claim is not None
    tier.keep(whole, 0, memoryview(store.content), claim)
    assert tier.flush(PATIENCE_S)
