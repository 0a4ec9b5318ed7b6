"""Finds the activation at the end of a foreign graph."""

from dataclasses import dataclass

import onnx

from convscope.exporter.outputs.ending import Ending, Operation, classify

__all__ = ["Head", "find_head"]

_SHAPE_OPERATORS = ("Shape", "Size")


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
    ending = classify(_operations(model.graph).get(output))
    return Head(output, ending, ending.argument or None)


def _operations(graph: onnx.GraphProto) -> dict[str, Operation]:
    """Return the operation that computes each tensor that depends on the image."""
    constants = {tensor.name for tensor in graph.initializer}
    known = {value.name: Operation("Input") for value in graph.input if value.name not in constants}
    for node in graph.node:
        arguments = tuple(known[name] for name in node.input if name in known)
        if not arguments or node.op_type in _SHAPE_OPERATORS:
            continue
        name = node.op_type
        if name == "Div" and node.input[0] not in known:
            name = "Reciprocal"
        operation = Operation(name, arguments, node.input[0])
        known.update((key, operation) for key in node.output if key)
    return known
