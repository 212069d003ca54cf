"""What Triton would trip over in a repository.

Law: pure. Takes the tree of a listing, hidden names included, and the content of the small files that ``wanted`` names.
A finding is something that Triton does, or does not do, with a repository that is complete and at rest; what cannot be
known (files of a custom backend, models in another repository) is a warning at most.
Source: Triton core of June 2026: ``AutoCompleteBackendFields``, ``VersionsToLoad``, ``ModelTimestamp``.
"""

import posixpath
import re
from collections.abc import Iterator, Mapping

from modelfs import model_files
from modelfs.blocks import ObjectInfo
from modelfs.findings import Finding, error, warning
from modelfs.model_config import ModelConfig, read
from modelfs.names import is_hidden
from modelfs.pbtxt import PbtxtError
from modelfs.tree import Directory, File, Tree
from modelfs.version_policy import CONFIG_NAME, is_version

INDEX_SUFFIX = ".index.json"
READ_BYTES_MAX = 16 * 1024 * 1024
"""What is read of a repository at most, for each file: an index of 1,000 shards and 100,000 tensors has 10 MB."""

CONFIG_BYTES_MAX = 1024 * 1024
"""A configuration has some KB. Reading a megabyte of braces takes a second."""

_SCRIPT = "model.py"
_TAKEN_FOR_A_NUMBER = re.compile(r"\s*[+-]?[0-9]+")  # what std::stoll reads of a name, whatever follows
_STOLL_OVERFLOWS = 2**63  # which nobody catches there


def wanted(tree: Tree) -> list[ObjectInfo]:
    """Return the files whose content ``lint`` looks at: none of more than READ_BYTES_MAX."""
    found: list[ObjectInfo] = []
    for model in _folders(tree.root).values():
        config = model.children.get(CONFIG_NAME)
        if isinstance(config, File):
            found += [config.info] if config.info.size <= CONFIG_BYTES_MAX else []
        else:
            script = (_first_folder(model) or model).children.get(_SCRIPT)
            found += [script.info] if isinstance(script, File) else []
        found += [file.info for _, file in _files(model) if file.info.key.endswith(INDEX_SUFFIX)]
    return [info for info in found if info.size <= READ_BYTES_MAX]


def lint(tree: Tree, contents: Mapping[str, bytes], *, shows_hidden: bool = False) -> list[Finding]:
    """Return the findings, sorted by path. ``contents`` are by key, and those of ``wanted``.

    ``shows_hidden`` is for a repository that is mounted so, where what is hidden by rule is not.

    >>> from modelfs.growing import build
    >>> config = b'backend: "onnxruntime"'
    >>> shown = build([ObjectInfo("m/config.pbtxt", len(config), "v", 1), ObjectInfo("m/1/weights.bin", 7, "v", 1)])
    >>> [f"{found.severity} {found.path}: {found.what}" for found in lint(shown, {"m/config.pbtxt": config})]
    ['error m/1/model.onnx: the model file of onnxruntime is missing']
    """
    found = [*_root(tree.root, shows_hidden=shows_hidden), *_look_alikes(tree.root, "")]
    models = _folders(tree.root)
    for name, model in models.items():
        found += _Model(name, model, contents, set(models)).findings()
    for key, reason in tree.omissions:
        found.append(warning("key", key, f"the key cannot be a path, and no mount shows it: {reason}", "rename it"))
    return sorted(found, key=lambda each: (each.path, each.rule))


def _root(root: Directory, *, shows_hidden: bool) -> Iterator[Finding]:
    if isinstance(root.children.get(CONFIG_NAME), File):
        what = "a model's configuration lies in the repository's root, where Triton reads none"
        yield error("root", CONFIG_NAME, what, "name the folder above it, which holds the models")
    for name, node in root.children.items():
        if is_hidden(name) and isinstance(node, Directory):
            if shows_hidden:
                what = "--show-hidden has a mount show this, and Triton takes each folder in the root for a model"
                yield error("hidden", name, what, "move it out of the repository")
            else:
                what = "Triton takes this for a model when it reads the store itself; a mount hides it"
                yield warning("hidden", name, what, "move it out of the repository")
    if not _folders(root):
        yield error("root", "", "there is no model here", "check the path, or upload one")


