"""An ONNX graph at a fixed batch: the shapes of its tensors, and the values of small constants."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import inliner, numpy_helper, shape_inference

from convscope.exporter.errors import ExporterError, reason
from convscope.exporter.graphs.folding import MAX_CONSTANT_ELEMENTS, fold_constants

__all__ = [
    "Shape",
    "StaticGraph",
    "attribute",
    "opset_version",
    "static_graph",
    "without_weights",
]

# In this version a constant needn't be an input too.
_IR_VERSION = 8

# Operators without shape inference, and one with the same shapes.
_SAME_SHAPES = {"GroupNormalization": "InstanceNormalization"}

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StaticGraph:
    """A graph at a fixed batch.

    Args:
        nodes: The nodes in topological order.
        inputs: The names of the graph's inputs, without its constants.
        shapes: The shapes of the tensors whose shape is known.
        constants: The values of the small constants, stored or computed.
        opset: The version of the standard operators.
        elements: The element types of the tensors whose shape is known.
    """

    nodes: Sequence[onnx.NodeProto]
    inputs: Sequence[str]
    shapes: Mapping[str, Shape]
    constants: Mapping[str, NDArray[np.generic]]
    opset: int
    elements: Mapping[str, int]

    def shape(self, name: str) -> Shape:
        """Return the shape of a tensor.

        Raises:
            ExporterError: The shape isn't known without running the graph.
        """
        if name not in self.shapes:
            raise ExporterError(
                f"the shape of the tensor {name!r} can't be inferred; simplify the graph "
                "(for example with onnxsim) so that only the batch dimension is dynamic"
            )
        return self.shapes[name]

    def upstream(self, names: Iterable[str]) -> "StaticGraph":
        """Return the part of the graph that computes these tensors."""
        needed = set(names)
        kept = []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                needed.update(node.input)
                kept.append(node)
        return replace(self, nodes=kept[::-1])

    def constant(self, node: onnx.NodeProto, position: int) -> NDArray[np.generic] | None:
        """Return the value of a node's input; None if it is absent or no small constant."""
        if position >= len(node.input):
            return None
        return self.constants.get(node.input[position])

    def integers(self, node: onnx.NodeProto, name: str, position: int) -> list[int] | None:
        """Return integers that are an attribute in older opsets and an input in newer ones."""
        value = attribute(node, name, None)
        if value is not None:
            return [value] if isinstance(value, int) else list(value)
        constant = self.constant(node, position)
        return None if constant is None else [int(number) for number in constant.reshape(-1)]


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """Return the value of a node's attribute, or the default."""
    for candidate in node.attribute:
        if candidate.name == name:
            return onnx.helper.get_attribute_value(candidate)
    return default


def opset_version(model: onnx.ModelProto) -> int:
    """Return the version of the standard operators that a model uses."""
    return max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


def static_graph(model: onnx.ModelProto, batch: int = 1) -> StaticGraph:
    """Infer every shape at one batch size, and compute the small constants.

    Args:
        model: The graph, maybe without its weights.
        batch: The batch size.

    Raises:
        ExporterError: The graph contradicts itself, or ONNX Runtime can't open it.
    """
    light = without_weights(model)
    for value in light.graph.input:
        _fix_batch(value, batch)
    nodes = list(light.graph.node)
    constants = _stored_constants(light.graph) | fold_constants(light)
    weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    values = _infer(light)
    return StaticGraph(
        nodes=nodes,
        inputs=[value.name for value in light.graph.input if value.name not in weights],
        shapes=_shapes(values) | {name: value.shape for name, value in constants.items()} | weights,
        constants=constants,
        opset=opset_version(model),
        elements={value.name: value.type.tensor_type.elem_type for value in values},
    )


def _infer(light: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    try:
        graph = shape_inference.infer_shapes(_inferable(light), data_prop=True).graph
    except shape_inference.InferenceError as error:
        raise ExporterError(
            f"the shapes of the graph contradict one another: {reason(error)}"
        ) from error
    return [*graph.input, *graph.value_info, *graph.output]


def _inferable(light: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model whose shapes onnx can infer: it can't infer those of GroupNormalization."""
    kinds = {node.op_type for node in light.graph.node}
    if kinds.isdisjoint(_SAME_SHAPES):
        return light
    copy = onnx.ModelProto()
    copy.CopyFrom(light)
    for node in copy.graph.node:
        node.op_type = _SAME_SHAPES.get(node.op_type, node.op_type)
    return copy


def _shapes(values: Iterable[onnx.ValueInfoProto]) -> dict[str, Shape]:
    return {value.name: shape for value in values if (shape := _shape(value)) is not None}


def without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Copy a model without its large weights, which become inputs of the same shape."""
    graph = onnx.GraphProto(name=model.graph.name, node=model.graph.node)
    weights = {tensor.name for tensor in model.graph.initializer}
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= MAX_CONSTANT_ELEMENTS:
            graph.initializer.add().CopyFrom(tensor)
        else:
            value = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            graph.input.append(value)
    graph.input.extend(value for value in model.graph.input if value.name not in weights)
    graph.output.extend(onnx.ValueInfoProto(name=value.name) for value in model.graph.output)
    light = onnx.ModelProto(
        ir_version=max(model.ir_version, _IR_VERSION),
        opset_import=model.opset_import,
        functions=model.functions,
        graph=graph,
    )
    return inliner.inline_local_functions(light) if model.functions else light


def _fix_batch(value: onnx.ValueInfoProto, batch: int) -> None:
    dimensions = value.type.tensor_type.shape.dim
    if dimensions and not dimensions[0].HasField("dim_value"):
        dimensions[0].dim_value = batch


def _shape(value: onnx.ValueInfoProto) -> Shape | None:
    if not value.type.tensor_type.HasField("shape"):
        return None
    dimensions = value.type.tensor_type.shape.dim
    if any(not dimension.HasField("dim_value") for dimension in dimensions):
        return None
    return tuple(dimension.dim_value for dimension in dimensions)


def _stored_constants(graph: onnx.GraphProto) -> dict[str, NDArray[np.generic]]:
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name.startswith("value"):
            value = onnx.helper.get_attribute_value(node.attribute[0])
            array = numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value
            if np.size(array) <= MAX_CONSTANT_ELEMENTS:
                found[node.output[0]] = np.asarray(array)
    return found
