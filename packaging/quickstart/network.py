"""Builds ONNX graphs with random weights.

Law: deterministic. The same calls on the same seed give the same bytes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 9  # younger than opset 17 by two years, and old enough for every onnxruntime that runs on Python 3.11


class Network:
    """An ONNX graph under construction. Each method adds nodes and returns the name of what they put out."""

    def __init__(self, seed: int = 0) -> None:
        self._nodes: list[NodeProto] = []
        self._weights: list[TensorProto] = []
        self._random = np.random.default_rng(seed)

    def node(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add one node of one output, which gets a name of its own unless ``output`` gives it."""
        name = output or f"t{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, array: npt.NDArray[Any]) -> str:
        """Add ``array`` as a stored tensor."""
        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(array, name))
        return name

    def weight(self, *shape: int) -> str:
        """Add random weights of (out, in, ...), scaled so that what passes through keeps its magnitude (He, 2015)."""
        bound = np.float32(np.sqrt(6.0 / np.prod(shape[1:])))
        return self.constant((self._random.random(shape, dtype=np.float32) * 2 - 1) * bound)

    def convolution(self, source: str, channels: tuple[int, int], kernel: tuple[int, int], stride: int = 1) -> str:
        """Add a convolution from channels[0] to channels[1], padded to keep the size when ``stride`` is 1, and ReLU."""
        pads = [kernel[0] // 2, kernel[1] // 2] * 2
        weight = self.weight(channels[1], channels[0], *kernel)
        return self.node("Relu", self.node("Conv", source, weight, pads=pads, strides=[stride, stride]))

    def pool(self, kind: str, source: str, size: int, stride: int) -> str:
        """Add a MaxPool or AveragePool, padded like a convolution."""
        pads = [(size - 1) // 2] * 4
        return self.node(kind, source, kernel_shape=[size, size], strides=[stride, stride], pads=pads)

    def model(self, inputs: Sequence[ValueInfoProto], outputs: Sequence[ValueInfoProto]) -> ModelProto:
        """Return the finished model."""
        graph = helper.make_graph(self._nodes, "model", inputs, outputs, self._weights)
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="modelfs")


def tensor(name: str, kind: int, *shape: int | str) -> ValueInfoProto:
    """Return the declaration of an input or output; a dimension given as a word is free."""
    return helper.make_tensor_value_info(name, kind, shape)
