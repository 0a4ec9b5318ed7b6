"""Removes the explanation from a graph."""

import onnx

from convscope.exporter.explanations.heat import CLASSES, HEAT, HEAT_CLASSES
from convscope.exporter.graphs.dataflow import required

__all__ = ["has_explanation", "remove_explanation"]


def has_explanation(model: onnx.ModelProto) -> bool:
    """Return whether a graph is that of a bundle with explanations."""
    names = {value.name for value in (*model.graph.input, *model.graph.output)}
    return names.issuperset((CLASSES, HEAT, HEAT_CLASSES))


def remove_explanation(model: onnx.ModelProto) -> None:
    """Remove the input `classes`, the heat, and the nodes that only compute the heat.

    Args:
        model: The graph, which is changed in place: a copy would take as much memory
            as its weights.
    """
    graph = model.graph
    outputs = [value for value in graph.output if value.name not in (HEAT, HEAT_CLASSES)]
    nodes, names = required(graph.node, [value.name for value in outputs])
    inputs = [value for value in graph.input if value.name != CLASSES]
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend(nodes)
    graph.input.extend(inputs)
    graph.output.extend(outputs)
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name not in names:
            del graph.initializer[index]
