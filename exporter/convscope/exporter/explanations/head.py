"""The head of a graph: what it computes between the cut tensor and the logits."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from convscope.exporter.errors import ExplanationError
from convscope.exporter.explanations.cut_tensors import CutTensor
from convscope.exporter.explanations.indexing import rewrite_indexing
from convscope.exporter.graphs.dataflow import SHAPE_OPERATORS, reads, required
from convscope.exporter.graphs.static_graph import StaticGraph, static_graph, without_weights

__all__ = ["CONSTANT_IN_BETWEEN", "Dims", "Head", "check_element", "find_head"]

Dims = tuple[int | None, ...]
"""Sizes; None for the batch."""

# Piecewise constant, so their derivative is zero.
CONSTANT_IN_BETWEEN = frozenset(
    {
        *("ArgMax", "ArgMin", "NonZero", "IsNaN", "IsInf", "Not", "And", "Or", "Xor"),
        *("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal"),
        *("Floor", "Ceil", "Round", "Sign"),
    }
)
# Two sizes distinguish the batch from a dimension that has the same size by chance.
_BATCHES = (2, 3)
_MAX_INDICES = 1 << 16
_UNKNOWN = onnx.TensorProto.UNDEFINED


@dataclass(frozen=True, slots=True)
class Head:
    """The part of a graph that computes the logits from the cut tensor.

    Args:
        tensor: The cut tensor's name.
        nodes: The nodes on the paths from the tensor to the logits, in topological order.
        reached: The tensors whose values vary with the cut tensor.
        shapes: The sizes of the tensors whose shape is known.
        constants: The values of small constants that don't vary with the batch.
        elements: The element types of the tensors.
        opset: The version of the standard operators.
    """

    tensor: str
    nodes: Sequence[onnx.NodeProto]
    reached: frozenset[str]
    shapes: Mapping[str, Dims]
    constants: Mapping[str, NDArray[np.generic]]
    elements: Mapping[str, int]
    opset: int

    def dims(self, name: str) -> Dims:
        """Return the sizes of a tensor, with None for the batch.

        Raises:
            ExplanationError: They aren't known.
        """
        if name not in self.shapes:
            raise ExplanationError(f"the shape of {name!r} isn't known")
        return self.shapes[name]


def find_head(model: onnx.ModelProto, cut: CutTensor, output: str = "logits") -> Head:
    """Return the part of a model between a cut tensor and an output.

    Raises:
        ExplanationError: A tensor between them isn't float32.
        ExporterError: The shapes contradict one another.
    """
    light = _light_head(model, cut, output)
    small, large = (static_graph(light, batch) for batch in _BATCHES)
    reached = _reached(light.graph.node, cut.name)
    path, names = required(
        [node for node in light.graph.node if not reached.isdisjoint(node.output)],
        [output],
        [cut.name],
    )
    shapes = _common_dims(small, large)
    constants = {
        name: value
        for name, value in small.constants.items()
        if name in large.constants and np.array_equal(value, large.constants[name])
    }
    rewritten = rewrite_indexing(path, shapes, constants | _stored_integers(model))
    head = Head(
        tensor=cut.name,
        nodes=rewritten.nodes,
        reached=frozenset(reached),
        shapes={**shapes, **rewritten.shapes},
        constants={**constants, **rewritten.constants},
        elements=small.elements,
        opset=small.opset,
    )
    for name in sorted(reached & (names | {output})):
        check_element(name, head.elements)
    return head


def check_element(name: str, elements: Mapping[str, int]) -> None:
    """Check that a tensor is float32, if its type is known.

    Raises:
        ExplanationError: It isn't.
    """
    if elements.get(name) not in (None, _UNKNOWN, onnx.TensorProto.FLOAT):
        element = onnx.TensorProto.DataType.Name(elements[name]).lower()
        raise ExplanationError(f"{name!r} is {element}; derivatives need float32")


def _stored_integers(model: onnx.ModelProto) -> dict[str, NDArray[np.generic]]:
    """Return the indices that a model stores, also those that are no small constants."""
    return {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.INT64 and math.prod(tensor.dims) <= _MAX_INDICES
    }


def _common_dims(small: StaticGraph, large: StaticGraph) -> dict[str, Dims]:
    """Return the sizes of the tensors in which only the batch varies."""
    found: dict[str, Dims] = {}
    for name, shape in small.shapes.items():
        pairs = list(zip(shape, large.shapes.get(name, ()), strict=False))
        if len(pairs) == len(shape) and all(a == b or (a, b) == _BATCHES for a, b in pairs):
            found[name] = tuple(a if a == b else None for a, b in pairs)
    return found


def _reached(nodes: Sequence[onnx.NodeProto], tensor: str) -> set[str]:
    reached = {tensor}
    for node in nodes:
        if node.op_type in SHAPE_OPERATORS or node.op_type in CONSTANT_IN_BETWEEN:
            continue
        if not reached.isdisjoint(reads(node)):
            reached.update(filter(None, node.output))
    return reached


def _light_head(model: onnx.ModelProto, cut: CutTensor, output: str) -> onnx.ModelProto:
    """Copy the head without large weights; the cut tensor becomes an input."""
    light = without_weights(model)
    graph = light.graph
    nodes, names = required(graph.node, [output], [cut.name])
    value = onnx.helper.make_tensor_value_info(
        cut.name, onnx.TensorProto.FLOAT, ["batch", *cut.shape]
    )
    head = onnx.GraphProto(
        name=graph.name,
        node=nodes,
        initializer=[tensor for tensor in graph.initializer if tensor.name in names],
        input=[*(value for value in graph.input if value.name in names), value],
        output=[onnx.ValueInfoProto(name=output)],
    )
    return onnx.ModelProto(ir_version=light.ir_version, opset_import=light.opset_import, graph=head)
