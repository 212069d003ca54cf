"""The mount that the reference machine drives: the store's doings, the mount's own listings, and how both are begun.

Law: as of ``machine``, of which this is the half that knows no inode. What a listing shows is checked here.
"""

import errno
from collections import Counter
from typing import Any

import pyfuse3
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from operations_for_tests import Mounted, assemble, reply_to_page
from reference.model import FOLDER, Model, names_in
from reference.portal import Portal
from reference.times import check_times, content
from reference.world import KEYS, SIZES, Fetch, Held, ListedStore, Listing, Read, data_of

from modelfs.blocks import BLOCK_BYTES, ObjectInfo
from modelfs.connections import Ticket
from modelfs.errors import ModelfsError, StoreRefusedError
from modelfs.tree import Tree

B = BLOCK_BYTES
ROOT = pyfuse3.ROOT_INODE

steps: Counter[str] = Counter()
"""How many steps were taken in this process, by rule."""


class MountedStore(RuleBasedStateMachine):
    """The rules of the store and of its listings. See the module."""

    @initialize(
        budget_blocks=st.sampled_from([1, 2, 3, 6, 40]),
        window_blocks=st.sampled_from([0, 4, 64]),
        sizes=st.lists(st.sampled_from(SIZES), max_size=8),
    )
    def mount(self, budget_blocks: int, window_blocks: int, sizes: list[int]) -> None:
        """Begin with a store of some of the first keys, and a mount of it."""
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr("modelfs.operations.pyfuse3.readdir_reply", reply_to_page)
        self.patch.setattr("modelfs.withdrawn.ANSWERED_S", 0.0)  # the model knows no time
        self.model = Model()
        self.store = ListedStore()
        self.fetches: list[Fetch] = []
        self.failures: list[tuple[str, str, int]] = []  # key, version, errno
        self.held: dict[int, Held] = {ROOT: Held("", None)}
        self.reads: list[Read] = []
        self.listings: list[Listing] = []
        self.number_of: dict[tuple[str, str | None], int] = {("", None): ROOT}
        self.portal = Portal()
        self.parts: Mounted = self.portal.call(self._assemble, budget_blocks * B, window_blocks * B)
        for key, size in zip(KEYS, sizes, strict=False):
            self._put(key, data_of(0, size))
        self._refresh()

    async def _assemble(self, budget_bytes: int, window_bytes: int) -> Mounted:
        nursery = self.portal.nursery
        return assemble(self.store, nursery, fetch=self._fetch, budget_bytes=budget_bytes, window_bytes=window_bytes)

    async def _fetch(self, info: ObjectInfo, offset: int, length: int, ticket: Ticket) -> memoryview:
        fetch = Fetch(info)
        self.fetches.append(fetch)
        try:
            async with ticket:
                await fetch.may_end.wait()
                return self._end(fetch, offset, length)
        except Exception as error:
            number = error.errno if isinstance(error, ModelfsError) else errno.EIO
            self.failures.append((info.key, info.version, number))
            raise

    def _end(self, fetch: Fetch, offset: int, length: int) -> memoryview:
        if fetch.fails:
            raise fetch.fails("on purpose")
        return self.store.read(fetch.info, offset, length)

    # the store

    @rule(
        key=st.sampled_from(KEYS),
        replace=st.none() | st.integers(0, 99),
        data=st.tuples(st.integers(0, 2), st.sampled_from(SIZES)),
        mtime_ns=st.none() | st.sampled_from([0, 1_600_000_000_000_000_000, 1_800_000_000_000_000_000]),
        then=st.sampled_from(["nothing", "refresh"]),
    )
    def put(self, key: str, replace: int | None, data: tuple[int, int], mtime_ns: int | None, then: str) -> None:
        """Store an object, as a rule over another, also dated before it."""
        steps["put"] += 1
        if replace is not None and self.model.stored:
            key = sorted(self.model.stored)[replace % len(self.model.stored)]
        self._put(key, data_of(*data), mtime_ns)
        if then == "refresh":
            self._refresh()

    def _put(self, key: str, data: bytes, mtime_ns: int | None = None) -> None:
        info = self.store.put(key, data, mtime_ns=mtime_ns)
        self.model.put(info, data)

    @precondition(lambda self: self.model.stored)
    @rule(pick=st.integers(0, 99))
    def delete(self, pick: int) -> None:
        """Delete an object."""
        steps["delete"] += 1
        self._delete(pick)

    def _delete(self, pick: int) -> None:
        keys = sorted(self.model.stored)
        key = keys[pick % len(keys)]
        self.store.delete(key)
        self.model.delete(key)

    # the mount's own listings

    @rule()
    def refresh(self) -> None:
        """List, and show it."""
        steps["refresh"] += 1
        self._refresh()

    @rule(pick=st.integers(0, 99))
    def refresh_model(self, pick: int) -> None:
        """List one folder of the root alone, and show it."""
        steps["refresh model"] += 1
        names = sorted({key.partition("/")[0] for key in [*self.model.stored, *self.model.shown] if "/" in key} - {""})
        if names:
            name = names[pick % len(names)]
            before = self.parts.view.tree
            self.portal.call(self.parts.view.refresh_model, name)
            self.model.listed_alone(f"{name}/", self.store.told)
            self._check_shown(before)

    @rule(fail_at=st.integers(1, 4), pick=st.integers(0, 99), key=st.sampled_from(KEYS))
    def refresh_badly(self, fail_at: int, pick: int, key: str) -> None:
        """List while the store changes between two pages, or fails on one."""
        steps["refresh badly"] += 1
        page = 0

        def act(kind: str, _info: ObjectInfo | None) -> None:
            nonlocal page
            assert kind == "list"
            page += 1
            if page == fail_at:
                self._spoil(pick, key)

        self.store.fail = act
        try:
            self._refresh()
        except StoreRefusedError:
            assert pick % 3 == 0
        finally:
            self.store.fail = None

    def _spoil(self, pick: int, key: str) -> None:
        """Do one of three things in the middle of a listing."""
        kind = pick % 3
        if kind == 0:
            raise StoreRefusedError("a bad page")
        if kind == 1:
            self._put(key, data_of(pick % 7, 5))
        elif self.model.stored:
            self._delete(pick)

    def _refresh(self) -> None:
        before = self.parts.view.tree
        try:
            self.portal.call(self.parts.view.refresh)
        except StoreRefusedError:
            assert self.parts.view.tree is before
            raise
        self.model.listed(self.store.told)
        self._check_shown(before)

    def _check_shown(self, before: Tree) -> None:
        after = self.parts.view.tree
        expected = self.model.paths()
        assert {path: key and key[0] for path, key in content(after).items()} == expected
        for path, key in expected.items():
            if key is not FOLDER:
                assert content(after)[path] == (key, self.model.shown[key].version)
        if self.parts.view.health().listings > 1:
            check_times(before, after)
        for listing in self.listings:
            folder = self.held[listing.number].path
            now = names_in(expected, folder) if expected.get(folder, "") is FOLDER else set()
            listing.stayed &= now
            listing.ever |= now

    # choosing

    def _pick(self, pick: int, *, files: bool = False) -> int:
        """Return the number of something held; of a file, if there is one and ``files``, mostly."""
        numbers = sorted(self.held, key=lambda number: (self.held[number].path, self.held[number].version or ""))
        of_files = [number for number in numbers if self.held[number].version is not None]
        if files and of_files and pick % 5:
            numbers = of_files
        return numbers[pick % len(numbers)]

    def _opened(self) -> list[int]:
        return sorted(number for number, held in self.held.items() if held.opens)

    def _idle(self) -> list[int]:
        busy = {read.number for read in self.reads}
        return [number for number in self._opened() if number not in busy]

    def _answer(self, handler: Any, *arguments: Any) -> Any:
        """Return what a handler answers: its result, or an errno."""
        try:
            return self.portal.call(handler, *arguments)
        except pyfuse3.FUSEError as error:
            return error.errno
