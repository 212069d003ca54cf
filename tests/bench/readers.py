"""What is timed, each in a process of its own: ``python -m bench.readers KIND ARGUMENTS``, where ARGUMENTS is JSON.

Law: a reader says "ready", waits for a line on its input, works, and prints its result as JSON with ``began_s`` and
``ended_s`` of the clock that all processes share. So neither Python's start nor its imports are timed, and readers that
belong together begin together. Never in the store's process: a page fault holds the GIL.
"""

import ctypes
import json
import mmap
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

Result = dict[str, Any]
Work = Callable[[], Result]

_PREAD_BYTES = 4 << 20
_COPY_BYTES = 1 << 20  # of a mapping: stays in the CPU's cache
_compare = ctypes.CDLL(None).memcmp
_compare.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


def sequential(path: str, offset: int, length: int) -> Work:
    """Read a part of a file as dd does, into one buffer."""
    buffer = bytearray(_PREAD_BYTES)

    def work() -> Result:
        descriptor = os.open(path, os.O_RDONLY)
        position, stop = offset, offset + length
        while position < stop:
            got = os.preadv(descriptor, [memoryview(buffer)[: min(_PREAD_BYTES, stop - position)]], position)
            _expect(got > 0, f"{path} ends at {position}, before {stop}")
            position += got
        os.close(descriptor)
        return {"bytes": length}

    return work


def mapped(path: str, pieces: Sequence[Sequence[int]]) -> Work:
    """Copy pieces, each (offset, length), out of a mapping of the whole file, as safetensors does."""
    buffer = bytearray(_COPY_BYTES)

    def work() -> Result:
        before = _major_faults()
        with (
            open(path, "rb") as file,
            mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as area,
            memoryview(area) as view,
        ):
            for offset, length in pieces:
                for position in range(offset, offset + length, _COPY_BYTES):
                    count = min(_COPY_BYTES, offset + length - position)
                    buffer[:count] = view[position : position + count]
        return {"bytes": sum(length for _, length in pieces), "major_faults": _major_faults() - before}

    return work


def scattered(path: str, offsets: Sequence[int], length: int) -> Work:
    """Read small pieces here and there, having said so; return how long each took."""

    def work() -> Result:
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        took = []
        for offset in offsets:
            began_s = time.monotonic()
            _expect(len(os.pread(descriptor, length, offset)) == length, f"short read of {path} at {offset}")
            took.append(time.monotonic() - began_s)
        os.close(descriptor)
        return {"bytes": length * len(offsets), "took_s": took}

    return work


def whole_files(root: str) -> Work:
    """Walk a tree and read each file whole, in order of names."""

    def work() -> Result:
        count = size = 0
        for folder, names, files in os.walk(root):
            names.sort()
            for name in sorted(files):
                with open(os.path.join(folder, name), "rb", buffering=0) as file:
                    size += len(file.readall())
                count += 1
        return {"bytes": size, "files": count}

    return work


def walk(root: str, *, with_stat: bool) -> Work:
    """Walk a tree for its names, or with the size of each file."""

    def work() -> Result:
        files = size = 0
        for folder, _, names in os.walk(root):
            files += len(names)
            if with_stat:
                size += sum(os.stat(os.path.join(folder, name)).st_size for name in names)
        return {"files": files, "bytes": size}

    return work


def stats(root: str, names: Sequence[str], pause_s: float) -> Work:
    """Stat names that the kernel does not know yet, with pauses; return how long each took.

    What a pause took beyond its end is one wait for a core; a stat waits for one twice at least.
    """

    def work() -> Result:
        took, overslept = [], []
        for name in names:
            began_s = time.monotonic()
            os.stat(os.path.join(root, name))
            ended_s = time.monotonic()
            took.append(ended_s - began_s)
            time.sleep(pause_s)
            overslept.append(time.monotonic() - ended_s - pause_s)
        return {"bytes": 0, "took_s": took, "overslept_s": overslept}

    return work


