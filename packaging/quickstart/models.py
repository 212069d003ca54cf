"""Makes the eight models of Triton's example repository, with random weights and the right shapes.

Law: the same files, byte for byte, at every run with the same packages.

The example repository's own script downloads its two large models from hosts that a firewalled machine does not
reach; random weights load, serve and weigh the same. Names, data types, shapes, batching and label files are those of
the example repository. inception_graphdef has an ONNX body (NVIDIA's own examples now have inception_onnx), because
the Triton that package registries carry has no TensorFlow backend, which NVIDIA no longer builds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from network import Network, tensor
from onnx import ModelProto, TensorProto

NAMES = (
    "densenet_onnx",
    "inception_graphdef",
    "simple",
    "simple_dyna_sequence",
    "simple_identity",
    "simple_int8",
    "simple_sequence",
    "simple_string",
)


@dataclass(frozen=True, slots=True)
class _Recipe:
    """How one model is made: its ONNX body, its config.pbtxt but for the name, its label file and line count."""

    body: Callable[[], ModelProto]
    config: str
    labels: tuple[str, int] | None = None


def make(repository: Path) -> None:
    """Write the eight models into ``repository``, an existing folder without them."""
    for name in NAMES:
        recipe = _RECIPES[name]
        folder = repository / name
        (folder / "1").mkdir(parents=True)
        (folder / "1" / "model.onnx").write_bytes(recipe.body().SerializeToString(deterministic=True))
        head = f'name: "{name}"\nplatform: "onnxruntime_onnx"\n'
        (folder / "config.pbtxt").write_text(head + recipe.config)
        if recipe.labels is not None:
            file_name, count = recipe.labels
            (folder / file_name).write_text("".join(f"class {index:04d}\n" for index in range(count)))


def _densenet() -> ModelProto:
    """Return DenseNet-121 (Huang et al., 2017) but for its batch normalisation: 8 million weights, 32 MB."""
    net = Network(seed=121)
    growth, channels = 32, 64
    flow = net.pool("MaxPool", net.convolution("data_0", (3, channels), (7, 7), stride=2), 3, 2)
    for block, layers in enumerate((6, 12, 24, 16)):
        if block:  # a transition halves channels and picture
            flow = net.convolution(flow, (channels, channels // 2), (1, 1))
            flow = net.node("AveragePool", flow, kernel_shape=[2, 2], strides=[2, 2])
            channels //= 2
        for _ in range(layers):
            narrow = net.convolution(flow, (channels, 4 * growth), (1, 1))
            flow = net.node("Concat", flow, net.convolution(narrow, (4 * growth, growth), (3, 3)), axis=1)
            channels += growth
    net.node("Conv", net.node("GlobalAveragePool", flow), net.weight(1000, channels, 1, 1), output="fc6_1")
    return net.model(
        [tensor("data_0", TensorProto.FLOAT, 1, 3, 224, 224)], [tensor("fc6_1", TensorProto.FLOAT, 1, 1000, 1, 1)]
    )


_Layer = tuple[int, int, int]
"""Channels out, kernel height, kernel width."""


@dataclass(frozen=True, slots=True)
class _Mixed:
    """One of Inception v3's mixed blocks (Szegedy et al., 2016): branches side by side, and one more that pools."""

    branches: tuple[tuple[_Layer, ...], ...]
    pooled: int
    """Channels of the 1 x 1 convolution behind the pool; 0 where the pool stands alone."""
    stride: int = 1
    """Of the last layer of each branch and of the pool: 2 halves the picture."""


def _a(pooled: int) -> _Mixed:
    return _Mixed((((64, 1, 1),), ((48, 1, 1), (64, 5, 5)), ((64, 1, 1), (96, 3, 3), (96, 3, 3))), pooled)


def _b(width: int) -> _Mixed:
    short = ((width, 1, 1), (width, 1, 7), (192, 7, 1))
    long = ((width, 1, 1), (width, 7, 1), (width, 1, 7), (width, 7, 1), (192, 1, 7))
    return _Mixed((((192, 1, 1),), short, long), 192)


def _c() -> _Mixed:
    # a fork into 1 x 3 and 3 x 1 of 384 channels each in the paper; one layer of both widths here, for as many weights
    return _Mixed((((320, 1, 1),), ((384, 1, 1), (768, 1, 3)), ((448, 1, 1), (384, 3, 3), (768, 3, 1))), 192)


