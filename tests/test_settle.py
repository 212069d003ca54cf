"""R11: a version is shown when it is whole, and until then what was shown before. Time is a number here."""

from itertools import count

import pytest
from settling_for_tests import MODEL, ONNX, PYTHON, SETTLE_S, WALL_NS, Contents, Repository, infos_of, settled, shown


def test_r11_an_upload_in_any_order_shows_at_once_and_whole_when_nothing_changed_for_the_settling_time() -> None:
    files = [("m/1/part-a", "a"), ("m/config.pbtxt", PYTHON), ("m/1/part-b", "b"), ("m/1/model.py", "p")]
    repository = settled({})
    stored: dict[str, str] = {}
    for at_s, (key, content) in zip(count(1, 6), files, strict=False):
        stored[key] = content
        assert repository.listed(stored, at_s) == {}
    assert repository.listed(stored, 28.9) == {}
    assert repository.listed(stored, 29) == shown(stored)


def test_r11_a_model_whose_model_file_comes_last_waits_for_it_however_long_the_pauses_are() -> None:
    repository = settled({})
    stored: dict[str, str] = {"m/config.pbtxt": PYTHON}
    assert repository.listed(stored, 0) == {}
    assert repository.listed(stored, 100) == {}
    assert repository.reasons() == {"m": "no version of it is whole"}
    stored["m/1/weights.bin"] = "w"
    assert repository.listed(stored, 200) == {}
    assert repository.listed(stored, 300) == {}
    assert repository.reasons()["m/1"] == "model.py is missing"
    stored["m/1/model.py"] = "p"
    assert repository.listed(stored, 400) == {}
    assert repository.listed(stored, 410) == shown(stored)


def test_r11_a_config_that_comes_last_is_waited_for_where_triton_needs_one() -> None:
    repository = settled({})
    stored: dict[str, str] = {"m/1/weights.bin": "w"}
    repository.listed(stored, 0)
    assert repository.listed(stored, 99) == {}
    assert "config.pbtxt is missing" in repository.reasons()["m/1"]
    stored["m/config.pbtxt"] = 'default_model_filename: "weights.bin" backend: "x"'
    repository.listed(stored, 200)
    assert repository.listed(stored, 300) == shown(stored)


def test_r11_the_old_objects_of_a_version_are_shown_while_it_is_replaced() -> None:
    repository = settled(MODEL)
    new = {**MODEL, "m/1/model.onnx": "two", "m/1/extra": "x"}
    assert repository.listed({**MODEL, "m/1/model.onnx": "two"}, 10) == shown(MODEL)
    assert repository.listed(new, 15) == shown(MODEL)
    assert repository.listed(new, 24) == shown(MODEL)
    assert repository.settling.settles_s == 25
    assert repository.listed(new, 25) == shown(new)
    assert repository.settling.settles_s is None


def test_r11_the_settling_time_runs_from_the_end_of_one_listing_to_the_begin_of_another() -> None:
    repository = settled({})
    assert repository.listed(MODEL, 10, taking_s=8) == {}
    assert repository.listed(MODEL, 25, taking_s=30) == {}
    assert repository.listed(MODEL, 28) == shown(MODEL)


def test_r11_one_version_does_not_wait_for_another() -> None:
    repository = settled(MODEL)
    two = {**MODEL, "m/2/model.onnx": "two"}
    repository.listed(two, 10)
    three = {**two, "m/3/model.onnx": "three"}
    repository.listed(three, 19)
    assert repository.listed(three, 20) == shown(two)
    assert repository.listed(three, 29) == shown(three)


def test_r11_a_config_waits_for_the_version_that_is_uploaded_with_it() -> None:
    repository = settled(MODEL)
    new: dict[str, str] = {**MODEL, "m/config.pbtxt": ONNX + " "}
    repository.listed(new, 0)
    new["m/2/model.onnx"] = "two"
    repository.listed(new, 9)
    assert repository.listed(new, 12) == shown(MODEL)
    assert repository.listed(new, 19) == shown(new)


