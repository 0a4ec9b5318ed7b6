"""Converts a graph to FP16.

The converter of ONNX Runtime 1.32 breaks graphs whose inner tensors are outputs, as feature maps
are, if some nodes stay in FP32. Here, the operators of a list are converted, between casts. These
stay in FP32: the normalization of the pixels before the first layer; softmax and other operators
that aren't in the list; and, so that they can be differentiated, the nodes after the tensor that
explanations are computed from.
"""

from collections.abc import Iterator

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from convscope.exporter.graphs.dataflow import dependents

__all__ = ["converted_tensors", "in_fp16"]

_LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
# All floating-point inputs and outputs of each have the same type.
_CONVERTED = _LAYERS | {
    *("Add", "Sub", "Mul", "Div", "Max", "Min", "Neg", "Abs", "Sqrt", "Sum"),
    *(
        "Relu",
        "Clip",
        "LeakyRelu",
        "PRelu",
        "Elu",
        "Selu",
        "Celu",
        "Gelu",
        "Mish",
        "ThresholdedRelu",
    ),
    *("Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Erf", "Softplus", "Softsign"),
    *("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "LRN"),
    *("BatchNormalization", "InstanceNormalization", "LayerNormalization", "GroupNormalization"),
    *("Concat", "Split", "Slice", "Pad", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze"),
    *("Identity", "Dropout", "Expand", "DepthToSpace", "SpaceToDepth", "Gather"),
}
_RANGE = np.finfo(np.float16)
_SUFFIX = "/half"


def in_fp16(model: onnx.ModelProto, explained: str | None) -> onnx.ModelProto:
    """Return a graph in FP16.

    Args:
        model: The graph without an explanation.
        explained: The tensor that explanations are computed from; None without any.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _Conversion(copy, explained).run()
    return copy


def converted_tensors(model: onnx.ModelProto) -> list[str]:
    """Return the original names of the tensors that nodes of a converted graph write in FP16."""
    names = [name for node in model.graph.node for name in node.output]
    return [name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX)]


class _Conversion:
    """Converts one graph in place.

    Args:
        model: The graph.
        explained: As above.
    """

    def __init__(self, model: onnx.ModelProto, explained: str | None) -> None:
        self._graph = model.graph
        self._floats = _float_tensors(model)
        self._stored = {tensor.name: tensor for tensor in model.graph.initializer}
        self._after: set[str] = set()
        if explained is not None:
            self._after = dependents(model.graph.node, [explained]) - {explained}
        self._nodes: list[onnx.NodeProto] = []
        self._halves: set[str] = set()

    def run(self) -> None:
        """Convert it."""
        nodes = list(self._graph.node)
        first = next((i for i, node in enumerate(nodes) if node.op_type in _LAYERS), len(nodes))
        converted = [
            index >= first and node.op_type in _CONVERTED and self._after.isdisjoint(node.output)
            for index, node in enumerate(nodes)
        ]
        exact = {output.name for output in self._graph.output}
        for node, is_half in zip(nodes, converted, strict=True):
            if not is_half:
                exact.update(_reads(node))
        for node, is_half in zip(nodes, converted, strict=True):
            if is_half:
                self._convert(node, exact)
            else:
                self._nodes.append(node)
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)
        used = {name for node in self._nodes for name in _reads(node)}
        kept = [tensor for tensor in self._graph.initializer if tensor.name in used]
        del self._graph.initializer[:]
        self._graph.initializer.extend(kept)
        del self._graph.value_info[:]  # of tensors in FP32

    def _convert(self, node: onnx.NodeProto, exact: set[str]) -> None:
        """Add a node in FP16, and casts of what others read in FP32."""
        for position, name in enumerate(node.input):
            if name in self._floats:
                node.input[position] = self._half(name)
        self._nodes.append(node)
        for position, name in enumerate(node.output):
            if name not in self._floats:
                continue
            half = _name(name)
            node.output[position] = half
            self._halves.add(half)
            if name in exact:
                self._cast(half, name, TensorProto.FLOAT)

    def _half(self, name: str) -> str:
        """Return the name of a tensor's values in FP16, which are added if necessary."""
        half = _name(name)
        if half not in self._halves:
            self._halves.add(half)
            if name in self._stored:
                values = numpy_helper.to_array(self._stored[name])
                self._graph.initializer.append(numpy_helper.from_array(_rounded(values), half))
            else:
                self._cast(name, half, TensorProto.FLOAT16)
        return half

    def _cast(self, source: str, target: str, to: int) -> None:
        node = helper.make_node("Cast", [source], [target], name=f"{target}/cast", to=to)
        self._nodes.append(node)


def _rounded(values: NDArray[np.generic]) -> NDArray[np.float16]:
    """Round to FP16; bounds such as those of a Clip may exceed its range."""
    return np.asarray(np.clip(values, float(_RANGE.min), float(_RANGE.max)), np.float16)


def _name(name: str) -> str:
    return name + _SUFFIX


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """Yield the tensors that a node reads, with those that the graphs inside it read."""
    yield from node.input
    for one in node.attribute:
        for inner in (one.g, *one.graphs):
            for part in inner.node:
                yield from _reads(part)
            yield from (output.name for output in inner.output)


def _float_tensors(model: onnx.ModelProto) -> set[str]:
    """Return the names of the tensors in FP32."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    described = [*graph.input, *graph.value_info, *graph.output]
    found = {v.name for v in described if v.type.tensor_type.elem_type == TensorProto.FLOAT}
    return found | {t.name for t in graph.initializer if t.data_type == TensorProto.FLOAT}
