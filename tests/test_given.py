"""Given: what a set of indexes would say, in runs."""

from hypothesis import given, settings
from hypothesis import strategies as st

from modelfs.given import Given

PLACES = st.integers(0, 40_000)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), PLACES, st.integers(0, 20_000)), max_size=8),
    PLACES,
    st.integers(0, 20_000),
    st.integers(0, 20),
)
def test_it_is_a_set_of_indexes(changes: list[tuple[bool, int, int]], start: int, length: int, gap: int) -> None:
    subject, model = Given(), set[int]()
    for adds, first, count in changes:
        if adds:
            subject.add(first, first + count)
            model |= set(range(first, first + count))
        else:
            subject.discard(first, first + count)
            model -= set(range(first, first + count))
    for wanted in (True, False):
        expected = next((index for index in range(start, start + length) if (index in model) == wanted), -1)
        assert subject.find(start, start + length, given=wanted) == expected
    assert (start in subject) == (start in model)
    end = next((end for end in range(start, max(-1, start - gap - 1), -1) if end - 1 in model), start)
    begin = end
    while begin - 1 in model:
        begin -= 1
    assert subject.run_before(start, gap=gap) == (begin if begin < end else start)


def test_a_file_that_claims_a_petabyte_costs_what_is_read_of_it() -> None:
    subject = Given()
    subject.add(2**33, 2**33 + 1)
    assert sum(len(part) for part in subject._parts.values()) < 2**20
