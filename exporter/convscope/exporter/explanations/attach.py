"""Adds explanations to the graph of a classifier."""

from collections.abc import Iterator
from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper

from convscope.exporter.errors import ExplanationError
from convscope.exporter.explanations.builder import MIN_OPSET, NodeBuilder
from convscope.exporter.explanations.cut_tensors import CutTensor, last_with_positions
from convscope.exporter.explanations.head import check_element, find_head
from convscope.exporter.explanations.heat import CLASSES, HEAT, HEAT_CLASSES, HeatNodes, add_heat
from convscope.exporter.graphs.static_graph import StaticGraph
from convscope.v1 import manifest_pb2 as pb

__all__ = ["Explanation", "attach"]

_RESERVED = (CLASSES, HEAT, HEAT_CLASSES)


@dataclass(frozen=True, slots=True)
class Explanation:
    """What was added to a graph.

    Args:
        cut: The tensor that the logits are differentiated by.
        heat: What the added nodes compute.
    """

    cut: CutTensor
    heat: HeatNodes

    def spec(self) -> pb.ExplanationSpec:
        """Return the description for the manifest."""
        return pb.ExplanationSpec(
            tensor=self.cut.name,
            channels=self.cut.channels,
            positions=self.cut.positions,
            linear=self.heat.linear,
        )

    def describe(self) -> str:
        """Return the description for a report."""
        positions = " × ".join(map(str, self.cut.positions))
        return f"{positions} for each class, from the tensor {self.cut.name!r}"


def attach(model: onnx.ModelProto, static: StaticGraph, classes: int) -> Explanation:
    """Add the input `classes` and the outputs `heat` and `heat_classes` to a graph.

    Args:
        model: The graph with the output `logits`. It is changed in place, but not if
            an error is raised.
        static: The same graph with its shapes.
        classes: The number of classes.

    Raises:
        ExporterError: The graph can't explain its classes; the message says why.
    """
    graph = model.graph
    if static.opset < MIN_OPSET:
        raise ExplanationError(f"the graph has opset {static.opset}; derivatives need {MIN_OPSET}")
    taken = set(_names(graph))
    if used := [name for name in _RESERVED if name in taken]:
        raise ExplanationError(f"the graph has a tensor named {used[0]!r} already")
    cut = last_with_positions(static, graph)
    check_element(cut.name, static.elements)
    head = find_head(model, cut)
    build = NodeBuilder(static.opset, taken)
    heat = add_heat(build, head, cut, classes)
    graph.node.extend(build.nodes)
    graph.initializer.extend(build.initializers())
    pair: list[str | int | None] = [_batch_name(graph), "targets"]
    graph.input.append(helper.make_tensor_value_info(CLASSES, TensorProto.INT64, pair))
    graph.output.extend(
        [
            helper.make_tensor_value_info(HEAT, TensorProto.FLOAT, [*pair, *cut.positions]),
            helper.make_tensor_value_info(HEAT_CLASSES, TensorProto.INT64, pair),
        ]
    )
    return Explanation(cut, heat)


def _names(graph: onnx.GraphProto) -> Iterator[str]:
    for node in graph.node:
        yield from node.input
        yield from node.output
    yield from (tensor.name for tensor in graph.initializer)
    yield from (value.name for value in (*graph.input, *graph.output))


def _batch_name(graph: onnx.GraphProto) -> str:
    dimensions = graph.output[0].type.tensor_type.shape.dim
    return dimensions[0].dim_param or "batch"
