"""The rules R6 to R10 of the times, checked for one step from a tree to the next."""

from collections.abc import Iterator

from modelfs.growing import TICK_NS
from modelfs.tree import Directory, File, Node, Tree


def walk(tree: Tree) -> Iterator[tuple[str, Node]]:
    """Yield every path and its node, the root first."""
    waiting: list[tuple[str, Node]] = [("", tree.root)]
    while waiting:
        path, node = waiting.pop()
        yield path, node
        if isinstance(node, Directory):
            waiting += [(f"{path}/{name}" if path else name, child) for name, child in node.children.items()]


def content(tree: Tree) -> dict[str, tuple[str, str] | None]:
    """Return what stands at each path: a key and its version, or None for a folder."""
    return {path: (node.info.key, node.info.version) if isinstance(node, File) else None for path, node in walk(tree)}


def is_below(path: str, folder: str) -> bool:
    """Tell whether ``path`` is ``folder`` or lies in it."""
    return not folder or path == folder or path.startswith(folder + "/")


def changed_paths(old: Tree, new: Tree) -> set[str]:
    """Return the paths that were added, removed or replaced."""
    before, after = content(old), content(new)
    return {path for path in before.keys() | after.keys() if before.get(path, "") != after.get(path, "")}


def check_times(old: Tree, new: Tree) -> None:
    """Check that times moved where something changed, and nowhere else."""
    before, after, changed = dict(walk(old)), dict(walk(new)), changed_paths(old, new)
    for path, node in after.items():
        was = before.get(path)
        if isinstance(node, Directory):
            assert all(node.mtime_ns >= child.mtime_ns for child in node.children.values())
        if not any(is_below(other, path) for other in changed):
            assert was is not None
            assert node.mtime_ns == was.mtime_ns, f"{path!r} moved although nothing below it changed"
        elif isinstance(node, Directory) and isinstance(was, Directory):
            least = TICK_NS if path else 0  # Triton looks below the root, never at its own time
            assert node.mtime_ns >= was.mtime_ns + least, f"{path!r} did not move"
        elif isinstance(node, File) and isinstance(was, File):
            model = before[path.split("/")[0]]
            assert node.mtime_ns >= model.mtime_ns + TICK_NS, f"{path!r} is not newer than all its model showed"