_INCEPTION = (
    _a(32),
    _a(64),
    _a(64),
    _Mixed((((384, 3, 3),), ((64, 1, 1), (96, 3, 3), (96, 3, 3))), 0, stride=2),
    _b(128),
    _b(160),
    _b(160),
    _b(192),
    _Mixed((((192, 1, 1), (320, 3, 3)), ((192, 1, 1), (192, 1, 7), (192, 7, 1), (192, 3, 3))), 0, stride=2),
    _c(),
    _c(),
)


def _inception() -> ModelProto:
    """Return a network of Inception v3's blocks: about 23 million weights, 92 MB."""
    net = Network(seed=3)
    flow, channels = net.node("Transpose", "input", perm=[0, 3, 1, 2]), 3
    for width, size, stride in ((32, 3, 2), (32, 3, 1), (64, 3, 1), (0, 3, 2), (80, 1, 1), (192, 3, 1), (0, 3, 2)):
        if width:
            flow, channels = net.convolution(flow, (channels, width), (size, size), stride), width
        else:
            flow = net.pool("MaxPool", flow, size, stride)
    for block in _INCEPTION:
        flow, channels = _mixed(net, flow, channels, block)
    features = net.node("Flatten", net.node("GlobalAveragePool", flow))
    logits = net.node("Gemm", features, net.weight(1001, channels), transB=1)
    net.node("Softmax", logits, output="InceptionV3/Predictions/Softmax")
    return net.model(
        [tensor("input", TensorProto.FLOAT, "batch", 299, 299, 3)],
        [tensor("InceptionV3/Predictions/Softmax", TensorProto.FLOAT, "batch", 1001)],
    )


def _mixed(net: Network, flow: str, channels: int, block: _Mixed) -> tuple[str, int]:
    """Add the branches of ``block`` side by side and join them; return the join and its channels."""
    ends, width = [], 0
    for layers in block.branches:
        end, wide = flow, channels
        for number, (out, height, across) in enumerate(layers, start=1):
            stride = block.stride if number == len(layers) else 1
            end, wide = net.convolution(end, (wide, out), (height, across), stride), out
        ends.append(end)
        width += wide
    end = net.pool("AveragePool" if block.pooled else "MaxPool", flow, 3, block.stride)
    if block.pooled:
        end = net.convolution(end, (channels, block.pooled), (1, 1))
    return net.node("Concat", *ends, end, axis=1), width + (block.pooled or channels)


def _sum_and_difference(kind: int) -> ModelProto:
    net = Network()
    net.node("Add", "INPUT0", "INPUT1", output="OUTPUT0")
    net.node("Sub", "INPUT0", "INPUT1", output="OUTPUT1")
    return _pair_of_16(net, kind)


def _sum_and_difference_of_strings() -> ModelProto:
    """Return the same on numbers that are written as text."""
    net = Network()
    numbers = [net.node("Cast", name, to=TensorProto.INT32) for name in ("INPUT0", "INPUT1")]
    for kind, output in (("Add", "OUTPUT0"), ("Sub", "OUTPUT1")):
        net.node("Cast", net.node(kind, *numbers), to=TensorProto.STRING, output=output)
    return _pair_of_16(net, TensorProto.STRING)


def _pair_of_16(net: Network, kind: int) -> ModelProto:
    return net.model(
        [tensor(name, kind, "batch", 16) for name in ("INPUT0", "INPUT1")],
        [tensor(name, kind, "batch", 16) for name in ("OUTPUT0", "OUTPUT1")],
    )


def _identity() -> ModelProto:
    net = Network()
    net.node("Identity", "INPUT0", output="OUTPUT0")
    return net.model(
        [tensor("INPUT0", TensorProto.STRING, "batch", "length")],
        [tensor("OUTPUT0", TensorProto.STRING, "batch", "length")],
    )


def _sequence() -> ModelProto:
    """Return INPUT + START while READY, else 0.

    The example's own model adds up a sequence in a variable. An ONNX graph keeps no state between two requests, so
    here a request sees only that its sequence starts: what Triton's sequence batcher must get right.
    """
    net = Network()
    started = net.node("Add", "INPUT", "START")
    net.node("Mul", started, "READY", output="OUTPUT")
    return net.model(
        [tensor(name, TensorProto.INT32, "batch", 1) for name in ("INPUT", "START", "READY")],
        [tensor("OUTPUT", TensorProto.INT32, "batch", 1)],
    )


