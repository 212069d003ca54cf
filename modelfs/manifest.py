r"""The manifest of a sealed version: the object MODEL/VERSION/.modelfs-seal.json, which says that an upload is done.

Law: pure. A version is sealed when every file that its manifest names is listed with the size and the version that
stand there, and no other file is: one that was added since may be the beginning of another upload. A manifest that
names none, as an ensemble's, seals a version that has none. One that cannot be understood is none: the version then
settles like any other.

    {"format": 1, "files": {"model.onnx": {"size": 7, "version": "\"0a1b\""}}, "sealed_at": "2026-01-31T12:00:00Z"}
"""

import json
from collections.abc import Mapping

from modelfs import growing, tree
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
    """Tell whether ``manifest`` names exactly what is in ``objects`` (by key). ``folder`` is "MODEL/VERSION".

    What a mount does not show as a file need not be named: markers, hidden names, and keys that cannot be paths.

    >>> listed = {key: ObjectInfo(key, 7, "v", 0) for key in ("m/1/", "m/1/.keep", "m/1/a", "m/1/b")}
    >>> [is_sealed(dict.fromkeys(names, (7, "v")), "m/1", listed) for names in ("", "a", "ab", "abc")]
    [False, False, True, False]
    """
    start = len(folder) + 1
    listed = (objects.get(f"{folder}/{path}") for path in manifest)
    if not all(info is not None and manifest[info.key[start:]] == info[1:3] for info in listed):
        return False
    shown = tree.files(growing.build(info for key, info in objects.items() if key.startswith(f"{folder}/")))
    return all(key[start:] in manifest for key in shown)
