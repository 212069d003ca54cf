"""A python-based Triton backend named "onnxruntime": it runs model.onnx with the onnxruntime wheel.

Law: it reads the model through the path that Triton gives, once, as Triton's own ONNX backend does. It stands in for
that backend, which no package registry carries; what it is for is a stock Triton server that loads
``platform: "onnxruntime_onnx"`` models from a mount, so it has no options of its own.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils

THREADS = 1  # one each: eight models start at once, and an ONNX thread pool per core and model would thrash


class TritonPythonModel:
    """One instance of one model version; Triton's python backend calls it by these names."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Load the version that ``args`` names."""
        config = json.loads(args["model_config"])
        name = config.get("default_model_filename") or "model.onnx"
        path = Path(args["model_repository"]) / args["model_version"] / name
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        options.inter_op_num_threads = THREADS
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.inputs = [(node.name, node.type) for node in self.session.get_inputs()]
        self.outputs = {node["name"]: pb_utils.triton_string_to_numpy(node["data_type"]) for node in config["output"]}

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer each request on its own, so that one bad request fails alone."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        try:
            feed = {name: self._fed(request, name, kind) for name, kind in self.inputs}
            wanted = [name for name in request.requested_output_names() if name in self.outputs]
            results = self.session.run(wanted, feed)
        except Exception as error:  # noqa: BLE001  the root of a request: whatever failed is the answer to it
            return pb_utils.InferenceResponse([], pb_utils.TritonError(f"onnxruntime: {error}"))
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor(name, self._told(name, array)) for name, array in zip(wanted, results, strict=True)]
        )

    def _fed(self, request: Any, name: str, kind: str) -> Any:
        """Return an input as onnxruntime wants it: strings as str, which Triton hands over as bytes."""
        array = pb_utils.get_input_tensor_by_name(request, name).as_numpy()
        if kind == "tensor(string)":
            array = np.vectorize(lambda item: item.decode(), otypes=[object])(array)
        return array

    def _told(self, name: str, array: Any) -> Any:
        """Return an output as Triton wants it: strings as bytes."""
        if self.outputs[name] is np.object_:
            return np.vectorize(lambda item: str(item).encode(), otypes=[object])(array)
        return array.astype(self.outputs[name], copy=False)