def test_r11_a_config_for_which_the_latest_version_lacks_its_file_waits_for_it() -> None:
    repository = settled(MODEL)
    new: dict[str, str] = {**MODEL, "m/config.pbtxt": PYTHON}
    repository.listed(new, 0)
    assert repository.listed(new, 100) == shown(MODEL)
    assert repository.reasons() == {"m": "of its version 1 model.py is missing"}
    new["m/1/model.py"] = "p"
    repository.listed(new, 200)
    assert repository.listed(new, 210) == shown(new)


def test_r11_a_version_that_was_never_finished_holds_up_nothing_else() -> None:
    repository = settled(MODEL)
    new: dict[str, str] = {**MODEL, "m/2/part": "x"}
    repository.listed(new, 0)
    assert repository.listed(new, 100) == shown(MODEL)
    new["m/labels.txt"] = "cat"
    repository.listed(new, 200)
    assert repository.listed(new, 210) == shown({**MODEL, "m/labels.txt": "cat"})


def test_r11_every_shard_that_an_index_names_must_be_there() -> None:
    index = '{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}'
    stored: dict[str, str] = {"m/config.pbtxt": 'backend: "x"', "m/1/hf/model.safetensors.index.json": index}
    stored["m/1/hf/model-1.safetensors"] = "1"
    repository = settled({})
    repository.listed(stored, 0)
    assert repository.listed(stored, 100) == {}
    assert "hf/model-2.safetensors" in repository.reasons()["m/1"]
    stored["m/1/hf/model-2.safetensors"] = "2"
    repository.listed(stored, 200)
    assert repository.listed(stored, 300) == shown(stored)


def test_r11_a_folder_marker_or_a_hidden_file_that_comes_first_shows_no_empty_version() -> None:
    for first in ("m/1/", "m/1/.keep"):
        repository = settled({"m/config.pbtxt": PYTHON, "m/2/model.py": "p"})
        stored = {"m/config.pbtxt": PYTHON, "m/2/model.py": "p", first: ""}
        repository.listed(stored, 10)
        assert first not in repository.listed(stored, 100)


def test_an_ensemble_needs_nothing_in_its_version() -> None:
    stored = {"e/config.pbtxt": "ensemble_scheduling { step [ ] }", "e/1/": ""}
    repository = settled({})
    assert repository.listed(stored, 0) == {}
    assert repository.listed(stored, 10) == shown(stored)


def test_r10_a_new_date_alone_changes_nothing() -> None:
    repository = settled(MODEL)
    repository.date_ns += 10**12
    assert repository.listed(MODEL, 10) == shown(MODEL)
    assert repository.settling.pending == []


def test_a_rollback_to_what_is_shown_ends_the_waiting() -> None:
    repository = settled(MODEL)
    repository.listed({**MODEL, "m/1/model.onnx": "two"}, 10)
    assert repository.listed(MODEL, 11) == shown(MODEL)
    assert repository.settling.pending == []


def test_hidden_objects_neither_start_nor_prolong_the_waiting() -> None:
    repository = settled(MODEL)
    touched = {**MODEL, "m/1/.lock": "1"}
    assert repository.listed(touched, 5) == shown(touched)
    new: dict[str, str] = {**touched, "m/1/model.onnx": "two"}
    repository.listed(new, 10)
    new["m/1/.lock"] = "2"
    repository.listed(new, 15)
    assert repository.listed(new, 20) == shown(new)


def test_files_in_the_root_belong_to_no_model_and_show_at_once() -> None:
    repository = settled({})
    assert repository.listed({"readme": "r"}, 5) == shown({"readme": "r"})


def test_a_folder_that_is_no_model_shows_after_ten_settling_times() -> None:
    repository = settled({})
    stored = {"data/x": "x", "data/y/z": "z"}
    repository.listed(stored, 5)
    assert repository.listed(stored, 104) == {}
    assert repository.reasons() == {"data": "it has neither a config nor a version yet"}
    assert repository.listed(stored, 105) == shown(stored)


