"""The bytes that a benchmark reads: made once for a run, in memory, so that the store's disk is never what is measured.

Law: files lie in tmpfs and in one folder that is removed at the end. Contents are random and tell nothing twice, so
that a comparison notices any block that is shifted or mixed up; sparse ones carry a mark at every MiB.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

_PIECE_BYTES = 4 << 20
_MARK_BYTES = 4096
_TENSORS = 16


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    """Yield a folder in tmpfs."""
    folder = Path(tempfile.mkdtemp(prefix="modelfs-bench-", dir="/dev/shm"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def random_file(path: Path, size: int, *, seed: int = 1, head: bytes = b"") -> Path:
    """Write ``size`` random bytes, the first of them ``head``, unless the file is there."""
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    chance = np.random.default_rng(seed)
    with path.open("wb", buffering=0) as file:
        file.write(head)
        while (left := size - file.tell()) > 0:
            file.write(chance.bytes(min(_PIECE_BYTES, left)))
    return path


def safetensors_file(path: Path, size: int) -> Path:
    """Write a safetensors file of ``size`` bytes with tensors of equal size, in the order of their names."""
    each = (size - 4096) // _TENSORS // 4
    header = {
        f"layer.{number:02d}": {
            "dtype": "F32",
            "shape": [each],
            "data_offsets": [number * each * 4, (number + 1) * each * 4],
        }
        for number in range(_TENSORS)
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the data begin at a multiple of 8
    whole = 8 + len(text) + _TENSORS * each * 4
    return random_file(path, whole, head=len(text).to_bytes(8, "little") + text)


def marked_file(path: Path, size: int) -> Path:
    """Write a sparse file: at each MiB a block of 4 KiB that tells where it is, else holes, which cost no memory."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb", buffering=0) as file:
            for offset in range(0, size, 1 << 20):
                os.pwrite(file.fileno(), (offset + 1).to_bytes(8, "little") * (_MARK_BYTES // 8), offset)
            file.truncate(size)
    return path


def many_files(folder: Path, *, folders: int, files: int, size: int) -> Path:
    """Write a tree of ``folders`` folders with ``files`` files each."""
    chance = np.random.default_rng(2)
    for number in range(folders):
        below = folder / f"folder-{number:03d}"
        below.mkdir(parents=True, exist_ok=True)
        for name in range(files):
            (below / f"part-{name:05d}.bin").write_bytes(chance.bytes(size))
    return folder


def onnx_with_external_data(folder: Path, size: int) -> Path:
    """Write a model whose weights, ``size`` bytes in all, lie in ``weights.bin`` beside ``model.onnx``.

    Each weight is a matrix that is multiplied by: onnxruntime repacks those for its kernels when it makes a session,
    so it reads every byte. (Of one that is only gathered from it reads nothing until inference: seen.)
    """
    from onnx import TensorProto, helper, save_model  # noqa: PLC0415  a second's import that only one row needs

    width = 1024
    rows = size // _TENSORS // (4 * width)
    length = rows * width * 4
    weights = []
    for number in range(_TENSORS):
        weight = TensorProto(name=f"weight_{number}", data_type=TensorProto.FLOAT, dims=[rows, width])
        weight.data_location = TensorProto.EXTERNAL
        for key, value in (("location", "weights.bin"), ("offset", number * length), ("length", length)):
            weight.external_data.add(key=key, value=str(value))
        weights.append(weight)
    nodes = [helper.make_node("MatMul", ["input", f"weight_{n}"], [f"row_{n}"]) for n in range(_TENSORS)]
    nodes.append(helper.make_node("Sum", [f"row_{n}" for n in range(_TENSORS)], ["sum"]))
    graph = helper.make_graph(
        nodes,
        "matrices",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, rows])],
        [helper.make_tensor_value_info("sum", TensorProto.FLOAT, [1, width])],
        weights,
    )
    folder.mkdir(parents=True, exist_ok=True)
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 17)])
    save_model(model, str(folder / "model.onnx"))
    random_file(folder / "weights.bin", _TENSORS * length, seed=3)
    return folder


def onnx_with_weights(folder: Path, size: int, *, seed: int) -> None:
    """Write a Triton model folder: a config, and version 1 with one ONNX file of about ``size`` bytes."""
    from onnx import TensorProto, helper  # noqa: PLC0415  a second's import that only one row needs

    width = 1024
    rows = size // (4 * width)
    content = np.random.default_rng(seed).bytes(rows * width * 4)
    weight = helper.make_tensor("weight", TensorProto.FLOAT, [rows, width], content, raw=True)
    graph = helper.make_graph(
        [helper.make_node("Gather", ["weight", "INDEX"], ["ROW"])],
        "embedding",
        [helper.make_tensor_value_info("INDEX", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("ROW", TensorProto.FLOAT, [1, width])],
        [weight],
    )
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 17)])
    (folder / "1").mkdir(parents=True, exist_ok=True)
    (folder / "1" / "model.onnx").write_bytes(model.SerializeToString())
    (folder / "config.pbtxt").write_text(
        f'name: "{folder.name}"\nplatform: "onnxruntime_onnx"\nmax_batch_size: 0\n'
        'input [{ name: "INDEX" data_type: TYPE_INT64 dims: [1] }]\n'
        f'output [{{ name: "ROW" data_type: TYPE_FP32 dims: [1, {width}] }}]\n'
    )


def keys_below(folder: Path, prefix: str) -> dict[str, Path]:
    """Return a key for each file below ``folder``, as a store would have them."""
    return {
        f"{prefix}/{path.relative_to(folder).as_posix()}": path for path in sorted(folder.rglob("*")) if path.is_file()
    }


def copy_tree(folder: Path, to: Path) -> int:
    """Copy a tree, and return how many bytes its files have."""
    shutil.copytree(folder, to, dirs_exist_ok=True)
    return sum(path.stat().st_size for path in to.rglob("*") if path.is_file())
