"""What a store holds, compared with the local folder that was uploaded there.

Law: a difference is never told on a guess. Names and sizes come from the listing. The ETag of S3 is the MD5 of an
object that was uploaded in one part and not encrypted with a key of its own, and nothing tells from outside whether it
is: so ETags that do not fit count only when one of them, the smallest object's, was proved right by reading it.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from modelfs import growing, tree
from modelfs.blocks import ObjectInfo
from modelfs.errors import UsageError
from modelfs.findings import Finding, error
from modelfs.gathering import gather
from modelfs.manifest import MANIFEST_NAME
from modelfs.store import RetryPolicy, Store, in_thread_with_retries, list_everything
from modelfs.store_local import LocalStore

_PIECE_BYTES = 8 * 1024 * 1024
_FILES_AT_ONCE = 4  # each of them a disk, a core for its checksum, and a connection
_MD5 = re.compile(r'"([0-9a-f]{32})"')


@dataclass(frozen=True, slots=True)
class Comparison:
    """How to compare. ``source`` is the local folder; ``reads_all`` reads back what no checksum has proved."""

    source: str
    store: Store
    policy: RetryPolicy
    limiter: trio.CapacityLimiter
    etags_are_checksums: bool
    reads_all: bool
    show_hidden: bool

    async def differences(self, stored: Mapping[str, ObjectInfo]) -> list[Finding]:
        """Return where ``stored``, by path, differs from the folder. Raises a ModelfsError."""
        listing = await list_everything(LocalStore(self.source), policy=self.policy, limiter=self.limiter)
        local = tree.files(growing.build(listing, show_hidden=self.show_hidden))
        found = list(self._by_listing(stored, local))
        equal = {path: info for path, info in stored.items() if path in local and local[path].size == info.size}
        proved, doubted = await self._by_etag(equal)
        few = trio.CapacityLimiter(_FILES_AT_ONCE)

        async def is_same(path: str) -> bool:
            async with few:
                return await self._is_same(path, equal[path])

        if self.reads_all:
            read = await gather(sorted(equal.keys() - proved), is_same)
            return found + [self._differs(path) for path, same in read.items() if not same]
        if doubted and not await is_same(min(doubted, key=lambda path: (equal[path].size, path))):
            found += [self._differs(path) for path in sorted(doubted)]
        return found

    def _by_listing(self, stored: Mapping[str, ObjectInfo], local: Mapping[str, ObjectInfo]) -> Iterator[Finding]:
        for path in sorted(stored.keys() | local.keys()):
            if path.rpartition("/")[2] == MANIFEST_NAME:
                continue
            if path not in stored:
                yield error("differs", path, f"this is in {self.source} and not in the store", "upload it")
            elif path not in local:
                what = f"this is in the store and not in {self.source}"
                yield error("differs", path, what, "delete it in the store, or leave --from out")
            elif stored[path].size != local[path].size:
                what = f"this has {stored[path].size} bytes in the store and {local[path].size} in {self.source}"
                yield error("differs", path, what, "upload it again")

    def _differs(self, path: str) -> Finding:
        what = f"this has other bytes in the store than in {self.source}"
        return error("differs", path, what, "upload it again")

    async def _by_etag(self, equal: Mapping[str, ObjectInfo]) -> tuple[set[str], set[str]]:
        """Return the paths whose ETag proves them equal, and those whose ETag looks like another MD5."""
        told = {path: found[1] for path, info in equal.items() if (found := _MD5.fullmatch(info.version))}
        if not self.etags_are_checksums:
            return set(), set()
        few = trio.CapacityLimiter(_FILES_AT_ONCE)

        async def md5(path: str) -> str:
            return await trio.to_thread.run_sync(partial(_md5, self.source, path), limiter=few)

        ours = await gather(told, md5)
        proved = {path for path in told if told[path] == ours[path]}
        return proved, told.keys() - proved

    async def _is_same(self, path: str, info: ObjectInfo) -> bool:
        """Compare all bytes, and stop at the first difference."""
        for offset in range(0, info.size, _PIECE_BYTES):
            length = min(_PIECE_BYTES, info.size - offset)
            request = partial(self.store.read, info, offset, length)
            what = f"read {info.key}"
            theirs = await in_thread_with_retries(request, what=what, policy=self.policy, limiter=self.limiter)
            ours = await trio.to_thread.run_sync(partial(_piece, self.source, path, offset, length))
            if ours != theirs:
                return False
        return True


def _piece(source: str, path: str, offset: int, length: int) -> bytes:
    try:
        with (Path(source) / path).open("rb") as file:
            file.seek(offset)
            return file.read(length)
    except OSError as error:
        raise _unreadable(source, path, error) from error


def _md5(source: str, path: str) -> str:
    try:
        with (Path(source) / path).open("rb") as file:
            return hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise _unreadable(source, path, error) from error


def _unreadable(source: str, path: str, error: OSError) -> UsageError:
    return UsageError(f"{source}/{path} cannot be read ({error.strerror}). Let this user read it.")
