"""Listings: one for all the mounts of a machine that would get the same, and whose word counts for what vanished."""

from pathlib import Path

import pytest
import trio
from stores.memory_store import MemoryStore

from modelfs.blocks import ObjectInfo
from modelfs.errors import AccessRefusedError
from modelfs.listings import Listings
from modelfs.sharing import Sharing
from modelfs.store import RetryPolicy
from modelfs.view import View

POLICY = RetryPolicy(deadline_s=30, first_pause_s=0.001, longest_pause_s=0.002)


class Mount:
    """A view with what it lists by. ``period_s`` 0 lets every listing be a witness."""

    def __init__(self, store: MemoryStore, root: Path, *, who: str = "key", period_s: float = 0.0) -> None:
        limiter = trio.CapacityLimiter(2)
        self.sharing = Sharing(str(root), lambda: [who])
        self.listings = Listings(store, policy=POLICY, limiter=limiter, period_s=period_s, sharing=self.sharing)
        self.view = View(store, policy=POLICY, limiter=limiter, show_hidden=False, listings=self.listings)

    async def refresh(self) -> set[str]:
        """Look for another's listing, refresh, and return what is shown then."""
        await self.listings.has_news()
        await self.view.refresh()
        return set(self.view.tree.root.children)


async def acquainted(store: MemoryStore, root: Path, number: int, *, period_s: float = 0.0) -> list[Mount]:
    """Return mounts that know of each other; the first leads."""
    mounts = [Mount(store, root, period_s=period_s) for _ in range(number)]
    for _ in range(2):
        for mount in mounts:
            await mount.refresh()
    assert [mount.listings.is_following for mount in mounts] == [False] + [True] * (number - 1)
    return mounts


def filled(*keys: str) -> MemoryStore:
    store = MemoryStore()
    for key in keys:
        store.put(key, key.encode())
    return store


async def test_all_mounts_cost_one_listing_a_round_and_show_the_same(tmp_path: Path) -> None:
    store = filled("a", "b")
    mounts = await acquainted(store, tmp_path, 3)
    before = store.listings
    for number in range(5):
        store.put(f"new{number}", b"x")
        assert [await mount.refresh() for mount in mounts] == [{"a", "b", *(f"new{n}" for n in range(number + 1))}] * 3
    assert store.listings == before + 5
    assert [mount.view.health().is_shared for mount in mounts] == [False, True, True]


async def test_a_mount_lists_for_itself_first_whoever_has_just_listed(tmp_path: Path) -> None:
    store = filled("a")
    await acquainted(store, tmp_path, 2)
    before = store.listings
    assert await Mount(store, tmp_path).refresh() == {"a"}
    assert store.listings == before + 1


async def test_what_is_asked_for_early_is_asked_of_the_store(tmp_path: Path) -> None:
    store = filled("a")
    leader, other = await acquainted(store, tmp_path, 2)
    await leader.refresh()
    store.put("b", b"b")
    before = store.listings
    await other.listings.has_news()
    await other.view.refresh(is_early=True)
    assert store.listings == before + 1
    assert set(other.view.tree.root.children) == {"a", "b"}


async def test_a_listing_older_than_ones_own_changes_nothing(tmp_path: Path) -> None:
    store = filled("a")
    leader, other = await acquainted(store, tmp_path, 2)
    await leader.refresh()
    store.put("b", b"b")
    await other.view.refresh(is_early=True)  # after the leader's
    assert not await other.listings.has_news()
    assert set(other.view.tree.root.children) == {"a", "b"}


async def test_what_vanished_goes_in_all_mounts_with_the_second_listing(tmp_path: Path) -> None:
    store = filled("a", "b")
    mounts = await acquainted(store, tmp_path, 3)
    store.delete("b")
    assert [await mount.refresh() for mount in mounts] == [{"a", "b"}] * 3
    assert [await mount.refresh() for mount in mounts] == [{"a"}] * 3


async def test_listings_that_come_soon_after_each_other_are_one_witness_whoever_made_them(tmp_path: Path) -> None:
    store = filled("a", "b")
    mounts = await acquainted(store, tmp_path, 2, period_s=3600.0)
    store.delete("b")
    for _ in range(3):
        assert [await mount.refresh() for mount in mounts] == [{"a", "b"}] * 2


async def test_who_was_refused_is_given_nothing_until_the_store_lets_it_in_again(tmp_path: Path) -> None:
    store = filled("a")
    leader, other = await acquainted(store, tmp_path, 2)

    def refuse(_kind: str, _info: ObjectInfo | None) -> None:
        raise AccessRefusedError("revoked")

    store.fail = refuse
    with pytest.raises(AccessRefusedError):
        await other.view.refresh(is_early=True)
    store.fail = None
    store.put("b", b"b")
    await leader.refresh()
    assert not await other.listings.has_news()
    store.fail = refuse
    with pytest.raises(AccessRefusedError):
        await other.refresh()
    store.fail = None
    assert await other.refresh() == {"a", "b"}
    await leader.refresh()
    assert await other.listings.has_news()


async def test_when_the_one_that_lists_has_ended_the_next_does(tmp_path: Path) -> None:
    store = filled("a")
    leader, second, third = await acquainted(store, tmp_path, 3)
    await leader.listings.leave()
    store.put("b", b"b")
    before = store.listings
    assert await third.refresh() == {"a", "b"}
    assert await second.refresh() == {"a", "b"}
    assert store.listings == before + 1
    assert (third.listings.is_following, second.listings.is_following) == (False, True)


async def test_mounts_of_other_credentials_list_for_themselves(tmp_path: Path) -> None:
    store = filled("a")
    (leader,) = await acquainted(store, tmp_path, 1)
    other = Mount(store, tmp_path, who="another")
    for _ in range(3):
        await leader.refresh()
        before = store.listings
        await other.refresh()
        assert store.listings == before + 1


async def test_a_model_listed_alone_after_the_other_mounts_listing_is_not_taken_back_by_it(tmp_path: Path) -> None:
    store = filled("m/1/a", "n/1/a")
    leader, other = await acquainted(store, tmp_path, 2)
    await leader.refresh()
    store.put("m/1/a", b"another")
    await other.view.refresh_model("m")
    node = other.view.tree.find("m/1/a")
    assert await other.listings.has_news()  # of the moment before
    await other.view.refresh()
    assert other.view.tree.find("m/1/a") is node
