"""Finds the activation at the end of a foreign graph."""

from dataclasses import dataclass

import onnx

from convscope.exporter.outputs.detection import Ending

__all__ = ["Head", "find_head"]

# Operators that change the shape or type of the outputs, but not their values.
_TRANSPARENT = (
    *("Identity", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Cast", "Dropout"),
    *("QuantizeLinear", "DequantizeLinear"),
)
_LAYERS = ("Gemm", "MatMul", "Conv", "QLinearConv", "QLinearMatMul", "QLinearAdd")
# Operators between the last layer and the output that leave it unbounded.
_UNBOUNDED = (
    *("Add", "Sub", "BatchNormalization", "GlobalAveragePool", "AveragePool", "ReduceMean"),
    *("ReduceSum", "Relu", "LeakyRelu"),
)


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a foreign classifier.

    Args:
        output: The tensor of the final output.
        ending: The activation that computes it.
        logits: The activation's argument, if the graph has it as a tensor.
    """

    output: str
    ending: Ending
    logits: str | None = None


def find_head(model: onnx.ModelProto, output: str) -> Head:
    """Return the end of a graph."""
    walk = _Walk(model.graph)
    node = walk.before(output, _TRANSPARENT)
    if node is None:
        return Head(output, Ending("unknown"))
    kind = node.op_type
    if kind in ("Softmax", "Sigmoid"):
        return Head(
            output, Ending("softmax" if kind == "Softmax" else "sigmoid", kind), node.input[0]
        )
    if kind == "LogSoftmax" or (kind == "Log" and walk.operator(node.input[0]) == "Softmax"):
        return Head(output, Ending("log-softmax", kind))
    if walk.is_written_sigmoid(node):
        return Head(output, Ending("sigmoid", kind))
    layer = walk.before(output, (*_TRANSPARENT, *_UNBOUNDED))
    is_linear = layer is not None and layer.op_type in _LAYERS
    return Head(output, Ending("linear" if is_linear else "unknown", kind))


class _Walk:
    """Follows a graph from its output backward."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._producers = {name: node for node in graph.node for name in node.output if name}

    def before(self, name: str, passed: tuple[str, ...]) -> onnx.NodeProto | None:
        """Return the node that computes a tensor, passing by some operators."""
        node = self._producers.get(name)
        while node is not None and node.op_type in passed and node.input:
            node = self._producers.get(node.input[0])
        return node

    def operator(self, name: str) -> str:
        """Return the operator that computes a tensor; empty for an input or a constant."""
        node = self._producers.get(name)
        return "" if node is None else node.op_type

    def is_written_sigmoid(self, node: onnx.NodeProto) -> bool:
        """Recognize 1 / (1 + exp(-x))."""
        if node.op_type not in ("Div", "Reciprocal"):
            return False
        divisor = self._producers.get(node.input[-1])
        if divisor is None or divisor.op_type != "Add":
            return False
        powers = [one for name in divisor.input if (one := self._producers.get(name)) is not None]
        return any(
            one.op_type == "Exp" and self.operator(one.input[0]) in ("Neg", "Mul") for one in powers
        )