def _look_alikes(folder: Directory, path: str) -> Iterator[Finding]:
    """Tell of names that only their case tells apart, anywhere."""
    seen: dict[str, str] = {}
    for name, node in sorted(folder.children.items()):
        twin = seen.setdefault(name.casefold(), name)
        if twin != name:
            what = f"its name differs from {twin!r} by case only"
            yield warning("case", f"{path}{name}", what, "remove one of them, or give it another name")
        if isinstance(node, Directory) and not is_hidden(name):
            yield from _look_alikes(node, f"{path}{name}/")


class _Model:
    """One model, while it is looked at. ``models`` are the names of all there are."""

    def __init__(self, name: str, folder: Directory, contents: Mapping[str, bytes], models: set[str]) -> None:
        self._name = name
        self._folder = folder
        self._contents = contents
        self._models = models
        self._versions = [each for each in _folders(folder) if is_version(each)]

    def findings(self) -> Iterator[Finding]:
        """Yield all that is to be said of it."""
        yield from self._names()
        file = self._folder.children.get(CONFIG_NAME)
        if isinstance(file, File) and file.info.size > CONFIG_BYTES_MAX:
            yield error("config", file.info.key, "this is far too large to be a configuration", "look what it is")
            return
        text = self._contents.get(file.info.key, b"") if isinstance(file, File) else b""
        try:
            config = read(text.decode("utf-8", "surrogateescape"))
        except PbtxtError as failure:
            yield error("config", self._path(CONFIG_NAME), f"Triton cannot read this: {failure}", "mend that line")
            return
        yield from self._configuration(config)
        backend = model_files.resolve(config, self._name, _first_folder(self._folder))
        yield from self._backend(config, backend, has_config=isinstance(file, File))
        if not any(_number(name) is not None for name in _folders(self._folder)):
            yield error("versions", self._name, "there is no version folder in this model", "put the files into 1/")
        for version in sorted(self._versions, key=int):
            yield from self._version(version, config, backend)

    def _path(self, *names: str) -> str:
        return "/".join((self._name, *names))

    def _names(self) -> Iterator[Finding]:
        for name, node in self._folder.children.items():
            if isinstance(node, Directory) and not is_version(name) and _TAKEN_FOR_A_NUMBER.match(name):
                yield _odd_number(self._path(name), name)
            elif name != CONFIG_NAME and CONFIG_NAME.startswith(name):
                what = f"Triton takes a name that {CONFIG_NAME} begins with for a second configuration, and then"
                what += " notices no change of this model"
                yield error("config-name", self._path(name), what, "rename it")

    def _configuration(self, config: ModelConfig) -> Iterator[Finding]:
        path = self._path(CONFIG_NAME)
        if config.name and config.name != self._name:
            what = f"the configuration's name is {config.name!r}, and Triton wants the folder's, {self._name!r}"
            yield error("name", path, what, "write that, or leave the name out")
        for label in config.label_filenames:
            yield from self._label(label)
        wanted = [str(version) for version in sorted(config.policy.specific or ())]
        for version in (each for each in wanted if each not in self._versions):
            what = "version_policy asks for this version, and it is not there"
            tell = warning if set(wanted) & set(self._versions) else error  # Triton loads the others
            yield tell("policy", self._path(version), what, "upload it, or change version_policy")
        for model in sorted(set(config.step_models) - self._models):
            what = f"a step of this ensemble is the model {model!r}, which is not in this repository"
            yield warning("ensemble", path, what, "upload it, unless another repository has it")

    def _label(self, label: str) -> Iterator[Finding]:
        path = posixpath.normpath(label)
        if path.startswith(("../", "/")):
            what = f"the labels {label!r} lie outside the model, where Triton reads none"
            yield error("labels", self._path(CONFIG_NAME), what, "put the file into the model's folder")
        elif not isinstance(Tree(self._folder).find(path), File):
            what = f"the file of labels that {CONFIG_NAME} names is missing"
            yield error("labels", self._path(path), what, f"upload it, or change label_filename in {CONFIG_NAME}")

    def _backend(self, config: ModelConfig, backend: model_files.Backend, *, has_config: bool) -> Iterator[Finding]:
        path = self._path(CONFIG_NAME)
        has_others = any(name.endswith(".pbtxt") for name in _children(self._folder, "configs"))
        if config.is_ensemble or not self._versions or (not has_config and has_others):
            return
        if not backend.name:
            what = "Triton cannot tell the backend: neither the configuration nor a file in the first version names one"
            yield error("config", path, what, f'write backend: "…" into {CONFIG_NAME}')
        elif not has_config and not backend.completes and not self._completes_itself(backend):
            what = f"{backend.name} models need a configuration, and there is none"
            # a Python model is loaded nevertheless, without inputs and outputs (seen)
            tell = warning if backend.name == "python" else error
            yield tell("config", path, what, "upload one that names the inputs and outputs")

    def _completes_itself(self, backend: model_files.Backend) -> bool:
        """Tell whether a Python model without a configuration makes its own."""
        script = (_first_folder(self._folder) or self._folder).children.get(_SCRIPT)
        if backend.name != "python" or not isinstance(script, File):
            return False
        return script.info.size > READ_BYTES_MAX or b"auto_complete_config" in self._contents[script.info.key]

    def _version(self, version: str, config: ModelConfig, backend: model_files.Backend) -> Iterator[Finding]:
        folder = _folders(self._folder)[version]
        path = self._path(version)
        if not any(True for _ in _files(folder)):
            if not config.is_ensemble and not backend.filename:
                what = "this version is empty: all right for an ensemble and for some backends of one's own"
                yield warning("empty", path, what, "upload its files, or remove it")
            elif not config.is_ensemble:
                yield error("empty", path, "this version is empty", "upload its files, or remove it")
            return
        if not config.is_ensemble:
            yield from model_files.missing(path, folder, config, backend)
        for _, file in _files(folder):
            key = file.info.key
            if file.info.size == 0 and model_files.is_model(key, backend):
                yield error("zero", key, "this file has no bytes: an upload that failed, perhaps", "upload it again")
            elif key.endswith(INDEX_SUFFIX) and key in self._contents:
                yield from model_files.missing_shards(key, self._contents[key], self._folder, self._name)


