"""What a version lacks, by names: for each backend its file, and nothing where Triton's rule is not known."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelfs.wholeness import why_not_whole, why_shard_missing, with_folders

PROPERTY = settings(deadline=None)

NEEDS = [
    ('backend: "python"', "model.py"),
    ('backend: "onnxruntime"', "model.onnx"),
    ('platform: "onnxruntime_onnx"', "model.onnx"),
    ('platform: "onnxruntime_onnx"', "model.onnx/model.onnx"),
    ('backend: "tensorrt"', "model.plan"),
    ('platform: "tensorrt_plan"', "model.plan"),
    ('platform: "pytorch_libtorch"', "model.pt"),
    ('backend: "pytorch"', "model.pt2"),
    ('platform: "tensorflow_savedmodel"', "model.savedmodel/saved_model.pb"),
    ('backend: "tensorflow"', "model.graphdef"),
    ('backend: "vllm"', "model.json"),
    ('backend: "dali"', "model.dali"),
    ('backend: "fil"', "xgboost.json"),
    ('default_model_filename: "a/b.bin" backend: "python"', "a/b.bin"),
    ('default_model_filename: "other.onnx" # default_model_filename: "not.onnx"', "other.onnx"),
    ('backend: "x" cc_model_filenames [ { key: "7.5" value: "t4.plan" } ]', "t4.plan"),
    ('max_batch_size: 8 input [ { name: "platform" } ]', "model.onnx"),
]


@pytest.mark.parametrize(("config", "name"), NEEDS, ids=[f"{name} for {config}" for config, name in NEEDS])
def test_a_version_is_whole_with_the_file_that_its_config_or_backend_names(config: str, name: str) -> None:
    assert why_not_whole(with_folders({"other", name}), config) == ""
    assert why_not_whole(with_folders({"other"}), config) != ""
    assert why_not_whole(with_folders({f"elsewhere/{name}"}), config) != ""


@pytest.mark.parametrize(
    "config",
    ['platform: "ensemble"', "ensemble_scheduling { step [ ] }", 'backend: "identity"', 'backend: "tensorrtllm"'],
)
def test_nothing_is_asked_for_where_triton_asks_for_nothing_or_its_rule_is_unknown(config: str) -> None:
    assert why_not_whole(set(), config) == ""


@pytest.mark.parametrize("config", ['backend: "openvino"', 'default_model_filename: "model.xml"', ""])
def test_openvinos_xml_needs_its_bin(config: str) -> None:
    assert why_not_whole({"model.xml"}, config) == "model.bin is missing"
    assert why_not_whole({"model.xml", "model.bin"}, config) == ""


def test_every_file_of_the_compute_capabilities_must_be_there() -> None:
    config = 'cc_model_filenames [ { key: "7.5" value: "a.plan" }, { key: "8.0" value: "b.plan" } ]'
    assert why_not_whole({"a.plan"}, config) == "b.plan is missing"
    assert why_not_whole({"a.plan", "b.plan"}, config) == ""


@pytest.mark.parametrize("name", ["model.onnx", "model.plan", "model.savedmodel", "model.py"])
def test_without_a_config_a_file_that_triton_completes_one_for_is_enough(name: str) -> None:
    assert why_not_whole({name}, None) == ""
    assert "config.pbtxt" in why_not_whole({"weights"}, None)


@PROPERTY
@given(st.text())
def test_of_what_is_no_config_nothing_is_asked_and_nothing_raises(text: str) -> None:
    assert why_not_whole(set(), "} " + text) == ""
    why_not_whole(set(), text)


@PROPERTY
@given(st.sets(st.sampled_from(["a.bin", "b.bin", "c/d.bin"])), st.sets(st.sampled_from(["a.bin", "b.bin", "c/d.bin"])))
def test_an_index_is_satisfied_exactly_by_all_its_shards(named: set[str], there: set[str]) -> None:
    text = json.dumps({"weight_map": {f"t{number}": name for number, name in enumerate(sorted(named))}}).encode()
    listed = {f"hf/{name}" for name in there}
    assert (why_shard_missing("hf/x.index.json", text, listed) == "") == (named <= there)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b'{"weight_map": 1}', b'{"weight_map": {"a": [1]}}', b"\xff", b"[" * 10**5]
)
def test_what_is_no_index_of_shards_asks_for_nothing(text: bytes) -> None:
    assert why_shard_missing("x.index.json", text, set()) == ""
