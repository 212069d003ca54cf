"""R3: what was shown is withdrawn only when two complete listings in a row lack it."""

from hypothesis import given, settings
from hypothesis import strategies as st

from modelfs.blocks import ObjectInfo
from modelfs.gate import Gate, Models

PROPERTY = settings(deadline=None)
KEYS = ("a", "b", "m/a", "m/b", "n/a", "m-2/a")
listings = st.lists(st.dictionaries(st.sampled_from(KEYS), st.sampled_from(["v1", "v2"])), max_size=8)


def infos(listing: dict[str, str]) -> list[ObjectInfo]:
    return [ObjectInfo(key, 1, version, 0) for key, version in listing.items()]


def all_of(models: Models) -> list[ObjectInfo]:
    return [info for objects in models.values() for info in objects.values()]


def keys_of(models: Models) -> list[str]:
    return sorted(info.key for info in all_of(models))


@PROPERTY
@given(listings)
def test_what_is_shown_is_what_the_last_two_listings_hold(history: list[dict[str, str]]) -> None:
    gate = Gate()
    for number, listing in enumerate(history):
        shown = {info.key: info.version for info in all_of(gate.admit(infos(listing)))}
        before = history[number - 1] if number else {}
        # two in a row: the last listing decides for what it holds, the one before for what the last one lacks
        assert shown == {**before, **listing}
        assert gate.missing == before.keys() - listing.keys()


steps = st.lists(
    st.tuples(
        st.sampled_from(["all", "early", "m", "n", "m-2"]),
        st.dictionaries(st.sampled_from(KEYS), st.sampled_from(["v1", "v2"])),
    ),
    max_size=12,
)


@PROPERTY
@given(steps)
def test_a_key_goes_by_two_regular_listings_with_none_that_has_it_in_between(
    history: list[tuple[str, dict[str, str]]],
) -> None:
    gate = Gate()
    counts: dict[str, str] = {}
    missed: set[str] = set()
    for what, stored in history:
        found = {key: stored[key] for key in stored if what in {"all", "early"} or key.startswith(f"{what}/")}
        gone = {key for key in counts if key not in found} if what == "all" else set()
        counts = {**{key: version for key, version in counts.items() if key not in gone & missed}, **found}
        missed = gone - missed if what == "all" else missed - found.keys()
        if what in {"all", "early"}:
            gate.admit(infos(found), may_withdraw=what == "all")
        else:
            admitted = gate.admit_model(what, infos(found))
            assert {info.key for info in admitted.values()} == {key for key in counts if key.startswith(f"{what}/")}
        assert {info.key: info.version for info in all_of(gate.listed)} == counts
        assert gate.missing == missed
        assert all(gate.find(key) is not None for key in counts)


def test_a_model_of_which_nothing_changed_stays_the_same_mapping_when_it_is_listed_alone() -> None:
    gate = Gate()
    before = gate.admit(infos({"m/a": "v1", "n/a": "v1"}))
    assert gate.admit_model("m", infos({"m/a": "v1"})) is before["m"]
    assert gate.admit_model("m", []) is before["m"]
    assert gate.admit_model("absent", []) == {}
    assert gate.listed is before
    assert gate.admit_model("m", infos({"m/b": "v1"})).keys() == {"m/a", "m/b"}
    assert before["m"].keys() == {"m/a"}
    assert gate.listed["n"] is before["n"]


def test_a_models_own_marker_that_its_listing_alone_lacks_is_not_lacking_but_goes_by_two_of_all() -> None:
    gate = Gate()
    gate.admit(infos({"m/": "v1", "m/a": "v1"}))
    assert gate.admit_model("m", infos({"m/a": "v1"})).keys() == {"m/", "m/a"}
    assert gate.lacking == {}
    gate.admit(infos({"m/a": "v1"}))
    assert gate.lacking == {"m": {"m/"}}
    gate.admit_model("m", infos({"m/a": "v1"}))
    assert gate.admit(infos({"m/a": "v1"}))["m"].keys() == {"m/a"}


def test_an_empty_listing_empties_nothing_on_its_own_word() -> None:
    gate = Gate()
    gate.admit(infos({"a": "v1", "b": "v1"}))
    assert keys_of(gate.admit([])) == ["a", "b"]
    assert gate.admit([]) == {}


def test_a_key_that_comes_and_goes_stays_shown() -> None:
    gate = Gate()
    for listing in [{"a": "v1"}, {}] * 10:
        assert keys_of(gate.admit(infos(listing))) == ["a"]


def test_a_key_listed_twice_is_shown_once() -> None:
    assert all_of(Gate().admit(infos({"a": "v1"}) + infos({"a": "v2"}))) == infos({"a": "v2"})


def test_what_did_not_change_is_the_same_object_so_one_listing_is_in_memory_not_two() -> None:
    gate = Gate()
    first = gate.admit(infos({"m/a": "v1", "m/b": "v1", "n/a": "v1"}))
    again = gate.admit(infos({"m/a": "v1", "m/b": "v2", "n/a": "v1"}))
    assert again["m"]["m/a"] is first["m"]["m/a"]
    assert again["m"]["m/b"] == infos({"m/b": "v2"})[0]
    assert again["n"] is first["n"]


def test_an_early_listing_shows_what_is_new_and_is_no_witness_of_what_is_gone() -> None:
    gate = Gate()
    a, b, c = (ObjectInfo(key, 1, "v1", 0) for key in "abc")
    gate.admit([a, b])
    assert keys_of(gate.admit([a], may_withdraw=False)) == ["a", "b"]
    assert keys_of(gate.admit([a, c], may_withdraw=False)) == ["a", "b", "c"]
    assert keys_of(gate.admit([a, c])) == ["a", "b", "c"]
    assert keys_of(gate.admit([a, c], may_withdraw=False)) == ["a", "b", "c"]
    assert keys_of(gate.admit([a, c])) == ["a", "c"]
