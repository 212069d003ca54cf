"""R11 for any puts, overwrites and deletes, in any order and with any pauses, against a model that is dumb."""

from itertools import accumulate, chain, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from settling_for_tests import ONNX, SETTLE_S, infos_of, settled, shown

from modelfs.gate import Gate

PROPERTY = settings(deadline=None, max_examples=200)

FILES = ("model.onnx", "a", "b")
stores = st.dictionaries(st.sampled_from(FILES), st.sampled_from(["v1", "v2"]), max_size=3)
steps = st.lists(st.tuples(stores, st.sampled_from([1.0, 4.0, 11.0]), st.sampled_from([0.0, 2.0])), max_size=10)


def dumb(history: list[tuple[float, float, dict[str, str]]]) -> dict[str, str]:
    """Return what of one version with a settled config should be shown after ``history`` (begin, end, content).

    The last content that was whole and stood unchanged from the end of one listing to the begin of another, 10 s
    later; unless the version has vanished since, or was left without its model file for good.
    """
    shown_now: dict[str, str] = {}
    for last, (began_s, _, content) in enumerate(history):
        first = last
        while first and history[first - 1][2] == content:
            first -= 1
        is_settled = began_s - history[first][1] >= SETTLE_S or content == shown_now
        if not content or (is_settled and "model.onnx" in content):
            shown_now = content
        elif is_settled and shown_now.keys() - content.keys():
            shown_now = {}
    return shown_now


@PROPERTY
@given(steps)
def test_what_a_version_shows_is_what_a_dumb_model_says(told: list[tuple[dict[str, str], float, float]]) -> None:
    repository = settled({"m/config.pbtxt": ONNX})
    history: list[tuple[float, float, dict[str, str]]] = []
    now_s = 0.0
    for stored, pause_s, taking_s in told:
        now_s += pause_s
        listing = {"m/config.pbtxt": ONNX, **{f"m/1/{name}": version for name, version in stored.items()}}
        found = repository.listed(listing, now_s, taking_s=taking_s)
        history.append((now_s, now_s + taking_s, dict(stored)))
        now_s += taking_s
        assert {key[4:]: version for key, version in found.items() if key.startswith("m/1/")} == dumb(history)


KEYS = ("m/config.pbtxt", "m/labels", "m/1/model.onnx", "m/1/a", "m/2/model.onnx", "m/2/a")
VERSIONS = [ONNX, f"{ONNX} "]  # each is a config, where it is the content of one
publications = st.lists(
    st.tuples(st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VERSIONS)), st.sampled_from([1.0, 11.0])),
    min_size=1,
    max_size=8,
)


@PROPERTY
@given(publications)
def test_whatever_is_put_no_part_is_shown_and_all_is_shown_in_the_end(
    told: list[tuple[dict[str, str], float]],
) -> None:
    repository = settled({})
    seen: set[frozenset[tuple[str, str]]] = {frozenset()}  # of each group, every content that was ever listed
    now_s = 0.0
    before: set[str] = set()
    for stored, pause_s in told:
        now_s += pause_s
        found = repository.listed(stored, now_s)
        for content in (stored, found):
            groups = [frozenset(pair for pair in content.items() if pair[0][2] == digit) for digit in "12"]
            assert content is stored or seen.issuperset(groups)
            seen.update(groups)
        for version in "12":
            assert f"m/{version}/a" not in found or f"m/{version}/model.onnx" in found
        if "m/config.pbtxt" in found.keys() - before:
            assert {"m/1/model.onnx", "m/2/model.onnx"} & found.keys()
        before = set(found)
    stored = told[-1][0]
    found = repository.listed(stored, now_s + SETTLE_S)
    whole = {key for key in stored if key.replace("/a", "/model.onnx") in stored}
    assert {key for key in found if key[2].isdigit()} == {key for key in whole if key[2].isdigit()}
    assert all(found[key] == stored[key] for key in whole if key[2].isdigit())


@PROPERTY
@given(publications)
def test_what_is_pending_is_told_with_a_reason_and_ends(told: list[tuple[dict[str, str], float]]) -> None:
    repository = settled({})
    moments = [0.0]
    for stored, pause_s in told:
        moments.append(moments[-1] + pause_s)
        found = repository.listed(stored, moments[-1])
        assert all(repository.reasons().values())
        assert (found == stored) or repository.reasons()
        settles_s = repository.settling.settles_s
        assert settles_s is None or moments[-1] < settles_s <= moments[-1] + SETTLE_S
    assert all(later > earlier for earlier, later in pairwise(moments))
    repository.listed(told[-1][0], moments[-1] + SETTLE_S)
    assert repository.settling.settles_s is None


