"""An ONNX graph for one image: every shape known, every small constant read."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import inliner, numpy_helper, shape_inference

from convscope.exporter.comparison import open_graph
from convscope.exporter.errors import ExporterError

__all__ = ["Shape", "StaticGraph", "attribute", "opset_version", "static_graph"]

# Shapes, axes and pads are far smaller; weights, far larger, are not read.
MAX_CONSTANT_ELEMENTS = 1024
# Of these, shapes and indices are made.
_FOLDED = frozenset(
    (
        *("Add", "Sub", "Mul", "Div", "Mod", "Neg", "Min", "Max", "Floor", "Ceil"),
        *("Cast", "Concat", "Gather", "Identity", "Range", "ReduceProd", "Reshape", "Shape"),
        *("Slice", "Split", "Squeeze", "Transpose", "Unsqueeze", "Where", "Equal"),
    )
)
# A constant needn't be an input as well; every opset that we read is known to it.
_IR_VERSION = 8

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StaticGraph:
    """A graph at batch 1.

    Args:
        nodes: The nodes, each after those that it needs.
        inputs: The names of the graph's inputs, without its constants.
        weights: The names of the initialisers.
        shapes: The shape of each tensor that has one.
        constants: The elements of each small initialiser or Constant.
        opset: The version of the standard operators.
    """

    nodes: Sequence[onnx.NodeProto]
    inputs: Sequence[str]
    weights: frozenset[str]
    shapes: Mapping[str, Shape]
    constants: Mapping[str, NDArray[np.generic]]
    opset: int

    def shape(self, name: str) -> Shape:
        """The shape of a tensor.

        Raises:
            ExporterError: It can't be known without running the graph.
        """
        if name not in self.shapes:
            raise ExporterError(
                f"the shape of the tensor {name!r} can't be inferred; simplify the graph "
                "(for example with onnxsim) so that its shapes are fixed but for the batch"
            )
        return self.shapes[name]

    def upstream(self, names: Iterable[str]) -> "StaticGraph":
        """The same graph without the nodes that none of these tensors needs."""
        needed = set(names)
        kept = []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                needed.update(node.input)
                kept.append(node)
        return replace(self, nodes=kept[::-1])

    def constant(self, node: onnx.NodeProto, position: int) -> NDArray[np.generic] | None:
        """An input of a node, if it is there and a small constant."""
        if position >= len(node.input):
            return None
        return self.constants.get(node.input[position])

    def integers(self, node: onnx.NodeProto, name: str, position: int) -> list[int] | None:
        """What older operators have as an attribute and newer ones as an input."""
        value = attribute(node, name, None)
        if value is not None:
            return [value] if isinstance(value, int) else list(value)
        constant = self.constant(node, position)
        return None if constant is None else [int(number) for number in constant.reshape(-1)]


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """The value of a node's attribute, or the default."""
    for candidate in node.attribute:
        if candidate.name == name:
            return onnx.helper.get_attribute_value(candidate)
    return default


def opset_version(model: onnx.ModelProto) -> int:
    """The version of the standard operators that a model uses."""
    return max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


def static_graph(model: onnx.ModelProto) -> StaticGraph:
    """Infer every shape at batch 1.

    Raises:
        ExporterError: The graph contradicts itself.
    """
    light = _without_weights(model)
    nodes = list(light.graph.node)
    known = _constants(light.graph)
    shapes = _infer(light)
    while folded := _fold(light, shapes, known):
        known |= folded
        light.graph.initializer.extend(
            numpy_helper.from_array(value, name) for name, value in folded.items()
        )
        shapes = _infer(light)
    weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    return StaticGraph(
        nodes=nodes,
        inputs=[value.name for value in light.graph.input if value.name not in weights],
        weights=frozenset(weights),
        shapes=shapes | weights,
        constants=known,
        opset=next(
            entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")
        ),
    )