def compare(path: str, source: str, pieces: Sequence[Sequence[int]]) -> Work:
    """Compare pieces of a file with those of its source, byte for byte; fail on the first difference."""
    left, right = bytearray(_PREAD_BYTES), bytearray(_PREAD_BYTES)

    def work() -> Result:
        here, there = os.open(path, os.O_RDONLY), os.open(source, os.O_RDONLY)
        for position, count in _cut(pieces):
            for descriptor, buffer in ((here, left), (there, right)):
                got = os.preadv(descriptor, [memoryview(buffer)[:count]], position)
                _expect(got == count, f"{path} or its source gave {got} bytes for {count} at {position}")
            _expect(_equal(left, right, count), f"WRONG BYTES in {path} between {position} and {position + count}")
        os.close(here)
        os.close(there)
        return {"bytes": sum(length for _, length in pieces)}

    return work


def compare_trees(root: str, source: str) -> Work:
    """Compare all files of two trees."""

    def work() -> Result:
        size = 0
        for folder, _, files in os.walk(source):
            for name in files:
                theirs = os.path.join(folder, name)
                ours = os.path.join(root, os.path.relpath(theirs, source))
                with open(theirs, "rb") as one, open(ours, "rb") as other:
                    content = one.read()
                    _expect(content == other.read(), f"WRONG BYTES in {ours}")
                    size += len(content)
        return {"bytes": size}

    return work


def safetensors(path: str) -> Work:
    """Load all tensors of a safetensors file, as its own library does."""
    from safetensors import safe_open  # noqa: PLC0415  only this reader needs it

    def work() -> Result:
        size = 0
        with safe_open(path, framework="np") as file:
            for name in file.keys():  # noqa: SIM118  it is no dictionary
                size += file.get_tensor(name).nbytes
        return {"bytes": size}

    return work


def onnx(path: str) -> Work:
    """Make an onnxruntime session of a model with external data."""
    import onnxruntime  # noqa: PLC0415  only this reader needs it

    def work() -> Result:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return {"bytes": 0}

    return work


def raw(url: str, key: str, size: int, *, at_once: int, range_bytes: int) -> Work:
    """Read an object by ranged GETs of obstore, so many at once, into memory, and drop them."""
    from bench.raw_store import read_all  # noqa: PLC0415  only this reader needs obstore

    return read_all(url, key, size, at_once=at_once, range_bytes=range_bytes)


def raw_scattered(url: str, key: str, offsets: Sequence[int], length: int) -> Work:
    """Read small ranges one after another; return how long each took."""
    from bench.raw_store import read_some  # noqa: PLC0415  only this reader needs obstore

    return read_some(url, key, offsets, length)


def raw_listing(url: str, prefix: str) -> Work:
    """List all objects below a prefix with obstore."""
    from bench.raw_store import list_all  # noqa: PLC0415  only this reader needs obstore

    return list_all(url, prefix)


KINDS: dict[str, Callable[..., Work]] = {
    each.__name__: each
    for each in (
        sequential,
        mapped,
        scattered,
        whole_files,
        walk,
        stats,
        compare,
        compare_trees,
        safetensors,
        onnx,
        raw,
        raw_scattered,
        raw_listing,
    )
}


def _cut(pieces: Sequence[Sequence[int]]) -> Iterable[tuple[int, int]]:
    for offset, length in pieces:
        for position in range(offset, offset + length, _PREAD_BYTES):
            yield position, min(_PREAD_BYTES, offset + length - position)


def _equal(one: bytearray, other: bytearray, count: int) -> bool:
    """Compare by memcmp: ``==`` of two memoryviews goes item by item, at a tenth of the speed."""
    addresses = [ctypes.addressof(ctypes.c_char.from_buffer(each)) for each in (one, other)]
    return bool(_compare(*addresses, count) == 0)


def _major_faults() -> int:
    """Return how many page faults of this process had to wait for a read."""
    with open("/proc/self/stat", encoding="ascii") as file:
        return int(file.read().rpartition(")")[2].split()[9])


def _expect(held: bool, otherwise: str) -> None:  # noqa: FBT001  reads like assert, and also works under -O
    if not held:
        raise RuntimeError(otherwise)


def main() -> None:
    """Run one reader."""
    kind, arguments = sys.argv[1], json.loads(sys.argv[2])
    work = KINDS[kind](**arguments)
    print("ready", flush=True)
    sys.stdin.readline()
    began_s = time.monotonic()
    result = work()
    print(json.dumps({**result, "began_s": began_s, "ended_s": time.monotonic()}), flush=True)


if __name__ == "__main__":
    main()
