"""Reads a foreign ONNX classifier, and gives it the form that a bundle can build on.

After this, the graph is self-contained, has one image input and one output of
classes, and takes any batch: constants that fixed the batch are replaced where
nothing but the batch can be meant. Whether that was right is proved later, by
running it.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import TensorProto, inliner, numpy_helper, version_converter
from onnx.external_data_helper import load_external_data_for_model

from convscope.exporter.errors import ExporterError, UnknownNameError, reason
from convscope.exporter.graphs.static_graph import attribute, opset_version, static_graph

__all__ = ["ForeignFile", "ImageInput", "Layout", "find_input", "find_output", "free_batch", "read"]

Layout = Literal["nchw", "nhwc"]

# Older ones lack the broadcasting that the joined operators need.
MIN_OPSET = 7
_CONVERTED_OPSET = 13
_FIRST_IR_VERSION = 4  # the first in which a constant needn't be an input as well
_DEFAULT_DOMAINS = ("", "ai.onnx")
_ELEMENTS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.UINT8)
_SQUEEZE_AXES_AS_INPUT = 13


@dataclass(frozen=True, slots=True)
class ForeignFile:
    """A foreign model as it was read.

    Args:
        original: The model as it came, its external data embedded.
        model: The same in a form of today.
        description: The file's name and SHA-256.
    """

    original: onnx.ModelProto
    model: onnx.ModelProto
    description: str


@dataclass(frozen=True, slots=True)
class ImageInput:
    """The input of a foreign graph.

    Args:
        name: Its name.
        element: Its type, as an onnx.TensorProto.DataType.
        layout: Where the channels are.
        batch: The batch that it is fixed to; None for any.
        height: In pixels.
        width: In pixels.
        channels: 1 or 3.
    """

    name: str
    element: int
    layout: Layout
    batch: int | None
    height: int
    width: int
    channels: int


def read(path: Path) -> ForeignFile:
    """Read a model, and bring old forms up to date.

    Raises:
        ExporterError: It can't be read, isn't ONNX, isn't valid, or uses
            operators that no server of ours runs.
    """
    try:
        data = path.read_bytes()
        model = onnx.load_model_from_string(data)
        load_external_data_for_model(model, str(path.parent.resolve()))
    except OSError as error:
        raise ExporterError(f"{path} can't be read: {error.strerror or error}") from error
    except (DecodeError, onnx.checker.ValidationError) as error:
        raise ExporterError(f"{path} is not an ONNX model: {reason(error)}") from error
    if not model.graph.node or not model.graph.output or not model.opset_import:
        raise ExporterError(f"{path} is not an ONNX model: it has no graph or no opset")
    digest = hashlib.sha256(data).hexdigest()
    model = inliner.inline_local_functions(model) if model.functions else model
    original = onnx.ModelProto()
    original.CopyFrom(model)
    return ForeignFile(original, _modern(model), f"{path.name} (sha256 {digest})")


def _modern(model: onnx.ModelProto) -> onnx.ModelProto:
    domains = {node.domain for node in model.graph.node}
    if strange := sorted(domains.difference(_DEFAULT_DOMAINS)):
        example = next(node.op_type for node in model.graph.node if node.domain == strange[0])
        raise ExporterError(
            f"the graph uses {example} of the domain {strange[0]!r}; only the standard operators "
            "can be served, so export it again without fused or custom ones"
        )
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    del model.graph.value_info[:]  # they may fix the batch
    model.ir_version = max(model.ir_version, _FIRST_IR_VERSION)
    return _converted(model) if opset_version(model) < MIN_OPSET else model


def _converted(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return version_converter.convert_version(model, _CONVERTED_OPSET)
    except (RuntimeError, version_converter.ConvertError) as error:
        raise ExporterError(
            f"the graph is of opset {opset_version(model)} and can't be brought to "
            f"{_CONVERTED_OPSET}: {reason(error)}; export it again with a newer opset"
        ) from error


def find_input(
    model: onnx.ModelProto, layout: Layout | None, channels: int, size: tuple[int, int] | None
) -> ImageInput:
    """Find the graph's input and how it holds an image.

    Args:
        model: The graph.
        layout: What the user says of it; None to see it from the shape.
        channels: 1 for grey, 3 for colours.
        size: Height and width in pixels, for a graph that leaves them open.

    Raises:
        ExporterError: There is no such input, or what was said doesn't fit it.
    """
    if len(model.graph.input) != 1:
        names = ", ".join(repr(value.name) for value in model.graph.input) or "none"
        raise ExporterError(f"the graph must have one input, the image; it has: {names}")
    (value,) = model.graph.input
    tensor = value.type.tensor_type
    shape = [dim.dim_value or None for dim in tensor.shape.dim]
    said = f"the input {value.name!r} is {_describe(tensor.elem_type, shape)}"
    if len(shape) != 4 or tensor.elem_type not in _ELEMENTS:
        raise ExporterError(f"{said}; an image is float, float16, double or uint8 [N, C, H, W]")
    chosen = layout or _guess_layout(shape, channels, said)
    batch, *rest = shape
    found, height, width = rest if chosen == "nchw" else (rest[2], rest[0], rest[1])
    if found not in (None, channels):
        raise ExporterError(
            f"{said}, which as {chosen.upper()} has {found} channels and not {channels}; "
            "see --input-layout and --color"
        )
    height, width = _fix_size(height, width, size, said)
    return ImageInput(value.name, tensor.elem_type, chosen, batch, height, width, channels)


def _describe(element: int, shape: list[int | None]) -> str:
    sizes = ", ".join("?" if size is None else str(size) for size in shape)
    return f"{TensorProto.DataType.Name(element).lower()} [{sizes}]"


def _guess_layout(shape: list[int | None], channels: int, said: str) -> Layout:
    first, last = shape[1] == channels, shape[3] == channels
    if first == last:
        raise ExporterError(
            f"{said}: where its {channels} channels are can't be seen; say it with --input-layout"
        )
    return "nchw" if first else "nhwc"


def _fix_size(
    height: int | None, width: int | None, size: tuple[int, int] | None, said: str
) -> tuple[int, int]:
    if height is None or width is None:
        if size is None:
            raise ExporterError(f"{said} and leaves the size open; choose one with --crop 224")
        return size
    if size is not None and size != (height, width):
        raise ExporterError(f"{said}; it can't be cropped to {size[0]}x{size[1]}")
    return height, width


def find_output(model: onnx.ModelProto, name: str | None) -> str:
    """Find the output that holds the classes.

    Raises:
        UnknownNameError: The graph has no such output, or several to choose from.
    """
    names = [value.name for value in model.graph.output]
    if name is None and len(names) == 1:
        return names[0]
    if name not in names:
        reason = f"no output {name!r}" if name else "several outputs; choose one with --output"
        raise UnknownNameError(f"the graph has {reason}; there are: {', '.join(names)}")
    return name


def free_batch(model: onnx.ModelProto, image: ImageInput) -> onnx.ModelProto:
    """Copy a graph, with any batch and the image's size for its input.

    A Reshape to a constant shape that starts with the fixed batch keeps its
    input's first dimension instead; a Squeeze of every dimension of 1 spares the
    first.
    """
    free = onnx.ModelProto()
    free.CopyFrom(model)
    sizes = [image.channels, image.height, image.width]
    rest = sizes if image.layout == "nchw" else [*sizes[1:], sizes[0]]
    value = onnx.helper.make_tensor_value_info(image.name, image.element, ["batch", *rest])
    free.graph.input[0].CopyFrom(value)
    for value in free.graph.output:
        value.type.tensor_type.ClearField("shape")
    live = list(_live(free.graph))
    for node in live:
        if node.op_type == "Reshape":
            _free_reshape(node, free.graph, image.batch or 1)
    squeezes = [node for node in live if node.op_type == "Squeeze" and not _squeezed_axes(node)]
    shapes = static_graph(free).shapes if squeezes else {}
    for node in squeezes:
        _free_squeeze(node, free, shapes.get(node.input[0], ()))
    return free


def _live(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes whose outputs depend on the input's elements."""
    reached = {value.name for value in graph.input}
    for node in graph.node:
        if node.op_type not in ("Shape", "Size") and reached.intersection(node.input):
            reached.update(node.output)
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