def _dynamic_sequence() -> ModelProto:
    """Return INPUT + START, and the correlation ID besides when the sequence ends, as the example's model does."""
    net = Network()
    identity = net.node("Cast", "CORRID", to=TensorProto.INT32)
    ending = net.node("Mul", net.node("Mul", identity, "END"), "READY")
    started = net.node("Mul", net.node("Add", "INPUT", "START"), "READY")
    net.node("Add", started, ending, output="OUTPUT")
    controls = [tensor(name, TensorProto.INT32, "batch", 1) for name in ("INPUT", "START", "END", "READY")]
    return net.model(
        [*controls, tensor("CORRID", TensorProto.UINT64, "batch", 1)],
        [tensor("OUTPUT", TensorProto.INT32, "batch", 1)],
    )


def _entries(kind: str, prefix: str, data_type: str, dims: str, count: int) -> str:
    """Return an ``input`` or ``output`` list of ``count`` tensors named prefix0, prefix1, ..."""
    one = '  {{\n    name: "{}"\n    data_type: {}\n    dims: [ {} ]\n  }}'
    return f"{kind} [\n" + ",\n".join(one.format(f"{prefix}{i}", data_type, dims) for i in range(count)) + "\n]\n"


def _pair_config(data_type: str) -> str:
    inputs = _entries("input", "INPUT", data_type, "16", 2)
    return f"max_batch_size: 8\n{inputs}{_entries('output', 'OUTPUT', data_type, '16', 2)}"


def _control(name: str, kind: str, value: str = "int32_false_true: [ 0, 1 ]") -> str:
    return f'    {{\n      name: "{name}"\n      control [ {{ kind: CONTROL_SEQUENCE_{kind} {value} }} ]\n    }}'


_SEQUENCE_TENSORS = """\
input [ { name: "INPUT" data_type: TYPE_INT32 dims: [ 1 ] } ]
output [ { name: "OUTPUT" data_type: TYPE_INT32 dims: [ 1 ] } ]
"""

_SEQUENCE = f"""\
max_batch_size: 8
sequence_batching {{
  control_input [
{_control("START", "START")},
{_control("READY", "READY")}
  ]
}}
{_SEQUENCE_TENSORS}\
instance_group [ {{ kind: KIND_CPU }} ]
"""

_DYNAMIC_SEQUENCE = f"""\
max_batch_size: 8
sequence_batching {{
  max_sequence_idle_microseconds: 10000000
  oldest {{
    max_candidate_sequences: 1024
    max_queue_delay_microseconds: 10000
  }}
  control_input [
{_control("START", "START")},
{_control("END", "END")},
{_control("READY", "READY")},
{_control("CORRID", "CORRID", "data_type: TYPE_UINT64")}
  ]
}}
{_SEQUENCE_TENSORS}\
instance_group [ {{ count: 2 kind: KIND_CPU }} ]
"""

_DENSENET = """\
max_batch_size: 0
input [
  {
    name: "data_0"
    data_type: TYPE_FP32
    format: FORMAT_NCHW
    dims: [ 3, 224, 224 ]
    reshape { shape: [ 1, 3, 224, 224 ] }
  }
]
output [
  {
    name: "fc6_1"
    data_type: TYPE_FP32
    dims: [ 1000 ]
    reshape { shape: [ 1, 1000, 1, 1 ] }
    label_filename: "densenet_labels.txt"
  }
]
"""

_INCEPTION_CONFIG = """\
max_batch_size: 128
input [
  {
    name: "input"
    data_type: TYPE_FP32
    format: FORMAT_NHWC
    dims: [ 299, 299, 3 ]
  }
]
output [
  {
    name: "InceptionV3/Predictions/Softmax"
    data_type: TYPE_FP32
    dims: [ 1001 ]
    label_filename: "inception_labels.txt"
  }
]
"""

_IDENTITY = f"""\
max_batch_size: 8
{_entries("input", "INPUT", "TYPE_STRING", "-1", 1)}{_entries("output", "OUTPUT", "TYPE_STRING", "-1", 1)}"""

_RECIPES = {
    "densenet_onnx": _Recipe(_densenet, _DENSENET, ("densenet_labels.txt", 1000)),
    "inception_graphdef": _Recipe(_inception, _INCEPTION_CONFIG, ("inception_labels.txt", 1001)),
    "simple": _Recipe(lambda: _sum_and_difference(TensorProto.INT32), _pair_config("TYPE_INT32")),
    "simple_dyna_sequence": _Recipe(_dynamic_sequence, _DYNAMIC_SEQUENCE),
    "simple_identity": _Recipe(_identity, _IDENTITY),
    "simple_int8": _Recipe(lambda: _sum_and_difference(TensorProto.INT8), _pair_config("TYPE_INT8")),
    "simple_sequence": _Recipe(_sequence, _SEQUENCE),
    "simple_string": _Recipe(_sum_and_difference_of_strings, _pair_config("TYPE_STRING")),
}
