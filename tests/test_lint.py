"""What ``modelfs lint`` finds, rule by rule; that Triton would trip over it is said in the rule's source."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelfs import growing, lint
from modelfs.blocks import ObjectInfo
from modelfs.findings import Finding

ONNX = b'backend: "onnxruntime"'
TENSORRT_BY_GPU = b'name: "m" cc_model_filenames { key: "9.0" value: "h.plan" } backend: "tensorrt"'
SOUND: dict[str, bytes] = {"m/config.pbtxt": ONNX, "m/1/model.onnx": b"weights"}


def lint_of(files: dict[str, bytes]) -> list[Finding]:
    """Return the findings on a repository of these files; only what ``wanted`` names is given."""
    shown = growing.build((ObjectInfo(key, len(data), "v", 1) for key, data in files.items()), show_hidden=True)
    return lint.lint(shown, {info.key: files[info.key] for info in lint.wanted(shown)})


def told(files: dict[str, bytes]) -> set[tuple[str, str, str]]:
    return {(found.severity, found.rule, found.path) for found in lint_of(files)}


def beside(more: dict[str, bytes], *, without: str = "") -> set[tuple[str, str, str]]:
    """Return the findings on a sound model with ``more`` in it."""
    return told({key: data for key, data in {**SOUND, **more}.items() if key != without})


@pytest.mark.parametrize(
    "files",
    [
        SOUND,
        {"m/1/model.onnx": b"w"},
        {"m/1/model.plan": b"w"},
        {"m/1/model.savedmodel/saved_model.pb": b"w"},
        {"m/1/model.xml": b"w", "m/1/model.bin": b"w"},
        {"m/1/model.onnx/model.onnx": b"w", "m/1/model.onnx/weights": b"w"},
        {"m/1/model.py": b"def auto_complete_config(config): ..."},
        {"m/config.pbtxt": b'backend: "python"', "m/1/model.py": b"x"},
        {"m/config.pbtxt": b'platform: "pytorch_libtorch"', "m/2/model.pt": b"w"},
        {"m/config.pbtxt": b"", "m/1/model.py": b"x"},
        {"m/config.pbtxt": b'backend: "mine"', "m/1/whatever": b"w"},
        {"m.identity/1/x": b"w"},
        {"m/configs/a.pbtxt": b'backend: "python"', "m/1/model.py": b"x"},
        {**SOUND, "e/config.pbtxt": b'ensemble_scheduling { step { model_name: "m" } }', "e/1/": b""},
        {**SOUND, "README.md": b"", "m/warmup/x": b"", "m/labels.txt": b"cat"},
        {"m/config.pbtxt": TENSORRT_BY_GPU, "m/1/h.plan": b"w"},
        {"m/config.pbtxt": ONNX + b' default_model_filename: "net.onnx"', "m/1/net.onnx": b"w"},
        {"m/config.pbtxt": ONNX + b' default_model_filename: "./a/net.onnx/"', "m/1/a/net.onnx": b"w"},
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_triton_loads_has_no_finding(files: dict[str, bytes]) -> None:
    assert lint_of(files) == []


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("3.bak", "version 3"),
        ("01", "ignores a version with a leading zero"),
        ("9" * 19, "its whole server ends"),
        ("1" * 20, "its whole server ends"),
        ("-4", "version -4"),
        ("+5", "version 5"),
    ],
)
def test_folder_that_triton_takes_for_another_version_is_an_error(name: str, says: str) -> None:
    files = {**SOUND, f"m/{name}/model.onnx": b"w"}
    assert told(files) == {("error", "version-name", f"m/{name}")}
    assert says in lint_of(files)[0].what


@pytest.mark.parametrize("name", ["0", "1" * 19])
def test_version_that_triton_loads_and_modelfs_takes_for_none_is_a_warning(name: str) -> None:
    assert beside({f"m/{name}/model.onnx": b"w"}, without="m/1/model.onnx") == {
        ("warning", "version-name", f"m/{name}")
    }


def test_folder_whose_name_is_no_number_is_none_of_tritons_business() -> None:
    assert beside({"m/assets/x": b"x", "m/v2/x": b"x"}) == set()


def test_hidden_folder_in_the_root_is_a_warning_and_an_error_where_it_is_shown() -> None:
    assert beside({".git/config": b"x"}) == {("warning", "hidden", ".git")}
    shown = growing.build(
        [ObjectInfo(".git/1/model.onnx", 1, "v", 1), ObjectInfo("m/1/model.onnx", 1, "v", 1)], show_hidden=True
    )
    assert [found.severity for found in lint.lint(shown, {}, shows_hidden=True)] == ["error"]


@pytest.mark.parametrize("name", ["config", "c", "config.pb"])
def test_entry_that_the_configurations_name_begins_with_is_an_error(name: str) -> None:
    assert beside({f"m/{name}": b"x"}) == {("error", "config-name", f"m/{name}")}


def test_names_that_differ_by_case_only_are_a_warning() -> None:
    assert beside({"M/1/model.onnx": b"w"}) == {("warning", "case", "m")}
    assert beside({"m/1/MODEL.onnx": b"w"}) == {("warning", "case", "m/1/model.onnx")}


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"m/1/model.pt": b"w"}, "pytorch models need a configuration"),
        ({"m/1/model.graphdef": b"w"}, "tensorflow models need a configuration"),
        ({"m/1/unknown": b"w"}, "cannot tell the backend"),
        ({"m/config.pbtxt": b"max_batch_size: 1", "m/1/unknown": b"w"}, "cannot tell the backend"),
    ],
)
def test_missing_configuration_is_an_error_where_triton_makes_none_itself(files: dict[str, bytes], says: str) -> None:
    (found,) = lint_of(files)
    assert (found.severity, found.rule, found.path) == ("error", "config", "m/config.pbtxt")
    assert says in found.what


def test_python_model_without_a_configuration_is_a_warning() -> None:
    assert told({"m/1/model.py": b"class TritonPythonModel: ..."}) == {("warning", "config", "m/config.pbtxt")}


def test_backend_is_guessed_from_the_first_folder_as_triton_does() -> None:
    assert told({"m/10/model.onnx": b"w", "m/9/model.plan": b"w"}) == {("error", "model-file", "m/9/model.onnx")}


@pytest.mark.parametrize(
    ("config", "path"),
    [
        (b'backend: "onnxruntime"', "m/1/model.onnx"),
        (b'backend: "python"', "m/1/model.py"),
        (b'backend: "openvino"', "m/1/model.xml"),
        (b'backend: "vllm"', "m/1/model.json"),
        (b'platform: "tensorrt_plan"', "m/1/model.plan"),
        (b'platform: "pytorch_libtorch"', "m/1/model.pt"),
        (b'platform: "torch_aoti"', "m/1/model.pt2"),
        (b'platform: "tensorflow_savedmodel"', "m/1/model.savedmodel"),
        (b'platform: "onnxruntime_onnx" default_model_filename: "a.onnx"', "m/1/a.onnx"),
        (b'backend: "tensorrt" cc_model_filenames { key: "8.0" value: "a.plan" }', "m/1/a.plan"),
    ],
)
def test_missing_model_file_is_an_error(config: bytes, path: str) -> None:
    assert told({"m/config.pbtxt": config, "m/1/other": b"x"}) == {("error", "model-file", path)}


def test_file_that_a_configuration_names_for_a_backend_of_ones_own_is_a_warning() -> None:
    config = b'backend: "mine" default_model_filename: "a"'
    assert told({"m/config.pbtxt": config, "m/1/b": b"x"}) == {("warning", "model-file", "m/1/a")}


def test_model_of_several_files_is_looked_into() -> None:
    assert told({"m/1/model.xml": b"x"}) == {("error", "model-file", "m/1/model.bin")}
    assert told({"m/1/model.onnx/weights": b"x"}) == {("error", "model-file", "m/1/model.onnx")}
    assert told({"m/1/model.savedmodel/variables/x": b"x"}) == {("error", "model-file", "m/1/model.savedmodel")}


def test_model_without_a_version_is_an_error() -> None:
    assert told({"m/config.pbtxt": ONNX, "m/model.onnx": b"w"}) == {("error", "versions", "m")}


def test_empty_version_is_an_error_but_for_ensembles() -> None:
    assert beside({"m/2/": b""}) == {("error", "empty", "m/2")}
    assert beside({"m/2/.keep": b""}) == {("error", "empty", "m/2")}
    assert told({"m/config.pbtxt": b'backend: "mine"', "m/1/": b""}) == {("warning", "empty", "m/1")}


def test_labels_that_are_missing_or_outside_are_an_error() -> None:
    config = b'output { name: "a" label_filename: "labels/a.txt" } output { label_filename: "b.txt" } ' + ONNX
    found = told({**SOUND, "m/config.pbtxt": config, "m/b.txt": b"x"})
    assert found == {("error", "labels", "m/labels/a.txt")}
    outside = ONNX + b' output { label_filename: "../b.txt" }'
    assert told({**SOUND, "m/config.pbtxt": outside}) == {("error", "labels", "m/config.pbtxt")}
    inside = ONNX + b' output { label_filename: "1/../b.txt" }'
    assert told({**SOUND, "m/config.pbtxt": inside, "m/b.txt": b"x"}) == set()


def test_version_that_the_policy_asks_for_and_that_is_absent_is_an_error_where_no_other_is_left() -> None:
    config = ONNX + b" version_policy: { specific { versions: [%s] } }"
    assert told({**SOUND, "m/config.pbtxt": config % b"3"}) == {("error", "policy", "m/3")}
    assert told({**SOUND, "m/config.pbtxt": config % b"1, 3"}) == {("warning", "policy", "m/3")}


def test_name_of_another_folder_is_an_error() -> None:
    assert told({**SOUND, "m/config.pbtxt": b'name: "n" ' + ONNX}) == {("error", "name", "m/config.pbtxt")}


def test_configuration_that_cannot_be_read_is_told_with_its_line() -> None:
    (found,) = lint_of({**SOUND, "m/config.pbtxt": b'name: "m"\ninput {\n  dims: [1]\n'})
    assert (found.severity, found.path) == ("error", "m/config.pbtxt")
    assert "line 4: a '{' of line 2 is never closed" in found.what


def test_step_of_an_ensemble_that_is_elsewhere_is_a_warning() -> None:
    config = b'platform: "ensemble" ensemble_scheduling { step [ { model_name: "m" }, { model_name: "gone" } ] }'
    (found,) = lint_of({**SOUND, "e/config.pbtxt": config, "e/1/": b""})
    assert (found.severity, found.rule, found.path) == ("warning", "ensemble", "e/config.pbtxt")
    assert "'gone'" in found.what


def test_shards_that_an_index_names_are_looked_for() -> None:
    index = b'{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-1.safetensors"}}'
    more = {"m/1/hf/model.safetensors.index.json": index, "m/1/hf/model-1.safetensors": b"w"}
    assert beside(more) == {("error", "shard", "m/1/hf/model-2.safetensors")}
    outside = b'{"weight_map": {"a": "../../other/1/x"}}'
    assert beside({"m/1/a.index.json": outside, "other/1/x": b"", "other/config.pbtxt": b'backend: "o"'}) == {
        ("error", "shard", "other/1/x")
    }
    for broken in (b"{", b"[]", b'{"weight_map": 1}', b"\xff"):
        assert beside({"m/1/a.index.json": broken}) == {("error", "index", "m/1/a.index.json")}


def test_model_file_without_bytes_is_an_error() -> None:
    assert beside({"m/1/model.onnx": b""}) == {("error", "zero", "m/1/model.onnx")}
    assert beside({"m/1/extra.safetensors": b"", "m/1/__init__.py": b""}) == {
        ("error", "zero", "m/1/extra.safetensors")
    }


def test_keys_that_no_tree_can_show_are_told() -> None:
    assert beside({"m/1//x": b"x", "m/../y": b"x"}) == {("warning", "key", "m/1//x"), ("warning", "key", "m/../y")}


NAMES = st.sampled_from(
    [
        *("m", "M", "1", "01", "3.bak", "9" * 25, "٣", "²", ".x", "", "..", " 7", "+", "-", "config.pbtxt", "c"),
        *("model.py", "model.onnx", "a.index.json", "configs", "labels.txt", "model.xml", "model.savedmodel"),
    ]
)
CONTENTS = st.sampled_from(
    [
        *(b"", b"{", b"{}", b"\xff\xfe", ONNX, b'backend: "python" name: { }', b'{"weight_map": {"a": 1}}'),
        b"name: [] output: 1 version_policy: 2",
        b'platform: "ensemble" ensemble_scheduling: 3',
        b'output { label_filename: "../../x" }',
        b'version_policy { specific { versions: ["x", -1, 99999999999999999999] } }',
        b'default_model_filename: "a//b/.."',
    ]
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.lists(NAMES, min_size=1, max_size=5).map("/".join), CONTENTS, max_size=12))
def test_whatever_is_stored_findings_lie_where_something_can_be_done(files: dict[str, bytes]) -> None:
    for found in lint_of(files):
        assert found.what
        assert found.advice
        assert "\n" not in found.what
        assert found.path == "" or any(key.startswith(found.path.partition("/")[0]) for key in files)


def test_root_without_models_is_an_error() -> None:
    assert told({}) == {("error", "root", "")}
    assert ("error", "root", "config.pbtxt") in told({"config.pbtxt": ONNX, "1/model.onnx": b"w"})


def test_large_file_is_not_read() -> None:
    huge = lint.READ_BYTES_MAX + 1
    shown = growing.build(
        [ObjectInfo("m/config.pbtxt", lint.CONFIG_BYTES_MAX + 1, "v", 1), ObjectInfo("m/1/a.index.json", huge, "v", 1)]
    )
    assert lint.wanted(shown) == []
    assert [found.rule for found in lint.lint(shown, {})] == ["config"]
