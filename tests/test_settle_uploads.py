"""R11: what is whole waits for the uploads below it that have not ended. Time is a number here."""

import json

from settling_for_tests import MODEL, ONNX, PYTHON, WALL_NS, Repository, infos_of, settled, shown

from modelfs.uploads import WHOLE, Upload

TWO = {**MODEL, "m/2/model.onnx": "two"}


def begun(key: str, ago_s: float = 60.0) -> Upload:
    return Upload(key, WALL_NS - int(ago_s * 1e9))


def test_r11_a_settled_version_waits_for_an_upload_below_it_and_tells_why() -> None:
    repository = settled(MODEL)
    repository.uploads = [begun("m/2/model.onnx.data")]
    assert repository.listed(TWO, 10) == shown(MODEL)
    assert repository.listed(TWO, 100) == shown(MODEL)
    assert repository.reasons() == {
        "m/2": "the upload of model.onnx.data that began at 2027-01-15 07:59:00 UTC has not ended"
    }
    assert [each.is_settling for each in repository.settling.pending] == [True]
    repository.uploads = []
    whole = {**TWO, "m/2/model.onnx.data": "data"}
    assert repository.listed(whole, 110) == shown(MODEL)
    assert repository.listed(whole, 120) == shown(whole)


def test_r11_a_version_shows_when_the_upload_below_it_is_given_up() -> None:
    repository = settled(MODEL)
    repository.uploads = [begun("m/2/extra")]
    repository.listed(TWO, 10)
    assert repository.listed(TWO, 20) == shown(MODEL)
    repository.uploads = []
    assert repository.listed(TWO, 21) == shown(TWO)


def test_r11_an_upload_holds_neither_another_version_nor_another_model() -> None:
    repository = settled(MODEL)
    repository.uploads = [begun("m/3/x"), begun("m/x"), begun("n/2/x"), begun("m/20/x")]
    new = {**TWO, "n/config.pbtxt": ONNX, "n/1/model.onnx": "one"}
    repository.listed(new, 10)
    assert "m/2/model.onnx" in repository.listed(new, 20)
    assert set(repository.reasons()) == {"n", "n/1"}  # of which all is new, and so is shown together


def test_r11_a_config_waits_for_the_version_of_which_nothing_is_listed_yet() -> None:
    repository = settled(MODEL)
    repository.uploads = [begun("m/2/model.onnx")]
    new = {**MODEL, "m/config.pbtxt": ONNX + " "}
    repository.listed(new, 10)
    assert repository.listed(new, 20) == shown(MODEL)
    assert "2/model.onnx" in repository.reasons()["m"]
    repository.uploads = []
    new["m/2/model.onnx"] = "two"
    repository.listed(new, 30)
    assert repository.listed(new, 40) == shown(new)


def test_an_abandoned_upload_holds_nothing_after_a_day() -> None:
    repository = settled(MODEL)
    repository.uploads = [begun("m/2/x", ago_s=25 * 3600)]
    repository.listed(TWO, 10)
    assert repository.listed(TWO, 20) == shown(TWO)


def test_a_sealed_version_waits_for_no_upload() -> None:
    repository = settled(MODEL)
    repository.uploads = [begun("m/2/x"), begun("m/1/x")]
    seal = {"format": 1, "files": {"model.onnx": {"size": 3, "version": "two"}}}
    sealed = {**TWO, "m/2/.modelfs-seal.json": json.dumps(seal)}
    assert repository.listed(sealed, 10) == shown(sealed)


def test_what_nobody_has_asked_for_uploads_of_waits_for_the_next_listing_which_is_due_at_once() -> None:
    repository = settled(MODEL)
    repository.asks = False
    repository.listed(TWO, 10)
    assert repository.listed(TWO, 20) == shown(MODEL)
    assert repository.settling.due(20) == ["m"]
    assert repository.settling.settles_s == 20
    repository.asks = True
    assert repository.listed(TWO, 21) == shown(TWO)
    assert repository.settling.settles_s is None


def test_r22_uploads_are_due_when_something_has_settled_and_not_while_nothing_can_show() -> None:
    repository = settled(MODEL)
    assert repository.settling.due(0) == []
    repository.listed(TWO, 10)
    assert repository.settling.due(19.9) == []
    assert repository.settling.due(20) == ["m"]
    repository.listed(TWO, 20)
    assert repository.settling.due(1000) == []
    stuck = {"m/config.pbtxt": PYTHON, "m/1/weights": "w"}
    repository = settled({})
    repository.listed(stuck, 0)
    repository.listed(stuck, 10)
    assert repository.reasons()["m/1"] == "model.py is missing"
    assert repository.settling.due(1000) == []


def test_at_the_first_listing_an_old_version_waits_for_an_upload_below_it() -> None:
    repository = Repository()
    repository.date_ns = WALL_NS - 3600 * 10**9
    repository.uploads = [begun("m/2/part-2", ago_s=3600)]
    two = {key: info.version for key, info in ((each.key, each) for each in infos_of(TWO))}
    assert repository.listed(TWO, 0) == {}  # its config is as new as the version, and shows with it
    repository.uploads = []
    assert repository.listed(TWO, 1) == two


def test_at_the_first_listing_all_of_the_repository_is_asked_for_at_once() -> None:
    repository = Repository()
    repository.date_ns = WALL_NS - 3600 * 10**9
    assert repository.listed(TWO, 0) == shown(TWO)
    assert repository.asked_uploads == [WHOLE]
