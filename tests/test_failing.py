"""Which reads fail now, and when that is worth telling."""

import trio
from trio.testing import MockClock

from modelfs.errors import StoreUnavailableError
from modelfs.failing import FOR_LONG_S, Failing, FailingReads

ERROR = StoreUnavailableError("the store is away")


async def test_read_that_fails_for_long_is_a_reason_until_it_ends(autojump_clock: MockClock) -> None:  # noqa: ARG001  its presence is what counts
    reads = FailingReads()
    assert reads.now() == Failing()
    with reads.watch() as note:
        assert reads.now().reads == 0, "a read that has not failed yet"
        note(ERROR)
        await trio.sleep(FOR_LONG_S - 1)
        note(ERROR)
        now = reads.now()
        assert (now.reads, now.for_s, now.error, now.reason) == (1, FOR_LONG_S - 1, "the store is away", "")
        await trio.sleep(2)
        assert reads.now().reason == "reads have been failing for 31 s: the store is away"
    assert reads.now() == Failing()
    assert (reads.now().reason, reads.now().since) == ("", 0.0)


async def test_the_first_of_those_that_still_fail_counts(autojump_clock: MockClock) -> None:  # noqa: ARG001  its presence is what counts
    reads = FailingReads()
    with reads.watch() as second:
        with reads.watch() as first:
            first(ERROR)
            await trio.sleep(10)
            second(ERROR)
            await trio.sleep(10)
            assert (reads.now().reads, reads.now().for_s) == (2, 20)
        assert (reads.now().reads, reads.now().for_s) == (1, 10)
