"""A kernel, a store and a clumsy network do as they please, and after each step everything is as the model says.

Law: the machine decides everything: when a fetch ends and how, when a listing fails and on which page, and what
happens to the store between two pages. So a failing run can be repeated, and Hypothesis shortens it.
"""

import errno
import os
from typing import Any

import pyfuse3
import trio
from cache_invariants import check_cache, check_cache_at_rest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule
from operations_for_tests import NO_CONTEXT, is_folder
from pyfuse3 import FileHandleT, FileNameT, FlagT, InodeT
from reference.model import FOLDER, names_in
from reference.mounted_store import ROOT, B, MountedStore, steps
from reference.world import FAILURES, NAMES, Held, Listing, Read

from modelfs.pushing import PAGE_BYTES

endings = st.sampled_from(["well", "well", *FAILURES])


class ReferenceMachine(MountedStore):
    """The rules of the kernel and the network. See the module."""

    # names

    @rule(pick=st.integers(0, 99), name=st.sampled_from(NAMES))
    def lookup(self, pick: int, name: str) -> None:
        """Look a name up in anything that the kernel holds."""
        steps["lookup"] += 1
        number = self._pick(pick)
        parent = self.held[number]
        call = self.parts.operations.lookup
        answer = self._answer(call, InodeT(number), FileNameT(name.encode(errors="surrogateescape")), NO_CONTEXT)
        paths = self.model.paths()
        if parent.version is not None:
            assert answer == errno.ENOTDIR
        elif paths.get(parent.path, "") is not FOLDER or name not in names_in(paths, parent.path):
            assert answer == errno.ENOENT
        else:
            self._take(f"{parent.path}/{name}" if parent.path else name, answer)

    @rule(pick=st.integers(0, 99))
    def walk(self, pick: int) -> None:
        """Look up every name of a path that is shown, and open what is there."""
        steps["walk"] += 1
        self._walk(pick)

    def _walk(self, pick: int) -> None:
        paths = self.model.paths()
        files = sorted(path for path, key in paths.items() if key is not FOLDER)
        path = (files or sorted(paths))[pick % len(files or paths)]
        number = ROOT
        for name in path.split("/") if path else []:
            above = self.held[number].path
            answer = self._answer(self.parts.operations.lookup, InodeT(number), FileNameT(name.encode()), NO_CONTEXT)
            self._take(f"{above}/{name}" if above else name, answer)
            number = answer.st_ino
        self._open(number)

    @rule(pick=st.integers(0, 99))
    def getattr(self, pick: int) -> None:
        """Ask for the attributes of anything that the kernel holds, also of old versions."""
        steps["getattr"] += 1
        number = self._pick(pick)
        held = self.held[number]
        answer = self._answer(self.parts.operations.getattr, InodeT(number), NO_CONTEXT)
        if held.version is None and self.model.paths().get(held.path, "") is not FOLDER:
            assert answer == errno.ENOENT
        else:
            self._check_attributes(held, number, answer)

    def _take(self, path: str, attributes: Any) -> None:
        """Count a lookup that a reply told the kernel of."""
        key = self.model.paths()[path]
        version = None if key is FOLDER else self.model.shown[key].version
        number = attributes.st_ino
        assert self.number_of.setdefault((path, version), number) == number
        held = self.held.setdefault(number, Held(path, version))
        assert (held.path, held.version) == (path, version)
        held.lookups += 1
        self._check_attributes(held, number, attributes)
        assert attributes.st_mtime_ns == self.parts.view.tree.find(path).mtime_ns  # type: ignore[union-attr]  # it is in the model

    def _check_attributes(self, held: Held, number: int, attributes: Any) -> None:
        assert attributes.st_ino == number
        assert is_folder(attributes) == (held.version is None)
        assert attributes.st_mtime_ns == attributes.st_ctime_ns
        if held.version is not None:
            assert attributes.st_size == len(self.model.bytes_of[held.path, held.version])

    @rule(pick=st.integers(0, 99), lookups=st.integers(1, 3))
    def forget(self, pick: int, lookups: int) -> None:
        """Forget some lookups of an inode, as far as the kernel could, and of one that it does not hold."""
        steps["forget"] += 1
        number = self._pick(pick)
        held = self.held[number]
        count = min(lookups, held.lookups - 1 if held.is_used else held.lookups)
        if number == ROOT or count < 1:
            count = 0
        held.lookups -= count
        forgotten = [(InodeT(number), count)] if count else []
        self.portal.call(self.parts.operations.forget, [*forgotten, (InodeT(2**63 - 1), lookups)])
        if number != ROOT and not held.lookups:
            del self.held[number]

    # folders

    @rule(pick=st.integers(0, 99))
    def opendir(self, pick: int) -> None:
        """Open a folder."""
        steps["opendir"] += 1
        number = self._pick(pick)
        held = self.held[number]
        answer = self._answer(self.parts.operations.opendir, InodeT(number), NO_CONTEXT)
        paths = self.model.paths()
        if held.version is not None:
            assert answer == errno.ENOTDIR
        elif paths.get(held.path, "") is not FOLDER:
            assert answer == errno.ENOENT
        else:
            assert answer == number
            held.listings += 1
            names = names_in(paths, held.path)
            self.listings.append(Listing(number, 0, [], set(names), set(names)))

    @precondition(lambda self: self.listings)
    @rule(pick=st.integers(0, 99), room=st.integers(1, 5))
    def readdir(self, pick: int, room: int) -> None:
        """Read one page of an open folder; after its last page, close it."""
        steps["readdir"] += 1
        listing = self.listings[pick % len(self.listings)]
        held = self.held[listing.number]
        answer = self._answer(self.parts.kernel.readdir_page, listing.number, listing.next_id, room)
        if self.model.paths().get(held.path, "") is not FOLDER:
            assert answer == errno.ENOENT
            self._close(listing)
            return
        for name, attributes, next_id in answer:
            assert next_id > listing.next_id
            listing.next_id = next_id
            listing.seen.append(name)
            self._take(f"{held.path}/{name}" if held.path else name, attributes)
        assert len(listing.seen) == len(set(listing.seen))
        assert set(listing.seen) <= listing.ever
        if len(answer) < room:
            assert listing.stayed <= set(listing.seen)
            self._close(listing)

    def _close(self, listing: Listing) -> None:
        self.portal.call(self.parts.operations.releasedir, FileHandleT(listing.number))
        self.listings.remove(listing)
        self.held[listing.number].listings -= 1

    # files

    @rule(pick=st.integers(0, 99))
    def open(self, pick: int) -> None:
        """Open anything for reading."""
        steps["open"] += 1
        self._open(self._pick(pick, files=True))

    def _open(self, number: int) -> None:
        held = self.held[number]
        answer = self._answer(self.parts.operations.open, InodeT(number), FlagT(os.O_RDONLY), NO_CONTEXT)
        shown = self.model.shown.get(held.path)
        if held.version is None:
            assert answer == errno.EISDIR
        elif self.model.paths().get(held.path) != held.path or shown is None or shown.version != held.version:
            assert answer == errno.ESTALE
        else:
            assert answer.fh == number
            held.opens += 1

    @rule(
        pick=st.integers(0, 99),
        pieces=st.lists(
            st.tuples(st.integers(0, 99), st.integers(0, 4 * B), st.sampled_from([1, 4096, B, 2 * B, 4 * B])),
            min_size=1,
            max_size=6,
        ),
        ends=st.lists(st.tuples(st.integers(0, 99), endings), max_size=6),
    )
    def read(self, pick: int, pieces: list[tuple[int, int, int]], ends: list[tuple[int, str]]) -> None:
        """Begin some reads of what is open, and let some requests to the store end."""
        steps["read"] += 1
        if not self._opened():
            self._walk(pick)
        numbers = self._opened()
        for which, offset, length in pieces if numbers else []:
            read = Read(numbers[which % len(numbers)], offset, length, len(self.failures))
            self.reads.append(read)
            self.portal.call(self._begin, read)
            self.every_answer_is_right()
        for which, how in ends:
            self.portal.call(self._let_end, [which], FAILURES.get(how))

    async def _begin(self, read: Read) -> None:
        async def run() -> None:
            try:
                handle = FileHandleT(read.number)
                read.answer = bytes(await self.parts.operations.read(handle, read.offset, read.length))
            except pyfuse3.FUSEError as error:
                read.answer = error.errno

        self.portal.nursery.start_soon(run)
        await trio.lowlevel.checkpoint()

    @precondition(lambda self: self.fetches)
    @rule(picks=st.lists(st.integers(0, 99), min_size=1, max_size=4), how=endings)
    def let_fetches_end(self, picks: list[int], how: str) -> None:
        """Let some requests to the store end, in any order, well or badly."""
        steps["let fetches end"] += 1
        self.portal.call(self._let_end, picks, FAILURES.get(how))

    async def _let_end(self, picks: list[int], failure: type[Exception] | None) -> None:
        for pick in picks:
            if self.fetches:
                fetch = self.fetches.pop(pick % len(self.fetches))
                fetch.fails = failure
                fetch.may_end.set()
        await trio.lowlevel.checkpoint()

    @precondition(lambda self: self._idle())
    @rule(pick=st.integers(0, 99))
    def release(self, pick: int) -> None:
        """Close a handle on which no read is on its way."""
        steps["release"] += 1
        numbers = self._idle()
        number = numbers[pick % len(numbers)]
        self.portal.call(self.parts.operations.release, FileHandleT(number))
        self.held[number].opens -= 1

    # what holds after each step

    @invariant()
    def every_answer_is_right(self) -> None:
        """Check what has come back: an inode reads its own version's bytes, or says why not."""
        for read in [read for read in self.reads if read.answer is not None]:
            self.reads.remove(read)
            held = self.held[read.number]
            assert held.version is not None
            if isinstance(read.answer, bytes):
                whole = self.model.bytes_of[held.path, held.version]
                assert read.answer == whole[read.offset : read.offset + read.length]
            else:
                # a second look at a page is told what the READ before it was (see Streamer)
                since = 0 if read.length <= PAGE_BYTES else read.known_failures
                assert (held.path, held.version, read.answer) in self.failures[since:]

    @invariant()
    def every_count_is_right(self) -> None:
        """Check lookup counts, open files and the cache's budget."""
        operations = self.parts.operations
        for number, held in self.held.items():
            inode = operations.inodes.get(InodeT(number))
            assert inode is not None
            assert number == ROOT or inode.lookups == held.lookups
        assert len(operations.inodes) == len(self.held)
        assert operations.open_files == sum(held.opens for held in self.held.values())
        assert operations.files.streamers.keys() == set(self._opened())
        check_cache(self.parts.cache)

    def teardown(self) -> None:
        """Let everything end: no read may be left waiting, and no lookup, handle or byte may be left over."""
        if not hasattr(self, "parts"):
            return
        try:
            for _ in range(10_000):
                if not self.fetches:
                    break
                self.portal.call(self._let_end, [0] * len(self.fetches), None)
            self.every_answer_is_right()
            assert not self.reads, "a read was never answered"
            check_cache_at_rest(self.parts.cache)
            self._forget_everything()
        finally:
            self.patch.undo()
            self.portal.close()

    def _forget_everything(self) -> None:
        for number, held in self.held.items():
            for _ in range(held.opens):
                self.portal.call(self.parts.operations.release, FileHandleT(number))
        counts = [(InodeT(number), held.lookups) for number, held in self.held.items()]
        self.portal.call(self.parts.operations.forget, counts)
        assert len(self.parts.operations.inodes) == 1
        assert not self.parts.operations.files.streamers
        assert not self.parts.cache._unread, "what nobody has open may be evicted first"
