"""Spans: cuts and prefixes that leave nothing out and take nothing twice."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from modelfs.blocks import ObjectInfo
from modelfs.spans import Cut, Order, cut_off, cuts_of, order, prefixes, spans

names = st.text(st.sampled_from("ab\udc80\U0001f600\uffff!~"), min_size=1, max_size=5)


def infos(*keys: str) -> list[ObjectInfo]:
    return [ObjectInfo(key, 0, "v", 0) for key in keys]


@given(st.sets(names, min_size=2, max_size=60), st.integers(1, 7), st.integers(1, 9), st.integers(1, 4))
def test_each_page_is_in_exactly_one_span_and_none_is_much_longer(
    keys: set[str], page_size: int, most: int, least: int
) -> None:
    ordered = sorted(keys, key=order)
    pages = [ordered[start : start + page_size] for start in range(0, len(ordered), page_size)]
    found = spans(cuts_of([(page[0], page[-1]) for page in pages]), most=most, pages_least=least)
    assert len(found) <= most
    assert found[0][0] is found[-1][1] is None
    assert all(end == begin for (_, end), (begin, _) in pairwise(found))
    firsts = [page[0] for page in pages]
    ends = [0, *(firsts.index(cut.first) for _, cut in found if cut), len(pages)]
    lengths = [stop - start for start, stop in pairwise(ends)]
    assert max(lengths) - min(lengths) <= 1


@given(st.dictionaries(names.map("{}/".format), st.integers(1, 50), max_size=60), st.integers(1, 40))
def test_each_folder_begins_with_exactly_one_prefix(weights: dict[str, int], most: int) -> None:
    found = prefixes(weights, most=most)
    assert found == sorted(set(found), key=order)
    assert len(found) <= most
    if found:
        for folder in weights:
            assert len([start for start in found if folder.startswith(start)]) == 1


def test_models_with_numbers_are_parted_by_their_first_digits() -> None:
    weights = {f"model_{number:04d}/": 100 for number in range(1000)}
    assert prefixes(weights, most=16) == [f"model_0{digit}" for digit in range(10)]


def test_one_large_folder_among_small_ones_stands_alone() -> None:
    weights = {f"m{number}/": 1 for number in range(9)} | {"large/": 1000}
    assert "large/" in prefixes(weights, most=16)


def test_page_in_order_and_within_is_kept_and_any_other_is_not() -> None:
    for keys, is_kept in (
        (("c", "d"), True),
        (("d", "c"), False),
        (("c", "c"), False),
        (("b", "c"), False),  # the last key before the span
        (("c", "x"), False),  # the first behind it
        (("\U0001f600",), False),
    ):
        watching = Order(Cut("b", "c"), Cut("w", "x"))
        watching.watch(infos(*keys))
        assert watching.is_kept is is_kept, keys
    watching = Order()
    for page in (infos("a", "b"), infos(), infos("c")):
        watching.watch(page)
    assert (watching.is_kept, watching.pages) == (True, [("a", "b"), ("c", "c")])
    watching.watch(infos("b"))
    assert not watching.is_kept


def test_order_is_that_of_bytes_and_not_of_python() -> None:
    keys = ["\udc80", "é"]  # a single byte that is no UTF-8, and two that are
    assert sorted(keys, key=order) == keys == sorted(keys, reverse=True)


def test_what_lies_behind_the_end_is_cut_off_and_the_end_is_seen() -> None:
    page = infos("a", "c", "e")
    assert cut_off(page, None) == (page, False)
    assert cut_off(page, Cut("e", "f")) == (page, True)
    assert cut_off(page, Cut("d", "e")) == (page[:2], True)
    assert cut_off(page, Cut("g", "h")) == (page, False)
    assert cut_off([], Cut("g", "h")) == ([], False)
