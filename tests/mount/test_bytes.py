"""What is read through a real mount is, to the byte, what the store holds."""

import hashlib
import mmap
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from faultserver import FaultServer, Keys, Stamped, write_stamped
from mount.mounting_for_tests import ACCESS_KEY, PATIENCE_S, SECRET_KEY, Mount, mounted

from modelfs.blocks import BLOCK_BYTES

BIG = 300 * 1000 * 1000
SIZES = (0, 1, 4095, 4096, 4097, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 8 * BLOCK_BYTES + 1, BIG)


@pytest.fixture(scope="module")
def mount(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    """Mount files of all those sizes, each stamped with its key, version and offsets."""
    with FaultServer(keys=Keys(ACCESS_KEY, SECRET_KEY)) as server:
        for size in SIZES:
            server.put("models", f"repository/m/1/{size}", Stamped(f"{size}", "v1", size))
        url = f"s3://127.0.0.1:{server.port}/models/repository"
        with mounted(url, tmp_path_factory.mktemp("bytes"), "--memory", "64M") as mount:
            yield mount


@pytest.mark.parametrize("size", SIZES)
def test_two_thousand_random_preads_are_exact_also_across_the_end(mount: Mount, size: int) -> None:
    content, chance = Stamped(f"{size}", "v1", size), random.Random(size)
    descriptor = os.open(mount.path / "m" / "1" / str(size), os.O_RDONLY)
    try:
        for _ in range(2000):
            offset = chance.randrange(size + 4096)
            length = chance.choice((1, 100, 4096, 70_000, 300_000)) if size < BIG else chance.choice((1, 4096, 70_000))
            assert os.pread(descriptor, length, offset) == content.read(offset, length)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("size", SIZES)
def test_a_sequential_read_is_exact(mount: Mount, size: int) -> None:
    with (mount.path / "m" / "1" / str(size)).open("rb") as file:
        assert _digest_of(iter(lambda: file.read(1 << 20), b"")) == _digest_of(_pieces(size))


@pytest.mark.parametrize("size", [size for size in SIZES if size])
def test_a_mapping_is_exact_in_any_order(mount: Mount, size: int) -> None:
    here = Path(__file__).parent
    compared = subprocess.run(
        [sys.executable, here / "map_and_compare.py", mount.path / "m" / "1" / str(size), str(size), str(size)],
        env={**os.environ, "PYTHONPATH": str(here.parent)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert compared.returncode == 0, compared.stderr


@pytest.mark.parametrize("size", SIZES)
def test_direct_reads_are_exact(mount: Mount, size: int) -> None:
    content, chance = Stamped(f"{size}", "v1", size), random.Random(size)
    buffer = mmap.mmap(-1, 1 << 20)  # aligned, as O_DIRECT may ask
    descriptor = os.open(mount.path / "m" / "1" / str(size), os.O_RDONLY | os.O_DIRECT)
    try:
        for _ in range(50):
            offset = chance.randrange(size // mmap.PAGESIZE + 1) * mmap.PAGESIZE
            got = os.preadv(descriptor, [buffer], offset)
            assert buffer[:got] == content.read(offset, 1 << 20)
    finally:
        os.close(descriptor)
        buffer.close()


def test_find_ls_and_md5sum_agree_with_the_source(store: FaultServer, url: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    names = ["m/config.pbtxt", "m/1/model.onnx", "m/2/a b+c=d%41é.bin", "n/labels.txt", "n/10/x/y/z"]
    for number, name in enumerate(names):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        write_stamped(source / name, name, "v1", number * 50_001)
        store.put("models", f"repository/{name}", source / name, mtime_ns=(1_700_000_000 + number) * 10**9)
        os.utime(source / name, ns=((1_700_000_000 + number) * 10**9,) * 2)
    sums = _run("find . -type f -print0 | sort -z | xargs -0 md5sum", source)
    with mounted(url, tmp_path) as mount:
        (tmp_path / "sums").write_text(sums)
        checked = subprocess.run(["md5sum", "-c", "--quiet", tmp_path / "sums"], cwd=mount.path, check=False)
        assert checked.returncode == 0
        # %s of a folder is the file system's own business
        find = r"find . -printf '%p %y\n' | sort; find . -type f -printf '%p %s %T@\n' | sort"
        assert _run(find, mount.path) == _run(find, source)
        listed = r"ls -lR --time-style=+%s | awk '/^-/ {print $5, $6, $7} /^\./'"
        assert _run(listed, mount.path) == _run(listed, source)


def _digest_of(pieces: Iterator[bytes] | Iterator[memoryview]) -> str:
    digest = hashlib.blake2b()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def _pieces(size: int) -> Iterator[memoryview]:
    content = Stamped(f"{size}", "v1", size)
    for offset in range(0, size, 1 << 22):
        yield content.read(offset, 1 << 22)


def _run(script: str, folder: Path) -> str:
    return subprocess.run(["/bin/bash", "-c", script], cwd=folder, capture_output=True, text=True, check=True).stdout
