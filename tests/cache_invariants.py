"""What must hold of a BlockCache between any two steps, restated in code."""

from modelfs.cache import BlockCache


def check_cache(cache: BlockCache) -> None:
    """Check that the budget is exact, and that the table and the queues tell of the same extents."""
    extents = set(cache._table.values())
    assert cache._used_bytes == sum(extent.length for extent in extents)
    assert cache._used_bytes <= cache._peak_bytes <= cache._budget_bytes
    for (identity, index), extent in cache._table.items():
        assert identity == (extent.info.key, extent.info.version)
        assert index in extent.blocks
    landed = {extent for extent in extents if extent.landed.is_set()}
    assert landed == set(cache._unread) | set(cache._read)
    assert extents - landed == cache._loading
    assert not set(cache._unread) & set(cache._read)
    assert all(extent.data is not None and len(extent.data) == extent.length for extent in landed)


def check_cache_at_rest(cache: BlockCache) -> None:
    """Check what must hold when nobody reads: no waiter is left."""
    check_cache(cache)
    assert all(extent.waiters == 0 for extent in cache._table.values())
    assert not cache.statistics().waiting_for_room
