"""What is fetched before it is asked for: small neighbours together, and the versions that a config selects."""

from collections import Counter
from collections.abc import Mapping

import pytest
import trio
import trio.testing
from operations_for_tests import Mounted, mounted
from stores.memory_store import MemoryStore

from modelfs import foresight
from modelfs.errors import ModelfsError
from modelfs.foresight import HEAD_BYTES, SMALL_BYTES, TOGETHER_BYTES, TOGETHER_MOST

PLENTY = 2**26


def filled(objects: Mapping[str, bytes | int]) -> MemoryStore:
    """Return a store of objects with these bytes, or so many zeros."""
    store = MemoryStore()
    for key, data in objects.items():
        store.put(key, data if isinstance(data, bytes) else bytes(data))
    return store


async def settled(mount: Mounted) -> Counter[str]:
    """Wait until all that was begun has ended, and return how many bytes of each key were asked for."""
    await trio.testing.wait_all_tasks_blocked()
    asked: Counter[str] = Counter()
    for key, _, length in mount.store.reads:
        asked[key] += length
    return asked


async def open_only(mount: Mounted, path: str) -> None:
    await mount.kernel.open((await mount.kernel.lookup(path)).st_ino)


# small files of one folder


async def test_who_reads_one_small_file_of_a_folder_gets_the_others_without_asking() -> None:
    files = {f"m/1/{number}": bytes([number]) * 100 for number in range(30)}
    async with mounted(filled({**files, "m/2/x": 100, "m/1/sub/x": 100}), foreseen_bytes=PLENTY) as mount:
        await mount.kernel.read_whole("m/1/7")
        assert await settled(mount) == dict.fromkeys(files, 100)
        for path, data in files.items():
            assert await mount.kernel.read_whole(path) == data
        assert len(mount.store.reads) == 30


async def test_a_large_file_announces_nothing_and_is_not_fetched_for_a_small_one() -> None:
    store = filled({"m/1/small": 10, "m/1/large": SMALL_BYTES + 1, "m/1/empty": b""})
    async with mounted(store, foreseen_bytes=PLENTY) as mount:
        await mount.kernel.read_whole("m/1/small")
        assert await settled(mount) == {"m/1/small": 10}
        handle = await mount.kernel.open((await mount.kernel.lookup("m/1/large")).st_ino)
        await mount.operations.read(handle, 0, 10)
        assert "m/1/small" not in (await settled(mount)).keys() - {"m/1/small"}


async def test_a_read_behind_the_beginning_announces_nothing() -> None:
    async with mounted(filled({"m/1/a": 10_000, "m/1/b": 10_000}), foreseen_bytes=PLENTY) as mount:
        handle = await mount.kernel.open((await mount.kernel.lookup("m/1/a")).st_ino)
        await mount.operations.read(handle, 4096, 10)
        assert (await settled(mount)).keys() == {"m/1/a"}


@pytest.mark.parametrize(("count", "size"), [(1000, 10), (40, 500_000)])
async def test_no_more_is_fetched_together_than_its_bounds(count: int, size: int) -> None:
    files = {f"m/1/{number:04d}": size for number in range(count)}
    async with mounted(filled(files), foreseen_bytes=PLENTY) as mount:
        await mount.kernel.read_whole("m/1/0005", step=2**20)
        asked = await settled(mount)
        assert 5 < len(asked) <= TOGETHER_MOST + 1
        assert asked.total() <= TOGETHER_BYTES + size


async def test_those_behind_the_one_that_is_read_come_first() -> None:
    files = {f"m/1/{number:04d}": 10 for number in range(500)}
    async with mounted(filled(files), foreseen_bytes=PLENTY) as mount:
        await mount.kernel.read_whole("m/1/0300")
        assert (await settled(mount)).keys() == {f"m/1/{number:04d}" for number in range(300, 301 + TOGETHER_MOST)}


# R24: models that are about to load

MODEL = {"m/1/old": 300_000, "m/2/model": 3 * HEAD_BYTES, "m/2/sub/deep/x": 200_000, "m/labels": 2_000_000, "n/1/x": 10}