REFRESH_S = 15.0
GOING = ("config.pbtxt", "1/a", "1/model.onnx", "2/model.onnx", "10/a", "10/b", "10/model.onnx")
pauses = st.lists(st.floats(0, 0.9 * SETTLE_S), min_size=len(GOING), max_size=len(GOING))


@PROPERTY
@given(st.permutations(GOING), pauses, st.lists(st.floats(0.9, 1.1), min_size=20, max_size=20))
def test_r11_a_model_that_is_deleted_key_by_key_goes_as_a_whole(
    order: list[str], pauses_s: list[float], jitters: list[float]
) -> None:
    """In any order, with pauses shorter than the settling time; listings come as by the default settings."""
    keys = [f"m/{path}" for path in order]
    stored = dict.fromkeys(keys, ONNX)
    moments = dict(zip(keys, accumulate(pauses_s), strict=True))
    repository, gate = settled(stored), Gate()
    gate.admit(infos_of(stored))
    due_s = 0.0
    for jitter in jitters:
        due_s += REFRESH_S * jitter
        early_s = repository.settling.settles_s
        for at_s in [due_s] if early_s is None or early_s >= due_s else [early_s, due_s]:
            left = {key: stored[key] for key in stored if moments[key] > at_s}
            counting = gate.admit(infos_of(left), may_withdraw=at_s == due_s)
            found = repository.missed(
                dict.fromkeys(chain.from_iterable(counting.values()), ONNX),
                list(chain.from_iterable(gate.lacking.values())),
                at_s,
            )
            assert found in (shown(stored), {})
    assert found == {}
    assert repository.settling.pending == []


MODELS = ("m", "n", "m-2")
keys = st.sampled_from([f"{model}/{name}" for model in MODELS for name in ("config.pbtxt", "1/model.onnx", "1/a", "x")])
listings = st.lists(
    st.tuples(
        st.sampled_from(["all", *MODELS]),
        st.dictionaries(keys, st.sampled_from(VERSIONS)),
        st.sampled_from([0.5, 3.0, 11.0]),
        st.sampled_from([0.0, 2.0]),
    ),
    max_size=12,
)


@PROPERTY
@given(listings)
def test_a_model_is_judged_by_its_own_listings_whether_it_is_listed_alone_or_with_all(
    history: list[tuple[str, dict[str, str], float, float]],
) -> None:
    """One repository with all models, and beside it one for each model that only ever hears of that one."""
    together = settled({})
    apart = {model: settled({}) for model in MODELS}
    seen: dict[str, dict[str, str]] = {model: {} for model in MODELS}
    now_s = 0.0
    for what, stored, pause_s, taking_s in history:
        now_s += pause_s
        parts = {model: {key: stored[key] for key in stored if key.startswith(f"{model}/")} for model in MODELS}
        for model in MODELS if what == "all" else (what,):
            seen[model] = apart[model].listed(parts[model], now_s, taking_s=taking_s)
        if what == "all":
            found = together.listed(stored, now_s, taking_s=taking_s)
            assert found == {key: version for each in seen.values() for key, version in each.items()}
        else:
            assert together.listed_alone(what, parts[what], now_s, taking_s=taking_s) == seen[what]
        now_s += taking_s
        reasons = {folder: reason for each in apart.values() for folder, reason in each.reasons().items()}
        assert together.reasons() == reasons
        ends = [each.settling.settles_s for each in apart.values() if each.settling.settles_s is not None]
        assert together.settling.settles_s == min(ends, default=None)


@PROPERTY
@given(listings, st.dictionaries(keys, st.sampled_from(VERSIONS)))
def test_what_was_listed_alone_in_between_makes_no_difference_in_the_end(
    history: list[tuple[str, dict[str, str], float, float]], last: dict[str, str]
) -> None:
    mixed, plain = settled({}), settled({})
    now_s = 0.0
    for what, stored, pause_s, _ in history:
        now_s += pause_s
        if what == "all":
            mixed.listed(stored, now_s)
            plain.listed(stored, now_s)
        else:
            mixed.listed_alone(what, {key: stored[key] for key in stored if key.startswith(f"{what}/")}, now_s)
    for repository in (mixed, plain):
        repository.listed(last, now_s + 1)
    assert shown_whole(mixed.listed(last, now_s + 200)) == shown_whole(plain.listed(last, now_s + 200))


def shown_whole(found: dict[str, str]) -> dict[str, str]:
    """Return what is shown of models that have a whole version: of others what was shown before decides."""
    return {key: found[key] for key in found if f"{key.partition('/')[0]}/1/model.onnx" in found}
