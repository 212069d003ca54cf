"""What will be read next, told by what is read now.

Law: asks the cache early and decides nothing else: a wrong guess costs bytes, never a wrong answer. Each guess is
bounded, so that a reader of one small file cannot start the download of a repository.

Two habits are known. Who reads one small file of a folder reads the others: they come together, since one after the
other each would cost a round trip. And Triton opens the config of each model that it is about to load, and then loads
under one lock, one model after the other: so the files of the versions that the config selects are begun at once, and
the large ones are announced, to be brought into the page cache (``announced``).
"""

import logging
from bisect import bisect_right
from collections.abc import Callable
from itertools import chain, islice

import trio
from cachetools import LRUCache

from modelfs.blocks import BLOCK_BYTES, ObjectInfo, block_count
from modelfs.cache import BlockCache
from modelfs.errors import ModelfsError
from modelfs.tree import Directory, File
from modelfs.version_policy import CONFIG_NAME, selected
from modelfs.view import View

log = logging.getLogger(__name__)

SMALL_BYTES = 1024 * 1024
"""What takes longer to ask for than to send, on a link of 30 ms and 90 MB/s, is below 2.7 MB."""

TOGETHER_MOST = 64
TOGETHER_BYTES = 8 * 1024 * 1024
HEAD_BYTES = 8 * 1024 * 1024
"""Of each file of a model that is about to load: one full fetch. A reader that comes then finds the next on its way."""

_CONFIG_BYTES_MOST = 1024 * 1024
_LEVELS_MOST = 3  # of folders below a version
_FOLDERS_MOST = 16
_NAMES_MOST = 20_000  # of a folder whose files are sorted: a million are a second, in the thread that answers


class Foresight:
    """Guesses for one mount. ``budget_bytes`` bounds what one config starts, and twice as much what all of them do.

    What nobody has read yet is evicted for no prefetch: with the memory full of what was announced, a reader was left
    without read-ahead, and got 58 MB/s of 618 (simulated).
    """

    def __init__(self, view: View, cache: BlockCache, *, nursery: trio.Nursery, budget_bytes: int) -> None:
        self._view = view
        self._cache = cache
        self._nursery = nursery
        self._budget_bytes = budget_bytes
        self.announce: Callable[[str, File], None] = lambda _path, _file: None
        self._folders: LRUCache[Directory, tuple[list[str], list[ObjectInfo]]] = LRUCache(_FOLDERS_MOST)

    def on_missed(self, path: str, info: ObjectInfo) -> None:
        """Take note that the beginning of a file is read that the page cache does not have."""
        folder, _, name = path.rpartition("/")
        if info.size > SMALL_BYTES:
            return
        siblings = self._view.tree.find(folder)
        if isinstance(siblings, Directory):
            self._begin_together(siblings, name, info)

    def on_open(self, path: str, info: ObjectInfo) -> None:
        """Take note that a file is opened."""
        model, _, name = path.rpartition("/")
        if name == CONFIG_NAME and info.size <= _CONFIG_BYTES_MOST and "/" not in model:
            self._nursery.start_soon(self._announced, model, info)

    def _begin_together(self, folder: Directory, name: str, missed: ObjectInfo) -> None:
        """Begin those behind ``name`` first, and then those before it."""
        names, infos = self._small_files(folder)
        first = bisect_right(names, name)
        left_bytes = TOGETHER_BYTES
        for info in islice(chain(islice(infos, first, None), islice(infos, first)), TOGETHER_MOST):
            if info == missed:
                continue
            left_bytes -= info.size
            if left_bytes < 0 or not self._prefetch(info, info.size):
                return

    def _small_files(self, folder: Directory) -> tuple[list[str], list[ObjectInfo]]:
        """Return the small files of a folder by name. Kept, since it is asked for each of them: 8 ms for 10,000."""
        if len(folder.children) > _NAMES_MOST:
            return [], []
        kept = self._folders.get(folder)
        if kept is None:
            found = sorted(
                (name, node.info)
                for name, node in folder.children.items()
                if isinstance(node, File) and 0 < node.info.size <= SMALL_BYTES
            )
            kept = self._folders[folder] = ([name for name, _ in found], [info for _, info in found])
        return kept

    async def _announced(self, model: str, config: ObjectInfo) -> None:
        try:
            await self._begin_model(model, config)
        except ModelfsError:
            return  # the reader is told
        except Exception:  # the root of a task: a bug in a guess must not end the mount
            log.exception("unexpected error in a guess key=%r", config.key)

    async def _begin_model(self, model: str, config: ObjectInfo) -> None:
        text = await self._text(config)
        folder = self._view.tree.find(model)
        if not isinstance(folder, Directory):
            return
        files: list[tuple[str, File]] = []
        for version in selected(text, folder.children):
            node = folder.children[version]
            if isinstance(node, Directory):
                files += _files(node, f"{model}/{version}", _LEVELS_MOST)
        for path, file in files:
            if file.info.size > SMALL_BYTES:
                self.announce(path, file)
        self._begin_heads([file.info for _, file in files])

    def _begin_heads(self, infos: list[ObjectInfo]) -> None:
        left_bytes = self._budget_bytes
        for info in infos:
            head_bytes = min(info.size, HEAD_BYTES)
            left_bytes -= head_bytes
            used_bytes = self._cache.statistics().used_bytes + head_bytes
            if left_bytes < 0 or used_bytes > 2 * self._budget_bytes or not self._prefetch(info, HEAD_BYTES):
                return

    async def _text(self, config: ObjectInfo) -> str:
        if not config.size:
            return ""
        blocks = block_count(config.size, block_bytes=BLOCK_BYTES)
        read = bytearray()
        while len(read) < config.size:
            view, base = await self._cache.read(config, len(read) // BLOCK_BYTES, blocks)
            read += view[len(read) - base :]
        return read.decode("utf-8", "replace")

    def _prefetch(self, info: ObjectInfo, length: int) -> bool:
        blocks = range(block_count(min(length, info.size), block_bytes=BLOCK_BYTES))
        unit_bytes = min(HEAD_BYTES, self._cache.unit_bytes_max)
        return self._cache.prefetch(info, blocks, max(1, unit_bytes // BLOCK_BYTES))


def _files(folder: Directory, path: str, levels: int) -> list[tuple[str, File]]:
    """Return what lies in ``folder`` and below, with its path, the greatest first: they take longest."""
    found: list[tuple[str, File]] = []
    for name, node in folder.children.items():
        if isinstance(node, File):
            found.append((f"{path}/{name}", node))
        elif levels:
            found += _files(node, f"{path}/{name}", levels - 1)
    return sorted(found, key=lambda each: -each[1].info.size)