def _number(name: str) -> int | None:
    """Return the version that Triton takes a folder for, canonical or not; None where it takes it for none.

    >>> [_number(name) for name in ("3", "3.bak", "0", "01", "-4", "assets")]
    [3, 3, 0, None, -4, None]
    """
    found = _TAKEN_FOR_A_NUMBER.match(name)
    return int(found[0]) if found and (name == "0" or name[0] != "0") else None


def _odd_number(path: str, name: str) -> Finding:
    """Return what is to be said of a folder whose name begins as a number and is none of a version."""
    advice = "name it 1, 2, 3 …, or move it out of the model"
    number = _number(name)
    if number is None:
        return error("version-name", path, "Triton ignores a version with a leading zero", advice)
    if not -_STOLL_OVERFLOWS <= number < _STOLL_OVERFLOWS:
        return error("version-name", path, "this number is too large for Triton, and its whole server ends", advice)
    if str(number) == name and number >= 0:
        what = "Triton loads this version, but modelfs takes only numbers from 1 on, of at most 18 digits, for one"
        return warning("version-name", path, what, advice)
    what = f"Triton takes this folder for version {number}, and then looks for that in a folder of that name"
    return error("version-name", path, what, advice)


def _folders(folder: Directory) -> dict[str, Directory]:
    """Return the folders in ``folder`` that are not hidden by rule."""
    return {name: node for name, node in folder.children.items() if isinstance(node, Directory) and not is_hidden(name)}


def _first_folder(model: Directory) -> Directory | None:
    """Return the folder in which Triton looks for the format: the first in the order of names, whatever it is."""
    folders = _folders(model)
    return folders[min(folders)] if folders else None


def _children(folder: Directory, name: str) -> list[str]:
    child = folder.children.get(name)
    return list(child.children) if isinstance(child, Directory) else []


def _files(folder: Directory, path: str = "") -> Iterator[tuple[str, File]]:
    """Yield the files below ``folder`` that are not hidden by rule, with their paths in it."""
    for name, node in folder.children.items():
        if is_hidden(name):
            continue
        if isinstance(node, File):
            yield path + name, node
        else:
            yield from _files(node, f"{path}{name}/")
