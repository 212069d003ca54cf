"""Objects become a tree, and the tree before gives it its times and all that did not change.

Law: pure; no I/O, no clock. A tree is made from one complete listing, or grafted from one of some models; the order of
a listing does not matter.

Names are ``names``'s: a key is shown at its own path, unless it can be none or is hidden. A key that ends in "/" is a
folder marker: the folder exists, also when it is empty. Of a key `a` beside `a/b`, the folder wins.

What Triton would take for a version although it is none is not shown in a model (R18), and a model is a folder of the
root that has a config.pbtxt (or `configs/`), or a version with a file that Triton loads without one. So the folders of
a bucket that is mounted above its repository, whose models may be named `3d-unet`, are all there.

Times are Triton's input: it reloads a model when the greatest mtime or ctime below its folder *grows*. So a file
keeps the time with which its version was first seen; a replaced file is strictly newer than everything its model (the
root's child) ever showed; a folder's time is the maximum of its subtree, never shrinks while mounted, and moves to a
tick beyond its model's greatest time when an entry of its own is added, replaced or removed. A tick beyond the folder's
own time would be lost on Triton where another version is newer. A model that comes back is newer than it was when it
went: a Triton that did not poll in between would else take it for the one that it has loaded.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from modelfs.blocks import ObjectInfo
from modelfs.names import is_misread, visible_depth, why_no_path
from modelfs.tree import EMPTY, Directory, File, Node, Omission, Tree, count, last_gone
from modelfs.version_policy import CONFIG_NAME, CONFIGS_FOLDER, is_version
from modelfs.wholeness import WITHOUT_CONFIG

TICK_NS = 1_000_000
"""The smallest step of a time that every reader sees: Python's float seconds resolve 0.2 us, `find -printf` more."""

ARCHIVE_TICK_NS = 1_000_000_000
"""For archives: Triton's Python backend compares the times of an environment in whole seconds before it unpacks it."""

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".zip")


def build(objects: Iterable[ObjectInfo], *, previous: Tree = EMPTY, show_hidden: bool = False) -> Tree:
    """Return the tree of a complete listing. ``previous`` gives the times and the unchanged directories.

    >>> tree = build([ObjectInfo("m/1/model.onnx", 7, "v", 5)])
    >>> tree.find("m/1/model.onnx")
    File(info=ObjectInfo(key='m/1/model.onnx', size=7, version='v', mtime_ns=5), mtime_ns=5)
    """
    growing = _Growing()
    for info in objects:
        growing.add(info, show_hidden=show_hidden)
    if not show_hidden:
        growing.hide_misread()
    first = previous is EMPTY
    root, gone = _followed(previous, _freeze(growing.root, None if first else previous.root))
    files, total_bytes = count(root)
    return Tree(root, tuple(growing.omissions), files, total_bytes, gone)


def graft(previous: Tree, models: Mapping[str, Iterable[ObjectInfo]], *, show_hidden: bool = False) -> Tree:
    """Return ``previous`` with some folders of the root made anew, each of all the objects below it.

    The model "" is the root's own files. The same tree as ``build`` returns, where nothing else has changed, and where
    none of these folders has the name of a file of the root unless that is made anew; the work is that of these models.

    >>> one = build([ObjectInfo("a/1/x", 7, "v", 5), ObjectInfo("b/1/x", 7, "v", 5)])
    >>> two = graft(one, {"b": [ObjectInfo("b/2/x", 9, "v", 8)]})
    >>> from modelfs.tree import files
    >>> sorted(files(two)), two.total_bytes, two.find("a") is one.find("a")
    (['a/1/x', 'b/2/x'], 16, True)
    """
    growing = _Growing()
    for objects in models.values():
        for info in objects:
            growing.add(info, show_hidden=show_hidden)
    if not show_hidden:
        growing.hide_misread()
    keeps_files = "" not in models
    for name, node in previous.root.children.items():
        if isinstance(node, File):
            if keeps_files:
                growing.keep_file(name, node)
        elif name not in models:
            growing.keep_folder(name, node)
    root, gone = _followed(previous, _freeze(growing.root, None if previous is EMPTY else previous.root))
    kept = (
        each for each in previous.omissions if (each.key.partition("/")[0] if "/" in each.key else "") not in models
    )
    files, total_bytes = previous.files, previous.total_bytes
    for sign, children in ((-1, previous.root.children), (1, root.children)):
        for name in models if keeps_files else {*models, *_files_of(children)}:
            more_files, more_bytes = count(children.get(name))
            files, total_bytes = files + sign * more_files, total_bytes + sign * more_bytes
    return Tree(root, (*kept, *growing.omissions), files, total_bytes, gone)


def _followed(previous: Tree, root: Directory) -> tuple[Directory, Mapping[str, int]]:
    """Return ``root``, in which what came back is newer than it was when it went, and what has gone by now."""
    if root is previous.root:
        return root, previous.gone
    went = {
        name: node.mtime_ns
        for name, node in previous.root.children.items()
        if isinstance(node, Directory) and node.mtime_ns and not isinstance(root.children.get(name), Directory)
    }
    back: dict[str, Node] = {}
    for name, gone_ns in previous.gone.items():
        node = root.children.get(name)
        if isinstance(node, Directory):
            back[name] = replace(node, mtime_ns=max(node.mtime_ns, gone_ns + TICK_NS))
    if back:
        root = replace(root, children={**root.children, **back})
    if not back and not went:
        return root, previous.gone
    gone = {name: gone_ns for name, gone_ns in {**previous.gone, **went}.items() if name not in back}
    return root, last_gone(gone)


def _files_of(children: Mapping[str, Node]) -> list[str]:
    return [name for name, node in children.items() if isinstance(node, File)]