async def test_r24_opening_a_config_fetches_the_version_that_it_selects_and_nothing_of_others() -> None:
    async with mounted(filled({**MODEL, "m/config.pbtxt": b"name: 'm'"}), foreseen_bytes=PLENTY) as mount:
        await open_only(mount, "m/config.pbtxt")
        asked = await settled(mount)
        assert asked == {"m/config.pbtxt": 9, "m/2/model": HEAD_BYTES, "m/2/sub/deep/x": 200_000}


async def test_r24_each_version_that_the_policy_names_is_fetched() -> None:
    config = b"version_policy: { specific { versions: [1, 2, 5] } }"
    async with mounted(filled({**MODEL, "m/config.pbtxt": config}), foreseen_bytes=PLENTY) as mount:
        await open_only(mount, "m/config.pbtxt")
        assert (await settled(mount)).keys() == {"m/config.pbtxt", "m/1/old", "m/2/model", "m/2/sub/deep/x"}


async def test_what_one_config_starts_is_bounded() -> None:
    files = {f"m/1/{number}": 2**20 for number in range(20)}
    async with mounted(filled({**files, "m/config.pbtxt": b"x"}), foreseen_bytes=3 * 2**20) as mount:
        await open_only(mount, "m/config.pbtxt")
        assert (await settled(mount)).total() <= 3 * 2**20 + 1


async def test_what_many_configs_announce_leaves_half_the_memory_to_those_who_read() -> None:
    """What nobody has read yet is evicted for no prefetch, so a reader's window would shrink to nothing."""
    models = {f"m{number}/1/x": 2 * HEAD_BYTES for number in range(12)}
    configs = {f"m{number}/config.pbtxt": b"x" for number in range(12)}
    async with mounted(filled({**models, **configs}), foreseen_bytes=2 * HEAD_BYTES, budget_bytes=2**26) as mount:
        for path in configs:
            await open_only(mount, path)
        asked = await settled(mount)
        assert 3 * HEAD_BYTES <= asked.total() <= 4 * HEAD_BYTES + len(configs)
        assert mount.cache.prefetch(mount.store.put("other", bytes(2**24)), range(128), 64)


@pytest.mark.parametrize("config", [b"", b"\xff\xfe\x00", b"version_policy { specific { versions: [7] } }", 2**20 + 1])
async def test_a_config_that_selects_nothing_or_cannot_be_read_starts_no_harm(config: bytes | int) -> None:
    async with mounted(filled({"m/1/x": 10, "m/config.pbtxt": config}), foreseen_bytes=PLENTY) as mount:
        await open_only(mount, "m/config.pbtxt")
        await settled(mount)
        assert await mount.kernel.read_whole("m/1/x") == bytes(10)


async def test_only_a_models_own_config_announces_it() -> None:
    files: dict[str, bytes | int] = {
        "config.pbtxt": b"",
        "m/1/config.pbtxt": b"",
        "m/1/1/x": 10,
        "m/config.pbtxt.bak": b"",
        "1/x": 10,
    }
    async with mounted(filled(files), foreseen_bytes=PLENTY) as mount:
        for path in ("m/1/config.pbtxt", "m/config.pbtxt.bak"):
            await open_only(mount, path)
        assert not await settled(mount)


async def test_a_bug_in_a_guess_ends_no_mount(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def selected(*_arguments: object) -> list[str]:
        raise ZeroDivisionError

    monkeypatch.setattr(foresight, "selected", selected)
    async with mounted(filled({"m/1/x": b"bytes", "m/config.pbtxt": b"x"}), foreseen_bytes=PLENTY) as mount:
        await open_only(mount, "m/config.pbtxt")
        await settled(mount)
        assert await mount.kernel.read_whole("m/1/x") == b"bytes"
    assert "unexpected error" in caplog.text


async def test_a_store_that_fails_is_told_to_who_reads_and_not_to_the_guess() -> None:
    store = filled({"m/1/x": b"bytes", "m/config.pbtxt": b"x"})
    async with mounted(store, foreseen_bytes=PLENTY) as mount:

        def fail(kind: str, _info: object) -> None:
            if kind == "read":
                raise ModelfsError("away")

        store.fail = fail
        await open_only(mount, "m/config.pbtxt")
        await settled(mount)
        store.fail = None
        assert await mount.kernel.read_whole("m/1/x") == b"bytes"
