"""The layers of a graph that have weights, and the part of it that stays in FP32."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from convscope.exporter.graphs.dataflow import dependents
from convscope.exporter.graphs.static_graph import attribute

__all__ = ["Layer", "float_nodes", "float_tail", "layers_of", "prepare", "set_initializer"]

_LAYERS = ("Conv", "Gemm")
_BIAS = 2


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution or a dense layer whose weights the graph stores.

    Args:
        node: Its node.
        index: The position of the node in the graph.
        weight: The weights, float32 [outputs, ...].
        bias: The bias, float32 [outputs].
        transposed: Whether the graph stores the weights as [inputs, outputs].
    """

    node: onnx.NodeProto
    index: int
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    transposed: bool

    @property
    def name(self) -> str:
        """The name of its output."""
        return self.node.output[0]

    @property
    def groups(self) -> int:
        """The number of groups of channels that don't mix."""
        return int(attribute(self.node, "group", 1))

    @property
    def rows(self) -> NDArray[np.float64]:
        """The weights of each output, float64 [outputs, inputs of an output]."""
        return self.weight.reshape(len(self.weight), -1).astype(np.float64)

    def stored(self, rows: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return rows in the shape in which the graph stores the weights."""
        weight = rows.reshape(self.weight.shape).astype(np.float32)
        return weight.T if self.transposed else weight


def prepare(model: onnx.ModelProto) -> None:
    """Name every node, and provide each layer with a bias and with weights of its own.

    Args:
        model: The graph, which is changed in place.
    """
    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    uses = Counter(name for node in graph.node for name in node.input)
    for index, node in enumerate(graph.node):
        node.name = f"{node.op_type}_{index}"
        if node.op_type not in _LAYERS or node.input[1] not in stored:
            continue
        if len(node.input) <= _BIAS or not node.input[_BIAS]:
            outputs = stored[node.input[1]].dims[_output_axis(node)]
            zeros = numpy_helper.from_array(np.zeros(outputs, np.float32), f"{node.name}/bias")
            graph.initializer.append(zeros)
            del node.input[_BIAS:]
            node.input.append(zeros.name)
        for position in (1, _BIAS):
            name = node.input[position]
            if uses[name] > 1 and name in stored:
                copy = numpy_helper.from_array(
                    numpy_helper.to_array(stored[name]), f"{node.name}/{position}"
                )
                graph.initializer.append(copy)
                node.input[position] = copy.name


def layers_of(model: onnx.ModelProto) -> list[Layer]:
    """Return the layers of a prepared graph, in its order.

    A dense layer with factors other than 1 isn't among them: its weights are rounded to the
    nearest, as any that ONNX Runtime finds by itself.
    """
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    return list(_layers(model.graph, stored))


def _layers(graph: onnx.GraphProto, stored: dict[str, onnx.TensorProto]) -> Iterator[Layer]:
    for index, node in enumerate(graph.node):
        if node.op_type not in _LAYERS or not set(node.input[1:]) <= stored.keys():
            continue
        if node.op_type == "Gemm" and _has_factors(node):
            continue
        transposed = _output_axis(node) == 1
        weight = np.asarray(numpy_helper.to_array(stored[node.input[1]]), np.float32)
        bias = np.asarray(numpy_helper.to_array(stored[node.input[_BIAS]]), np.float32)
        outputs = weight.shape[1] if transposed else len(weight)
        yield Layer(
            node,
            index,
            weight.T if transposed else weight,
            np.broadcast_to(bias.reshape(-1), (outputs,)),
            transposed,
        )


def float_nodes(model: onnx.ModelProto, layers: Sequence[Layer], count: int) -> list[str]:
    """Return the names of the nodes up to the last of the first `count` layers, and up to the next.

    They precede every quantized node, so no quantized tensor is before a layer in FP32. ONNX
    Runtime's optimizer would quantize such a layer, with one scale for all of its channels.
    """
    if not count:
        return []
    end = layers[count].index if count < len(layers) else len(model.graph.node)
    return [node.name for node in model.graph.node[:end]]


def float_tail(model: onnx.ModelProto, tensor: str) -> list[str]:
    """Return the names of the nodes that depend on a tensor."""
    after = dependents(model.graph.node, [tensor]) - {tensor}
    return [node.name for node in model.graph.node if not after.isdisjoint(node.output)]


def set_initializer(model: onnx.ModelProto, name: str, values: NDArray[np.generic]) -> None:
    """Replace a stored tensor."""
    for tensor in model.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), name))
            return
    model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), name))


def _output_axis(node: onnx.NodeProto) -> int:
    return 1 if node.op_type == "Gemm" and not attribute(node, "transB", 0) else 0


def _has_factors(node: onnx.NodeProto) -> bool:
    factors = [attribute(node, name, 1.0) for name in ("alpha", "beta")]
    return factors != [1.0, 1.0] or bool(attribute(node, "transA", 0))
