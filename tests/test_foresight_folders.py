"""Foresight in large folders."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

import trio

from modelfs.blocks import ObjectInfo
from modelfs.cache import BlockCache
from modelfs.foresight import TOGETHER_MOST, Foresight
from modelfs.tree import Directory, File, Node, Tree
from modelfs.view import View


class _Children(Mapping[str, Node]):
    """The children of a folder, and how often somebody went through all of them."""

    def __init__(self, names: list[str]) -> None:
        self._files = {name: File(ObjectInfo(f"m/{name}", 1000, "v", 0), 0) for name in names}
        self.walks = 0

    def __getitem__(self, name: str) -> Node:
        return self._files[name]

    def __iter__(self) -> Iterator[str]:
        self.walks += 1
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


@dataclass
class _Asked:
    """Stands for the cache, and notes what it is asked for early."""

    unit_bytes_max: int = 1 << 23
    keys: list[str] = field(default_factory=list)

    def prefetch(self, info: ObjectInfo, _blocks: range, _unit: int, _on_landed: object = None) -> bool:
        self.keys.append(info.key)
        return True


def _foresight(children: _Children) -> tuple[Foresight, _Asked]:
    @dataclass
    class Shown:
        tree: Tree

    asked = _Asked()
    view = cast("View", Shown(Tree(Directory({"m": Directory(children, 0)}, 0))))
    nursery = cast("trio.Nursery", None)  # a missed file starts no task
    return Foresight(view, cast("BlockCache", asked), nursery=nursery, budget_bytes=1 << 26), asked


def _missed(foresight: Foresight, name: str) -> None:
    foresight.on_missed(f"m/{name}", ObjectInfo(f"m/{name}", 1000, "v", 0))


def test_the_small_files_behind_the_one_that_is_read_come_first() -> None:
    foresight, asked = _foresight(_Children(["b", "a", "d", "c"]))
    _missed(foresight, "b")
    assert asked.keys == ["m/c", "m/d", "m/a"]


def test_a_large_folder_is_gone_through_once_and_not_for_each_of_its_files() -> None:
    names = [f"{number:04d}" for number in range(1000)]
    children = _Children(names)
    foresight, asked = _foresight(children)
    for name in names:
        _missed(foresight, name)
    assert children.walks == 1
    assert set(asked.keys[:TOGETHER_MOST]) == {f"m/{name}" for name in names[1 : TOGETHER_MOST + 1]}


def test_a_huge_folder_is_not_gone_through_in_the_thread_that_answers() -> None:
    children = _Children([f"{number:05d}" for number in range(20_001)])
    foresight, asked = _foresight(children)
    _missed(foresight, "00000")
    assert children.walks == 0
    assert asked.keys == []
