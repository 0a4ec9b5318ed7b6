"""Makes the batch of a foreign graph dynamic.

A constant that fixes the batch is replaced where it can only mean the batch. The
parity gate verifies the replacement later by running the graph.
"""

from collections.abc import Iterator

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from convscope.exporter.foreign.image_input import ImageInput
from convscope.exporter.graphs.static_graph import attribute, opset_version, static_graph

__all__ = ["with_dynamic_batch"]

_SQUEEZE_AXES_AS_INPUT = 13  # since this opset


def with_dynamic_batch(model: onnx.ModelProto, image: ImageInput) -> onnx.ModelProto:
    """Copy a graph; the copy takes any batch of images of the input's size.

    A Reshape to a constant shape that starts with the fixed batch keeps its
    input's first dimension instead. A Squeeze of all dimensions of 1 no longer
    removes the first.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    sizes = [image.channels, image.height, image.width]
    rest = sizes if image.layout == "nchw" else [*sizes[1:], sizes[0]]
    value = onnx.helper.make_tensor_value_info(image.name, image.element, ["batch", *rest])
    copy.graph.input[0].CopyFrom(value)
    for value in copy.graph.output:
        value.type.tensor_type.ClearField("shape")
    nodes = list(_on_the_data_path(copy.graph))
    for node in nodes:
        if node.op_type == "Reshape":
            _change_reshape(node, copy.graph, image.batch or 1)
    squeezes = [node for node in nodes if node.op_type == "Squeeze" and not _names_axes(node)]
    shapes = static_graph(copy).shapes if squeezes else {}
    for node in squeezes:
        _change_squeeze(node, copy, shapes.get(node.input[0], ()))
    return copy


def _on_the_data_path(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes whose outputs depend on the input's elements."""
    dependent = {value.name for value in graph.input}
    for node in graph.node:
        if node.op_type not in ("Shape", "Size") and dependent.intersection(node.input):
            dependent.update(node.output)
            yield node


def _constant(graph: onnx.GraphProto, name: str) -> NDArray[np.generic] | None:
    for tensor in graph.initializer:
        if tensor.name == name:
            return numpy_helper.to_array(tensor)
    for node in graph.node:
        if name in node.output and node.op_type == "Constant":
            value = attribute(node, "value", None)
            return None if value is None else numpy_helper.to_array(value)
    return None


def _change_reshape(node: onnx.NodeProto, graph: onnx.GraphProto, batch: int) -> None:
    shape = _constant(graph, node.input[1])
    if shape is None or len(shape) < 2 or shape[0] != batch:
        return
    if attribute(node, "allowzero", 0):
        if 0 in shape:
            return
        _drop_attribute(node, "allowzero")
    replaced = np.array([0, *shape[1:]], dtype=np.int64)  # 0 keeps the input's dimension
    node.input[1] = _add_constant(graph, f"{node.output[0]}/any_batch", replaced)


def _drop_attribute(node: onnx.NodeProto, name: str) -> None:
    kept = [one for one in node.attribute if one.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)


def _names_axes(node: onnx.NodeProto) -> bool:
    return len(node.input) > 1 or attribute(node, "axes", None) is not None


def _change_squeeze(node: onnx.NodeProto, model: onnx.ModelProto, shape: tuple[int, ...]) -> None:
    axes = [axis for axis, size in enumerate(shape) if axis and size == 1]
    if opset_version(model) < _SQUEEZE_AXES_AS_INPUT:
        node.attribute.append(onnx.helper.make_attribute("axes", axes))
    else:
        name = _add_constant(model.graph, f"{node.output[0]}/axes", np.array(axes, np.int64))
        node.input.append(name)


def _add_constant(graph: onnx.GraphProto, name: str, value: NDArray[np.generic]) -> str:
    graph.initializer.append(numpy_helper.from_array(value, name))
    return name