def test_numbered_folders_that_are_no_versions_show_after_ten_settling_times() -> None:
    repository = settled({})
    stored = {"data/2026/x.csv": "x", "data/about": "a"}
    repository.listed(stored, 5)
    assert repository.listed(stored, 104) == {}
    assert repository.listed(stored, 105) == {}  # now it is worth asking for uploads below it
    assert repository.settling.settles_s == 15
    assert repository.listed(stored, 106) == shown(stored)
    repository = Repository()
    repository.date_ns = 0
    assert repository.listed(stored, 0) == shown(stored)  # old at the first listing


@pytest.mark.parametrize("change", [{"data/more": "m"}, {"data/about": "b"}], ids=["added", "replaced"])
def test_what_comes_later_into_a_folder_that_is_no_model_shows_after_ten_settling_times(change: Contents) -> None:
    stored = {"data/2026/x.csv": "x", "data/about": "a"}
    repository = settled(stored)
    new = {**stored, **change}
    repository.listed(new, 5)
    assert repository.listed(new, 104) == shown(stored)
    repository.listed(new, 105)  # now it is worth asking for uploads below it
    assert repository.listed(new, 106) == shown(new)


def test_a_config_that_is_deleted_for_good_is_shown_no_longer_than_ten_settling_times() -> None:
    stored = {"m/config.pbtxt": 'backend: "x"', "m/1/weights.bin": "w"}
    repository = settled(stored)
    left = {"m/1/weights.bin": "w"}
    repository.listed(left, 5)
    assert repository.listed(left, 104) == shown(stored)
    assert "config.pbtxt is missing" in repository.reasons()["m"]
    repository.listed(left, 105)
    assert repository.listed(left, 106) == shown(left)


def test_what_is_hidden_in_the_root_is_no_model_and_waits_for_nothing() -> None:
    repository = settled({})
    assert repository.listed({".git/config": "c"}, 5) == shown({".git/config": "c"})
    assert repository.settling.pending == []


# what vanishes


def test_a_version_or_a_model_that_vanishes_as_a_whole_goes_at_once() -> None:
    two = {**MODEL, "m/2/model.onnx": "two", "n/1/model.onnx": "n", "n/config.pbtxt": ONNX}
    repository = settled(two)
    without_n = {key: content for key, content in two.items() if key[0] == "m"}
    assert repository.listed(without_n, 5) == shown(without_n)
    assert repository.listed(MODEL, 6) == shown(MODEL)
    assert repository.listed({}, 7) == {}
    assert repository.settling.pending == []


def test_r11_a_version_that_vanishes_while_the_config_changes_goes_with_the_old_config() -> None:
    """The old one may ask for it."""
    stored = {**MODEL, "m/2/model.onnx": "two", "m/labels": "cat"}
    new = {**stored, "m/config.pbtxt": ONNX + " "}
    del new["m/1/model.onnx"]
    repository = settled(stored)
    assert repository.missed({**new, "m/1/model.onnx": "one"}, {"m/1/model.onnx"}, 10) == shown(stored)
    assert repository.listed(new, 12) == shown(stored)
    assert repository.listed(new, 20) == shown(new)
    repository = settled(stored)
    other = {key: stored[key] for key in new} | {"m/labels": "dog"}
    assert repository.listed(other, 12) == shown({**other, "m/labels": "cat"})


def test_a_folder_that_is_deleted_file_by_file_is_never_seen_in_part() -> None:
    stored = {**MODEL, "m/2/a": "a", "m/2/model.onnx": "two"}
    repository = settled(stored)
    part = {**MODEL, "m/2/model.onnx": "two"}
    assert repository.listed(part, 5) == shown(stored)
    assert repository.listed(MODEL, 6) == shown(MODEL)


def test_r8_a_file_that_is_deleted_for_good_goes_when_the_rest_has_settled() -> None:
    stored = {**MODEL, "m/labels.txt": "cat"}
    repository = settled(stored)
    assert repository.listed(MODEL, 5) == shown(stored)
    assert repository.listed(MODEL, 15) == shown(MODEL)