def _infer(light: onnx.ModelProto) -> dict[str, Shape]:
    try:
        graph = shape_inference.infer_shapes(light, data_prop=True).graph
    except shape_inference.InferenceError as error:
        reason = str(error).splitlines()[0][:200]
        raise ExporterError(f"the shapes of the graph contradict one another: {reason}") from error
    values = (*graph.input, *graph.value_info, *graph.output)
    return {value.name: shape for value in values if (shape := _shape(value)) is not None}


def _fold(
    light: onnx.ModelProto, shapes: Mapping[str, Shape], known: Mapping[str, NDArray[np.generic]]
) -> dict[str, NDArray[np.generic]]:
    """Compute what depends on nothing but shapes and small constants, and take out its nodes."""
    folded: dict[str, NDArray[np.generic]] = {}
    kept = []
    for node in light.graph.node:
        values = _fold_node(node, shapes, {**known, **folded}, opset_version(light))
        folded.update(zip(node.output, values, strict=False))
        if not values:
            kept.append(node)
    del light.graph.node[:]
    light.graph.node.extend(kept)
    return folded


def _fold_node(
    node: onnx.NodeProto,
    shapes: Mapping[str, Shape],
    known: Mapping[str, NDArray[np.generic]],
    opset: int,
) -> list[NDArray[np.generic]]:
    if node.op_type == "Shape" and node.input[0] in shapes:
        start, end = attribute(node, "start", 0), attribute(node, "end", None)
        return [np.array(shapes[node.input[0]][start:end], dtype=np.int64)]
    inputs = {name: known[name] for name in node.input if name in known}
    complete = inputs and all(name in known for name in node.input if name)
    if node.op_type not in _FOLDED or not complete or not all(map(_is_index, inputs.values())):
        return []
    graph = onnx.helper.make_graph(
        [node],
        "constant",
        [],
        [onnx.ValueInfoProto(name=name) for name in node.output],
        [numpy_helper.from_array(value, name) for name, value in inputs.items()],
    )
    imports = [onnx.helper.make_opsetid("", opset)]
    model = onnx.helper.make_model(graph, opset_imports=imports, ir_version=_IR_VERSION)
    found: list[NDArray[np.generic]] = open_graph(model.SerializeToString()).run(None, {})
    return found


def _is_index(value: NDArray[np.generic]) -> bool:
    return value.dtype.kind in "iub" and value.size <= MAX_CONSTANT_ELEMENTS


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Copy a model at batch 1, its large weights as inputs of the same shape."""
    graph = onnx.GraphProto(name=model.graph.name, node=model.graph.node)
    weights = {tensor.name for tensor in model.graph.initializer}
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= MAX_CONSTANT_ELEMENTS:
            graph.initializer.add().CopyFrom(tensor)
        else:
            value = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            graph.input.append(value)
    for value in model.graph.input:
        if value.name not in weights:
            graph.input.append(_at_batch_one(value))
    graph.output.extend(onnx.ValueInfoProto(name=value.name) for value in model.graph.output)
    light = onnx.ModelProto(
        ir_version=max(model.ir_version, _IR_VERSION),
        opset_import=model.opset_import,
        functions=model.functions,
        graph=graph,
    )
    return inliner.inline_local_functions(light) if model.functions else light


def _at_batch_one(value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    copy = onnx.ValueInfoProto()
    copy.CopyFrom(value)
    dimensions = copy.type.tensor_type.shape.dim
    if dimensions:
        dimensions[0].dim_value = 1
    return copy


def _shape(value: onnx.ValueInfoProto) -> Shape | None:
    if not value.type.tensor_type.HasField("shape"):
        return None
    dimensions = value.type.tensor_type.shape.dim
    if any(not dimension.HasField("dim_value") for dimension in dimensions):
        return None
    return tuple(dimension.dim_value for dimension in dimensions)


def _constants(graph: onnx.GraphProto) -> dict[str, NDArray[np.generic]]:
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name.startswith("value"):
            value = onnx.helper.get_attribute_value(node.attribute[0])
            array = numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value
            if np.size(array) <= MAX_CONSTANT_ELEMENTS:
                found[node.output[0]] = np.asarray(array)
    return found
