"""Whether the files that Triton will ask for are there, told by names.

Law: pure, and about names alone: what a file holds is the uploader's business. A reason is a few words for an
operator, "" says that nothing is missing. Where Triton's own rule is unknown (another backend without
``default_model_filename``), nothing is asked for.
Sources: Triton's ``model_config_utils.cc`` and ``constants.h`` (the default names), the READMEs of its backends.
"""

import json
import posixpath
from collections.abc import Collection, Iterator

from modelfs import model_config
from modelfs.model_config import ModelConfig
from modelfs.pbtxt import PbtxtError

INDEX_SUFFIX = ".index.json"

_BY_BACKEND = {
    "tensorrt": ("model.plan",),
    "tensorflow": ("model.savedmodel", "model.graphdef"),
    "onnxruntime": ("model.onnx",),
    "pytorch": ("model.pt", "model.pt2", "model.py"),
    "python": ("model.py",),
    "openvino": ("model.xml",),
    "dali": ("model.dali", "dali.py"),
    "vllm": ("model.json",),
    "fil": ("xgboost.model", "xgboost.json", "xgboost.ubj", "model.txt", "checkpoint.tl"),
}
"""The files of which one must be there; a folder of that name will do."""

_BY_PLATFORM = {
    "tensorrt_plan": ("model.plan",),
    "tensorflow_savedmodel": ("model.savedmodel",),
    "tensorflow_graphdef": ("model.graphdef",),
    "onnxruntime_onnx": ("model.onnx",),
    "pytorch_libtorch": ("model.pt",),
    "torch_aoti": ("model.pt2",),
}

WITHOUT_CONFIG = ("model.onnx", "model.plan", "model.savedmodel", "model.xml", "model.py")
"""What Triton takes without a config.pbtxt, since its backend completes one."""

_DEFAULTS = frozenset(name for names in (*_BY_BACKEND.values(), *_BY_PLATFORM.values()) for name in names)


def why_not_whole(names: Collection[str], config: str | None) -> str:
    """Return what a version folder with the files and folders ``names`` lacks. ``config`` is its model's, if any.

    >>> why_not_whole({"weights.bin"}, 'backend: "python"'), why_not_whole({"model.py"}, 'backend: "python"')
    ('model.py is missing', '')
    """
    if config is None:
        return _why_none_of(names, WITHOUT_CONFIG, "config.pbtxt is missing, and no file is there that needs none")
    try:
        told = model_config.read(config)
    except PbtxtError:
        return ""  # Triton says so better, and our reader may be the one that is wrong
    return _why_lacks(names, told)


def _why_lacks(names: Collection[str], told: ModelConfig) -> str:
    if told.is_ensemble:
        return ""
    wanted = told.capability_filenames or ((told.default_model_filename,) if told.default_model_filename else ())
    if wanted:
        return next((reason for name in wanted if (reason := _why_missing(names, name))), "")
    if not told.backend and not told.platform:
        return _why_none_of(names, _DEFAULTS, "no model file is there that Triton knows by its name")
    any_of = _BY_PLATFORM.get(told.platform) or _BY_BACKEND.get(told.backend)
    if not any_of:
        return ""
    return _why_none_of(names, any_of, f"{' or '.join(any_of)} is missing")


def is_known_without_config(names: Collection[str]) -> bool:
    """Tell whether a file is there that some backend loads by default, and nothing that goes with it is missing."""
    return not _why_none_of(names, _DEFAULTS, "none")


def why_shard_missing(index_name: str, text: bytes, names: Collection[str]) -> str:
    """Return which file that an index of shards names is not there. What is no such index asks for nothing.

    >>> why_shard_missing("hf/a.index.json", b'{"weight_map": {"t": "a-1.safetensors"}}', {"hf/a-1.safetensors"})
    ''
    """
    try:
        found = json.loads(text)
        shards = set(found["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""
    folder = posixpath.dirname(index_name)
    wanted = (posixpath.normpath(posixpath.join(folder, shard)) for shard in shards if isinstance(shard, str))
    return next((f"{name}, which {index_name} names, is missing" for name in sorted(wanted) if name not in names), "")


def with_folders(files: Collection[str]) -> set[str]:
    """Return ``files`` and every folder above them.

    >>> sorted(with_folders(["model.savedmodel/variables/x"]))
    ['model.savedmodel', 'model.savedmodel/variables', 'model.savedmodel/variables/x']
    """
    return {above for file in files for above in ((file, *_above(file)) if "/" in file else (file,))}


def _above(path: str) -> Iterator[str]:
    while path := posixpath.dirname(path):
        yield path


def _why_none_of(names: Collection[str], any_of: Collection[str], otherwise: str) -> str:
    present = sorted(name for name in any_of if name in names)
    reasons = [_why_missing(names, name) for name in present]
    return min(reasons, default=otherwise)  # "" is the least: one that is whole will do


def _why_missing(names: Collection[str], name: str) -> str:
    """Return why the model file ``name`` cannot be loaded. OpenVINO's .xml is of no use without its .bin."""
    name = posixpath.normpath(name)
    needed = [name, name.removesuffix(".xml") + ".bin"] if name.endswith(".xml") else [name]
    return next((f"{each} is missing" for each in needed if each not in names), "")
