"""The expected tree, so dumb that it is obviously right: a dictionary of keys, and what each of them makes visible.

Law: nothing here is taken from modelfs but the shape of an ObjectInfo. No sharing, no laziness, no cleverness: every
question is answered by walking over all keys again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from modelfs.blocks import ObjectInfo

FOLDER = None
"""What ``paths_of`` says of a path that is a folder; of a file it says the key."""


def is_impossible(key: str) -> bool:
    """Tell whether a key can be no path at all."""
    names = key.removesuffix("/").split("/") if key else []
    return len(names) > 255 or any(_is_impossible_name(name) for name in names)


def _is_impossible_name(name: str) -> bool:
    try:
        too_long = len(name.encode("utf-8")) > 255
    except UnicodeEncodeError:
        return True
    return name in ("", ".", "..") or "\0" in name or too_long


def is_hidden(name: str) -> bool:
    """Tell whether a name is hidden by rule."""
    return name[:1] == "." or name == "__pycache__" or name[-9:] == "_$folder$"


def is_misread(path: str, paths: Mapping[str, str | None]) -> bool:
    """Tell whether a path lies in a folder of a model that Triton would take for a version though it is none."""
    names = path.split("/")
    if len(names) < 2 or paths.get(f"{names[0]}/{names[1]}", "") is not FOLDER:
        return False
    digits = names[1].strip().lstrip("+-")[:1]
    is_number = digits.isascii() and digits.isdigit()
    is_canonical = names[1].isascii() and names[1].isdigit() and str(int(names[1])) == names[1] and len(names[1]) <= 18
    if not is_number or is_canonical:
        return False
    model = names[0]
    versions = [name for name in names_in(paths, model) if name.isascii() and name.isdigit() and name[0] != "0"]
    loaded = ("model.onnx", "model.plan", "model.savedmodel", "model.xml", "model.py")
    return (
        paths.get(f"{model}/config.pbtxt") is not FOLDER
        or paths.get(f"{model}/configs", "") is FOLDER
        or any(f"{model}/{version}/{name}" in paths for version in versions if len(version) <= 18 for name in loaded)
    )


def paths_of(keys: Iterable[str], *, show_hidden: bool = False) -> dict[str, str | None]:
    """Return what stands at each path: the key of a file, or FOLDER. The root is the folder ""."""
    paths = _all_paths_of(keys, show_hidden=show_hidden)
    return {path: key for path, key in paths.items() if show_hidden or not is_misread(path, paths)}


def _all_paths_of(keys: Iterable[str], *, show_hidden: bool) -> dict[str, str | None]:
    folders = {""}
    files: dict[str, str] = {}
    for key in keys:
        if is_impossible(key):
            continue
        names = key.removesuffix("/").split("/") if key else []
        hidden = [] if show_hidden else [depth for depth, name in enumerate(names) if is_hidden(name)]
        if hidden:
            above = names[: hidden[0]]
        elif key.endswith("/") or not key:
            above = names
        else:
            above = names[:-1]
            files["/".join(names)] = key
        folders.update("/".join(above[:depth]) for depth in range(len(above) + 1))
    return {**files, **dict.fromkeys(folders, FOLDER)}


def names_in(paths: Mapping[str, str | None], folder: str) -> set[str]:
    """Return the names that stand in one folder."""
    prefix = f"{folder}/" if folder else ""
    below = {path.removeprefix(prefix) for path in paths if path and path.startswith(prefix)}
    return {name for name in below if "/" not in name}


@dataclass
class Model:
    """A store, and what a mount of it should show since its last complete listing."""

    stored: dict[str, ObjectInfo] = field(default_factory=dict)
    bytes_of: dict[tuple[str, str], bytes] = field(default_factory=dict)  # key and version, for ever
    shown: dict[str, ObjectInfo] = field(default_factory=dict)
    missed_once: set[str] = field(default_factory=set)

    def put(self, info: ObjectInfo, data: bytes) -> None:
        """Note what was stored."""
        self.stored[info.key] = info
        self.bytes_of[info.key, info.version] = data

    def delete(self, key: str) -> None:
        """Note what was deleted."""
        del self.stored[key]

    def listed(self, listing: Iterable[ObjectInfo]) -> None:
        """Note that one complete listing was taken: what it lacks goes when the one before lacked it too."""
        found = {info.key: info for info in listing}
        for key in list(self.shown):
            if key in found:
                continue
            if key in self.missed_once:
                del self.shown[key]
                self.missed_once.discard(key)
            else:
                self.missed_once.add(key)
        for key, info in found.items():
            self.shown[key] = info
            self.missed_once.discard(key)

    def listed_alone(self, folder: str, listing: Iterable[ObjectInfo]) -> None:
        """Note that one folder was listed: what it holds is shown, and nothing goes."""
        for info in listing:
            assert info.key.startswith(folder)
            self.shown[info.key] = info
            self.missed_once.discard(info.key)

    def paths(self) -> dict[str, str | None]:
        """Return what stands at each path of the mount."""
        return paths_of(self.shown)
