"""Models that say which publication they were loaded from: of each of their files.

Law: a file's content is its publication's number, and ``OUT`` is what the model found in its own file, then in its
parts, read when it was loaded. It also says so in the server's log, once for each load. Numbers that differ are a torn
load.
"""

_TENSORS = (
    'max_batch_size: 0 input [ { name: "IN" data_type: TYPE_INT32 dims: [ 1 ] } ] '
    'output [ { name: "OUT" data_type: TYPE_INT32 dims: [ -1 ] } ]'
)
CONFIG = f'backend: "python" {_TENSORS}'
ASKED = {"IN": ("INT32", [1], [0])}
"""The input of every model here. It means nothing; an ensemble cannot do without one."""

_SCRIPT = """
import os

import numpy
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        folder = os.path.join(args["model_repository"], args["model_version"])
        self.told = [NUMBER]
        for name in PARTS:
            with open(os.path.join(folder, name)) as file:
                self.told.append(int(file.read()))
        EXTRA
        print("witness", args["model_name"], args["model_version"], *self.told, flush=True)

    def execute(self, requests):
        told = pb_utils.Tensor("OUT", numpy.array(self.told, dtype=numpy.int32))
        return [pb_utils.InferenceResponse(output_tensors=[told]) for _ in requests]
"""


def config(more: str = "") -> bytes:
    """Return a config.pbtxt, with ``more`` at its end."""
    return f"{CONFIG} {more}\n".encode()


def script(number: int, parts: tuple[str, ...] = (), extra: str = "pass") -> bytes:
    """Return a model.py that tells ``number`` and what stands in ``parts`` beside it; ``extra`` runs at the load."""
    text = _SCRIPT.replace("NUMBER", str(number)).replace("PARTS", repr(parts)).replace("EXTRA", extra)
    return text.encode()


def version(path: str, number: int, parts: tuple[str, ...] = ()) -> dict[str, bytes]:
    """Return the files of a version folder; its model.py is the last."""
    return {f"{path}/{name}": str(number).encode() for name in parts} | {f"{path}/model.py": script(number, parts)}


def ensemble(step: str) -> bytes:
    """Return the config of an ensemble of one step."""
    maps = 'input_map { key: "IN" value: "IN" } output_map { key: "OUT" value: "OUT" }'
    scheduling = f'ensemble_scheduling {{ step {{ model_name: "{step}" model_version: -1 {maps} }} }}'
    return f'platform: "ensemble" {_TENSORS} {scheduling}\n'.encode()
