"""Finds the input of a foreign graph, and how it stores an image."""

from dataclasses import dataclass
from typing import Literal

import onnx
from onnx import TensorProto

from convscope.bundle.suggestions import it_has
from convscope.exporter.errors import ExporterError

__all__ = ["ImageInput", "Layout", "find_input"]

Layout = Literal["nchw", "nhwc"]

# By the number of channels.
_COLORS = {1: "one channel of gray", 3: "three channels of RGB or BGR"}
_OPTIONS = {1: "gray", 3: "rgb or bgr"}
_ELEMENTS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.UINT8)


@dataclass(frozen=True, slots=True)
class ImageInput:
    """The input of a foreign graph.

    Args:
        name: Its name.
        element: Its type, as an onnx.TensorProto.DataType.
        layout: The position of the channels.
        batch: The fixed batch; None if it is dynamic.
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


def find_input(
    model: onnx.ModelProto, layout: Layout | None, channels: int, size: tuple[int, int] | None
) -> ImageInput:
    """Return the graph's image input.

    Args:
        model: The graph.
        layout: The user's choice; None to detect the layout from the shape.
        channels: 1 for gray, 3 for RGB or BGR.
        size: Height and width in pixels, for a graph with a dynamic size.

    Raises:
        ExporterError: The graph has no such input, or it contradicts the user's choice.
    """
    if len(model.graph.input) != 1:
        names = [repr(value.name) for value in model.graph.input]
        raise ExporterError(f"the graph must have one input, the image; {it_has(names)}")
    (value,) = model.graph.input
    tensor = value.type.tensor_type
    # Some tools write -1 for a dynamic dimension.
    shape = [dim.dim_value if dim.dim_value > 0 else None for dim in tensor.shape.dim]
    found = f"the input {value.name!r} is {_describe(tensor.elem_type, shape)}"
    if len(shape) != 4 or tensor.elem_type not in _ELEMENTS:
        raise ExporterError(f"{found}; an image is float, float16, double or uint8 [N, C, H, W]")
    chosen = layout or _detect_layout(shape, channels, found)
    batch, *rest = shape
    actual, height, width = rest if chosen == "nchw" else (rest[2], rest[0], rest[1])
    if actual not in (None, channels):
        raise ExporterError(
            f"{found}, which as {chosen.upper()} has {actual} channels instead of {channels}; "
            "see --input-layout and --color"
        )
    height, width = _fix_size(height, width, size, found)
    return ImageInput(value.name, tensor.elem_type, chosen, batch, height, width, channels)


def _describe(element: int, shape: list[int | None]) -> str:
    sizes = ", ".join("?" if size is None else str(size) for size in shape)
    return f"{TensorProto.DataType.Name(element).lower()} [{sizes}]"


def _detect_layout(shape: list[int | None], channels: int, found: str) -> Layout:
    first, last = shape[1] == channels, shape[3] == channels
    sizes = (shape[1], shape[3])
    if None not in sizes and channels not in sizes:
        color = next((name for size, name in _OPTIONS.items() if size in sizes), None)
        fix = f"use --color {color}" if color else "a bundle takes RGB, BGR or gray images"
        raise ExporterError(f"{found}, so none of its axes holds the {_COLORS[channels]}; {fix}")
    if first == last:
        raise ExporterError(
            f"{found}, so it isn't clear which axis has the {channels} channels; "
            "choose it with --input-layout"
        )
    return "nchw" if first else "nhwc"


def _fix_size(
    height: int | None, width: int | None, size: tuple[int, int] | None, found: str
) -> tuple[int, int]:
    if height is None or width is None:
        if size is None:
            raise ExporterError(f"{found}, so its size is dynamic; choose one with --crop 224")
        return size
    if size is not None and size != (height, width):
        raise ExporterError(f"{found}; it can't be cropped to {size[0]}x{size[1]}")
    return height, width
