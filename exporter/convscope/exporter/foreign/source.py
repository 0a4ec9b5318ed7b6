"""What a user says of a foreign graph that the graph doesn't say itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import onnx

from convscope.exporter.errors import ExporterError
from convscope.exporter.foreign.graph import ImageInput, Layout
from convscope.exporter.foreign.join import Normalization
from convscope.exporter.preprocessing import ImagePreprocessing

__all__ = ["Color", "ForeignSource", "class_labels", "image_preprocessing", "pixel_normalization"]

Color = Literal["rgb", "bgr", "gray"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignSource:
    """What is imported, and what only its user can know of it.

    Args:
        path: The ONNX file.
        model: The bundle's model name.
        version: The bundle's version.
        labels: The name of each class; None for their numbers.
        layout: Where the channels are; None to see it from the shape.
        color: The channels and their order.
        scale: What pixels of 0 to 255 are multiplied by first; None for
            1/255, or for 1 where the graph takes uint8.
        mean: What is subtracted then, for each channel in the graph's order.
        std: What each channel is divided by then.
        resize: The length in pixels that the shorter edge is brought to before
            the crop, or "exact" to resize to the input whatever the aspect
            ratio; None for the input's longer edge.
        size: Height and width, for a graph that leaves them open.
        interpolation: The filter of the resize.
        activation: What makes probabilities of the output; "none" if it holds
            them; None to see it from the graph.
        output: The output of the classes, if there are several.
        feature_maps: TENSOR or TENSOR=NAME; None for one of each stage.
        dataset: What the weights were trained on.
        license: The SPDX identifier of their licence.
    """

    path: Path
    model: str
    version: int
    labels: Sequence[str] | None = None
    layout: Layout | None = None
    color: Color = "rgb"
    scale: float | None = None
    mean: Sequence[float] = (0.0,)
    std: Sequence[float] = (1.0,)
    resize: int | Literal["exact"] | None = None
    size: tuple[int, int] | None = None
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    activation: Literal["softmax", "sigmoid", "none"] | None = None
    output: str | None = None
    feature_maps: Sequence[str] | None = None
    dataset: str = ""
    license: str = ""


def class_labels(labels: Sequence[str] | None, classes: int) -> list[str]:
    """The name of each class; its number, if none is given.

    Raises:
        ExporterError: There are more or fewer names than classes.
    """
    if labels is None:
        return [str(number) for number in range(classes)]
    if len(labels) != classes:
        raise ExporterError(
            f"the graph has {classes} classes and there are {len(labels)} labels; "
            "give one for each class, in the graph's order"
        )
    return list(labels)


def pixel_normalization(source: ForeignSource, image: ImageInput) -> Normalization:
    """What the graph expects of pixels.

    Raises:
        ExporterError: A number can't be, or the graph normalises by itself.
    """
    takes_bytes = image.element == onnx.TensorProto.UINT8
    scale = (1.0 if takes_bytes else 1 / 255) if source.scale is None else source.scale
    mean = _per_channel("--mean", source.mean, image.channels)
    std = _per_channel("--std", source.std, image.channels)
    if scale <= 0 or min(std) <= 0:
        raise ExporterError("--scale and --std must be above 0")
    normalization = Normalization(scale, mean, std, source.color == "bgr")
    if takes_bytes and not normalization.nothing:
        raise ExporterError(
            f"the input {image.name!r} is uint8 and so is normalised by the graph itself; "
            "leave --scale, --mean and --std out"
        )
    return normalization


def _per_channel(option: str, values: Sequence[float], channels: int) -> tuple[float, ...]:
    if len(values) not in (1, channels):
        raise ExporterError(
            f"{option} has {len(values)} numbers; give one, or one for each of {channels} channels"
        )
    return tuple(values) * (channels // len(values))


def image_preprocessing(
    source: ForeignSource, image: ImageInput, normalization: Normalization
) -> ImagePreprocessing:
    """State the same as a manifest does: red first, in units of 0 to 1.

    Raises:
        ExporterError: The image is resized to less than the graph's input.
    """
    needed = max(image.height, image.width)
    edge = None if source.resize == "exact" else source.resize or needed
    if edge is not None and edge < needed:
        raise ExporterError(
            f"--resize {edge} is less than the graph's input, {image.height}x{image.width}; "
            f"use at least {needed}"
        )
    step = -1 if normalization.bgr else 1
    unit = 255 * normalization.scale
    return ImagePreprocessing(
        height=image.height,
        width=image.width,
        mean=tuple(value / unit for value in normalization.mean[::step]),
        std=tuple(value / unit for value in normalization.std[::step]),
        interpolation=source.interpolation,
        shortest_edge=edge,
    )