def test_a_version_whose_model_file_was_deleted_for_good_goes_rather_than_being_unreadable() -> None:
    stored = {**MODEL, "m/2/a": "a", "m/2/model.onnx": "two"}
    repository = settled(stored)
    part = {**MODEL, "m/2/a": "a"}
    assert repository.listed(part, 5) == shown(stored)
    assert repository.listed(part, 15) == shown(MODEL)
    assert repository.reasons() == {"m/2": "model.onnx is missing"}


def test_r11_a_deletion_that_a_listing_cuts_in_two_is_never_seen_in_part() -> None:
    """What one listing has missed is on its way out, also when what went before it has settled."""
    stored = {**MODEL, "m/2/a": "a", "m/2/model.onnx": "two"}
    repository = settled(stored)
    assert repository.missed(stored, {"m/2/a"}, 15) == shown(stored)
    part = {**MODEL, "m/2/model.onnx": "two"}
    assert repository.missed(part, {"m/2/model.onnx"}, 30) == shown(stored)
    assert repository.missed(part, {"m/2/model.onnx"}, 40) == shown(stored)  # early, so it decides nothing
    assert repository.listed(MODEL, 45) == shown(MODEL)
    assert repository.settling.pending == []


def test_r11_a_version_does_not_go_while_the_one_before_it_is_going_too() -> None:
    """Else a server would load a version of which there is only a part."""
    stored = {"m/config.pbtxt": ONNX, **{f"m/{number}/{name}": "x" for number in "12" for name in ("a", "model.onnx")}}
    without_2 = {key: content for key, content in stored.items() if key[2] != "2"}
    for missing in ({"m/1/a"}, {"m/config.pbtxt"}):
        repository = settled(stored)
        assert repository.missed(without_2, missing, 15) == shown(stored)
        assert repository.listed({}, 30) == {}
        assert repository.settling.pending == []
    repository = settled(stored)
    part = {key: content for key, content in without_2.items() if key != "m/1/a"}
    assert repository.listed(part, 15) == shown(stored)
    assert repository.listed(part, 25) == shown(part)
    assert repository.settling.pending == []


def test_a_key_that_one_listing_misses_and_the_next_has_again_moves_nothing() -> None:
    stored = {**MODEL, "m/2/model.onnx": "two"}
    repository = settled(stored)
    assert repository.missed(stored, {"m/2/model.onnx", "m/config.pbtxt"}, 15) == shown(stored)
    assert repository.settling.pending == []
    assert repository.listed(MODEL, 16) == shown(MODEL)


# the first listing


def test_at_the_first_listing_what_is_older_than_the_settling_time_shows_at_once() -> None:
    repository = Repository()
    repository.date_ns = WALL_NS - int(SETTLE_S * 1e9)
    assert repository.listed(MODEL, 1000) == shown(MODEL)
    assert repository.asked == []  # names were enough


def test_at_the_first_listing_what_is_younger_waits_and_so_does_what_was_never_finished() -> None:
    repository = Repository()
    assert repository.listed(MODEL, 1000) == {}
    assert repository.settling.settles_s == 1000 + SETTLE_S
    assert repository.listed(MODEL, 1010) == shown(MODEL)
    repository = Repository()
    repository.date_ns = 0
    stored = {"m/config.pbtxt": PYTHON, "m/1/weights": "w", **{key.replace("m", "n", 1): MODEL[key] for key in MODEL}}
    assert set(repository.listed(stored, 0)) == {"n/config.pbtxt", "n/1/model.onnx"}
    assert repository.settling.settles_s is None


def test_at_the_first_listing_what_was_shown_before_is_settled_whatever_its_date() -> None:
    repository = Repository(MODEL)
    new = {**MODEL, "m/2/model.onnx": "two"}
    assert repository.listed(new, 0) == shown(MODEL)
    assert repository.listed(new, 10) == shown(new)


# seals


def sealed(version: str, files: Contents) -> dict[str, str]:
    """Return the manifest of the files of ``m/VERSION``."""
    told = ", ".join(
        f'"{info.key.split("/", 2)[2]}": {{"size": {info.size}, "version": "{info.version}"}}'
        for info in infos_of(files)
        if info.key.startswith(f"m/{version}/")
    )
    return {f"m/{version}/.modelfs-seal.json": f'{{"format": 1, "files": {{{told}}}}}'}


