"""Which files a version of a model must have, by its backend.

Law: pure. Knows Triton's own backends; of any other nothing is asked but the file that the configuration names.
Source: Triton core's ``AutoCompleteBackendFields``, and the documents of the backends.
"""

import json
import posixpath
from collections.abc import Iterator
from typing import NamedTuple

from modelfs.findings import Finding, error, warning
from modelfs.model_config import ModelConfig
from modelfs.tree import Directory, File, Node, Tree


class _Kind(NamedTuple):
    """``platform`` is the old name of a backend and a format; ``completes``: it needs no configuration."""

    backend: str
    platform: str
    filename: str
    completes: bool = False


_KINDS = (
    # in the order in which Triton tries them
    _Kind("tensorflow", "tensorflow_savedmodel", "model.savedmodel", completes=True),
    _Kind("tensorflow", "tensorflow_graphdef", "model.graphdef"),
    _Kind("tensorrt", "tensorrt_plan", "model.plan", completes=True),
    _Kind("onnxruntime", "onnxruntime_onnx", "model.onnx", completes=True),
    _Kind("openvino", "", "model.xml", completes=True),
    _Kind("pytorch", "pytorch_libtorch", "model.pt"),
    _Kind("pytorch", "libtorch", "model.pt"),
    _Kind("pytorch", "torch_aoti", "model.pt2"),
    _Kind("python", "", "model.py"),
)
_FURTHER = {"vllm": "model.json"}  # not guessed by Triton, but always there
_MODEL_SUFFIXES = (
    *(".onnx", ".plan", ".engine", ".pt", ".pt2", ".pth", ".graphdef", ".pb", ".xml", ".bin"),
    *(".safetensors", ".gguf", ".dali", ".json"),
)


class Backend(NamedTuple):
    """What loads a model: ``filename`` is its main file; "" is unknown. ``completes``: it needs no configuration."""

    name: str
    filename: str = ""
    completes: bool = False
    is_known: bool = True


def resolve(config: ModelConfig, model: str, first: Directory | None) -> Backend:
    """Return what Triton takes the backend for: as configured, else guessed from the ``first`` folder's files."""
    given = config.default_model_filename
    for kind in _KINDS:
        fits = kind.platform == config.platform if config.platform else _fits(kind, config, first)
        if fits and config.backend in {"", kind.backend}:
            return Backend(kind.backend, given or kind.filename, kind.completes)
    name = config.backend or config.platform
    if not name and not given and "." in model:
        return Backend(model.partition(".")[2], is_known=False, completes=True)
    return Backend(name, given or _FURTHER.get(name, ""), is_known=name in _FURTHER)


def _fits(kind: _Kind, config: ModelConfig, first: Directory | None) -> bool:
    if config.backend and config.backend != "tensorflow":
        return config.backend == kind.backend
    if config.default_model_filename:
        return config.default_model_filename == kind.filename
    return first is not None and kind.filename in first.children


def missing(path: str, folder: Directory, config: ModelConfig, backend: Backend) -> Iterator[Finding]:
    """Yield what the version ``folder`` at ``path`` lacks."""
    wanted = config.capability_filenames or ((backend.filename,) if backend.filename else ())
    for name in map(posixpath.normpath, wanted):
        found = Tree(folder).find(name)
        if found is None:
            what = f"the model file of {backend.name or 'this model'} is missing"
            tell = error if backend.is_known else warning
            yield tell("model-file", f"{path}/{name}", what, "upload it, or set default_model_filename to its name")
        else:
            yield from _incomplete(f"{path}/{name}", name, found, folder, backend.name)


def _incomplete(path: str, name: str, node: Node, folder: Directory, backend: str) -> Iterator[Finding]:
    """Yield what a model that is more than one file lacks."""
    if backend == "openvino" and name.endswith(".xml"):
        weights = f"{name.removesuffix('.xml')}.bin"
        if Tree(folder).find(weights) is None:
            what = "the weights beside the model's .xml are missing"
            yield error("model-file", f"{path.removesuffix(name)}{weights}", what, "upload them")
    if not isinstance(node, Directory):
        return
    inside = {"onnxruntime": (posixpath.basename(name),), "tensorflow": ("saved_model.pb", "saved_model.pbtxt")}
    if backend in inside and not any(each in node.children for each in inside[backend]):
        what = f"this folder is the model, and has no {inside[backend][0]}"
        yield error("model-file", path, what, "upload it whole")


def missing_shards(key: str, content: bytes, model: Directory, name: str) -> Iterator[Finding]:
    """Yield the shards that an index, such as model.safetensors.index.json, names and that are not there."""
    try:
        names = set(json.loads(content)["weight_map"].values())
        shards = sorted(each for each in names if isinstance(each, str))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        yield error("index", key, "this is no index of shards: there is no weight_map in it", "upload it again")
        return
    for shard in shards:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(key), shard))
        inside = path.removeprefix(f"{name}/")
        if inside == path or not isinstance(Tree(model).find(inside), File):
            what = f"a shard that {posixpath.basename(key)} names is missing"
            yield error("shard", path, what, "upload it")


def is_model(key: str, backend: Backend) -> bool:
    """Tell whether a file holds a model, so that it cannot be empty."""
    return posixpath.basename(key) == backend.filename or key.endswith(_MODEL_SUFFIXES)
