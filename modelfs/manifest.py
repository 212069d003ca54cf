r"""The manifest of a sealed version: the object MODEL/VERSION/.modelfs-seal.json, which says that an upload is done.

Law: pure. A version is sealed when every file that its manifest names is listed with the size and the version that
stand there; a manifest that names none, as an ensemble's, seals a version that has none. One that cannot be understood
is none: the version then settles like any other.

    {"format": 1, "files": {"model.onnx": {"size": 7, "version": "\"0a1b\""}}, "sealed_at": "2026-01-31T12:00:00Z"}
"""

import json
from collections.abc import Mapping

from modelfs.blocks import ObjectInfo

MANIFEST_NAME = ".modelfs-seal.json"
FORMAT = 1


def compose(files: Mapping[str, ObjectInfo], *, sealed_at: str) -> bytes:
    """Return the manifest of ``files``, by their paths below the version. ``sealed_at`` is ISO 8601 in UTC, for people.

    >>> parse(compose({"a": ObjectInfo("m/1/a", 7, "v", 0)}, sealed_at="2026-01-31T12:00:00Z"))
    {'a': (7, 'v')}
    """
    told = {path: {"size": files[path].size, "version": files[path].version} for path in sorted(files)}
    return json.dumps({"format": FORMAT, "files": told, "sealed_at": sealed_at}, indent=1).encode() + b"\n"


def parse(text: bytes) -> dict[str, tuple[int, str]] | None:
    """Return the size and version of each file, by its path below the version; None for what is no manifest.

    >>> parse(b'{"format": 1, "files": {"a": {"size": 7, "version": "v"}}}'), parse(b"{}"), parse(b"[")
    ({'a': (7, 'v')}, None, None)
    """
    try:
        found = json.loads(text)
        if found["format"] != FORMAT:
            return None
        files = {str(path): (told["size"], told["version"]) for path, told in found["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return files


def is_sealed(manifest: Mapping[str, tuple[int, str]], folder: str, objects: Mapping[str, ObjectInfo]) -> bool:
    """Tell whether all that ``manifest`` names is in ``objects`` (by key). ``folder`` is "MODEL/VERSION".

    >>> marker, file = ObjectInfo("e/1/", 0, "v", 0), ObjectInfo("e/1/a", 0, "v", 0)
    >>> [is_sealed({}, "e/1", {info.key: info for info in objects}) for objects in ([marker], [marker, file])]
    [True, False]
    """
    if not manifest:
        names = (key.rpartition("/")[2] for key in objects if key.startswith(f"{folder}/"))
        return all(name == "" or name.startswith(".") for name in names)
    listed = (objects.get(f"{folder}/{path}") for path in manifest)
    return all(info is not None and manifest[info.key[len(folder) + 1 :]] == info[1:3] for info in listed)
