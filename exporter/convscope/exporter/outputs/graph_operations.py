"""Describes an ONNX graph by the operations that depend on its input."""

import onnx

from convscope.exporter.graphs.dataflow import SHAPE_OPERATORS
from convscope.exporter.outputs.ending import Operation

__all__ = ["operations"]


def operations(graph: onnx.GraphProto) -> dict[str, Operation[str]]:
    """Return the operation that computes each tensor that depends on the image."""
    constants = {tensor.name for tensor in graph.initializer}
    known: dict[str, Operation[str]] = {
        value.name: Operation("Input") for value in graph.input if value.name not in constants
    }
    for node in graph.node:
        varying = [name for name in node.input if name in known]
        if not varying or node.op_type in SHAPE_OPERATORS:
            continue
        name = node.op_type
        if name == "Div" and node.input[0] not in known:
            name = "Reciprocal"
        operation = Operation(name, tuple(known[one] for one in varying), varying[0])
        known.update((key, operation) for key in node.output if key)
    return known