def test_r11_a_sealed_version_shows_with_the_listing_that_has_its_manifest() -> None:
    repository = settled(MODEL)
    new = {**MODEL, "m/2/part": "x"}
    repository.listed(new, 10)
    with_seal = {**new, **sealed("2", new)}
    assert set(repository.listed(with_seal, 11)) == set(with_seal)


def test_a_seal_brings_a_new_model_with_its_config() -> None:
    repository = settled({})
    repository.listed(MODEL, 1)
    assert set(repository.listed({**MODEL, **sealed("1", MODEL)}, 2)) == {*MODEL, *sealed("1", MODEL)}


def test_a_seal_brings_an_ensemble_whose_version_is_empty() -> None:
    repository = settled({})
    ensemble = {"m/config.pbtxt": 'platform: "ensemble"', "m/1/": ""}
    repository.listed(ensemble, 1)
    with_seal = {**ensemble, **sealed("1", {})}
    assert set(repository.listed(with_seal, 2)) == set(with_seal)


def test_r13_a_file_that_comes_into_a_sealed_version_waits_like_any_other() -> None:
    """It may be the first of an upload that replaces the version, and the old seal knows nothing of it."""
    stored = {**MODEL, **sealed("1", MODEL)}
    repository = settled(stored)
    new: dict[str, str] = {**stored, "m/1/extra": "x"}
    assert repository.listed(new, 10) == shown(stored)
    assert repository.listed(new, 20) == shown(new)


def test_r13_what_a_new_seal_does_not_name_is_not_shown_with_it_also_when_one_listing_alone_lacks_it() -> None:
    old = {**MODEL, "m/1/weights": "w"}
    repository = settled({**old, **sealed("1", old)})
    new = {**MODEL, "m/1/model.onnx": "two"}
    new |= sealed("1", new)
    assert repository.missed({**new, "m/1/weights": "w"}, {"m/1/weights"}, 10) == shown(new)
    assert repository.reasons()["m/1"].startswith("what is not listed any more")
    assert repository.listed(new, 25) == shown(new)
    assert repository.settling.pending == []
    repository = settled(old)
    repository.missed({**new, "m/1/weights": "w"}, {"m/1/weights"}, 10)
    back = {**new, "m/1/weights": "w"}
    assert repository.listed(back, 15) == shown(new)
    assert repository.listed(back, 20) == shown(back)


@pytest.mark.parametrize("change", [{"m/2/part": "y"}, {"m/2/part": "xx"}], ids=["another version", "another size"])
def test_a_manifest_that_tells_of_other_files_seals_nothing(change: Contents) -> None:
    repository = settled(MODEL)
    new = {**MODEL, "m/2/part": "x"}
    assert repository.listed({**new, **sealed("2", new), **change}, 10) == shown(MODEL)


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"format": 2, "files": {"part": {}}}', None])
def test_a_manifest_that_cannot_be_read_or_understood_seals_nothing(text: str | None) -> None:
    repository = settled(MODEL)
    name = "m/2/.modelfs-seal.json"
    repository.unreadable = {name} if text is None else set()
    assert repository.listed({**MODEL, "m/2/model.onnx": "x", name: text or ""}, 10) == shown(MODEL)


# what is read


def test_an_idle_repository_asks_for_no_text() -> None:
    repository = settled(MODEL)
    for at_s in range(10, 100, 10):
        repository.listed(MODEL, at_s)
        assert repository.asked == []


def test_configs_are_read_only_once_something_has_settled() -> None:
    repository = settled({})
    repository.listed(MODEL, 0)
    assert repository.asked == []
    repository.listed(MODEL, 10)
    assert repository.asked == ["m/config.pbtxt"]


def test_a_config_that_cannot_be_read_keeps_the_old_view() -> None:
    repository = settled(MODEL)
    repository.unreadable = {"m/config.pbtxt"}
    new = {**MODEL, "m/2/model.onnx": "two"}
    repository.listed(new, 10)
    assert repository.listed(new, 100) == shown(MODEL)
    assert repository.reasons() == {"m/2": "config.pbtxt cannot be read"}