def _free_reshape(node: onnx.NodeProto, graph: onnx.GraphProto, batch: int) -> None:
    shape = _constant(graph, node.input[1])
    if shape is None or len(shape) < 2 or shape[0] != batch:
        return
    if attribute(node, "allowzero", 0):
        if 0 in shape:
            return
        _drop_attribute(node, "allowzero")
    replaced = np.array([0, *shape[1:]], dtype=np.int64)  # 0: as it was
    node.input[1] = _add_constant(graph, f"{node.output[0]}/any_batch", replaced)


def _drop_attribute(node: onnx.NodeProto, name: str) -> None:
    kept = [one for one in node.attribute if one.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)


def _squeezed_axes(node: onnx.NodeProto) -> bool:
    return len(node.input) > 1 or attribute(node, "axes", None) is not None


def _free_squeeze(node: onnx.NodeProto, model: onnx.ModelProto, shape: tuple[int, ...]) -> None:
    axes = [axis for axis, size in enumerate(shape) if axis and size == 1]
    if opset_version(model) < _SQUEEZE_AXES_AS_INPUT:
        node.attribute.append(onnx.helper.make_attribute("axes", axes))
    else:
        name = _add_constant(model.graph, f"{node.output[0]}/axes", np.array(axes, np.int64))
        node.input.append(name)


def _add_constant(graph: onnx.GraphProto, name: str, value: NDArray[np.generic]) -> str:
    graph.initializer.append(numpy_helper.from_array(value, name))
    return name