class _Folder(dict[str, "ObjectInfo | _Folder | Node"]):
    """A directory while it grows; the time of its marker and hidden objects counts while it shows nothing.

    A child that is a Node already is kept as it is.
    """

    placeholder_mtime_ns = 0


_MISREAD = "Triton would take it for a version; name it 1, 2, 3 …, or move it out of the model"


def _is_model(folder: _Folder) -> bool:
    if isinstance(folder.get(CONFIG_NAME), ObjectInfo) or isinstance(folder.get(CONFIGS_FOLDER), _Folder):
        return True
    versions = (child for name, child in folder.items() if is_version(name) and isinstance(child, _Folder))
    return any(name in version for version in versions for name in WITHOUT_CONFIG)


class _Growing:
    """The mutable tree of one ``build``."""

    def __init__(self) -> None:
        self.root = _Folder()
        self.omissions: list[Omission] = []

    def add(self, info: ObjectInfo, *, show_hidden: bool) -> None:
        """Put one object where it belongs, or note why it cannot be shown."""
        names = info.key.split("/")
        is_marker = names[-1] == ""
        if is_marker:
            names.pop()
        reason = why_no_path(names)
        if reason:
            self.omissions.append(Omission(info.key, reason))
            return
        visible = len(names) if show_hidden else visible_depth(names)
        folders = names[: visible if is_marker or visible < len(names) else -1]
        folder = self.root
        for name in folders:
            child = folder.get(name)
            if not isinstance(child, _Folder):
                if isinstance(child, ObjectInfo):
                    self._note_shadowed(child)
                child = folder[name] = _Folder()
            folder = child
        if is_marker or visible < len(names):
            folder.placeholder_mtime_ns = max(folder.placeholder_mtime_ns, info.mtime_ns)
        else:
            self._add_file(folder, names[-1], info)

    def hide_misread(self) -> None:
        """Take the folders out of the models that Triton would take for versions, and note that."""
        for model, folder in self.root.items():
            if not isinstance(folder, _Folder):
                continue
            misread = [name for name, child in folder.items() if isinstance(child, _Folder) and is_misread(name)]
            for name in misread if _is_model(folder) else ():
                del folder[name]
                self.omissions.append(Omission(f"{model}/{name}/", _MISREAD))

    def keep_file(self, name: str, file: File) -> None:
        """Put a file of the tree before into the root, unless a folder has its name now."""
        if name in self.root:
            self._note_shadowed(file.info)
        else:
            self.root[name] = file

    def keep_folder(self, name: str, folder: "Directory") -> None:
        """Put a folder of the tree before into the root, also where a file has its name now."""
        shadowed = self.root.get(name)
        if isinstance(shadowed, ObjectInfo):
            self._note_shadowed(shadowed)
        self.root[name] = folder

    def _add_file(self, folder: _Folder, name: str, info: ObjectInfo) -> None:
        if isinstance(folder.get(name), _Folder):
            self._note_shadowed(info)
        else:
            folder[name] = info

    def _note_shadowed(self, info: ObjectInfo) -> None:
        if info.size:  # an empty one is a console's way of making a folder
            self.omissions.append(Omission(info.key, "a folder of the same name is shown instead"))


def _freeze(folder: _Folder, previous: Directory | None, model_ns: int | None = None) -> Directory:
    """Return the immutable directory, sharing what did not change with ``previous``.

    ``model_ns`` is the greatest time that the model (the root's child) around it showed before, or None for the root.
    """
    floor_ns = model_ns if model_ns is not None else previous.mtime_ns if previous else 0
    known: Mapping[str, Node] = previous.children if previous else {}
    different: dict[str, Node] = {}
    added: list[str] = []
    is_changed = False  # whether an entry of its own was added, replaced or removed
    newest_ns = 0
    for name, child in folder.items():
        before = known.get(name)
        node: Node
        if isinstance(child, _Folder):
            directory_before = before if isinstance(before, Directory) else None
            around_ns = model_ns if model_ns is not None else directory_before.mtime_ns if directory_before else 0
            node = _freeze(child, directory_before, around_ns)
            is_changed = is_changed or directory_before is None
        else:
            node = _file(child, before, floor_ns) if isinstance(child, ObjectInfo) else child
            is_changed = is_changed or node is not before
        newest_ns = max(newest_ns, node.mtime_ns)
        if node is not before:
            different[name] = node
            if before is None:
                added.append(name)
    if previous is None:
        return Directory.of(different, newest_ns if different else folder.placeholder_mtime_ns)
    removed = [name for name in known if name not in folder] if len(folder) - len(added) < len(known) else []
    if not different and not removed:
        return previous
    mtime_ns = max(newest_ns, previous.mtime_ns, floor_ns + TICK_NS if is_changed or removed else 0)
    # a copy shares the names with what was before: a million new ones would be freed at once, with the lock held
    children = known.copy() if isinstance(known, dict) else dict(known)  # 17 ms for a million, and 50
    children.update(different)
    for name in removed:
        del children[name]
    return previous.followed_by(children, mtime_ns, added=added, removed=removed)


def _file(info: ObjectInfo, before: Node | None, floor_ns: int) -> File:
    """Return the file as shown: the one from before when its version is the same, else one newer than ``floor_ns``."""
    if not isinstance(before, File):
        return File(info, info.mtime_ns)
    if before.info.version == info.version and before.info.size == info.size:
        return before
    tick_ns = ARCHIVE_TICK_NS if info.key.endswith(ARCHIVE_SUFFIXES) else TICK_NS
    return File(info, max(info.mtime_ns, floor_ns + tick_ns))
