"""The import options: what a foreign graph doesn't record about itself."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import onnx

from convscope.bundle.labels import labels_of_metadata
from convscope.exporter.errors import ExporterError
from convscope.exporter.foreign.image_input import ImageInput, Layout
from convscope.exporter.foreign.normalization import Normalization
from convscope.exporter.outputs.semantics import BINARY_NOTE, ActivationChoice, Semantics
from convscope.exporter.preprocessing import ImagePreprocessing
from convscope.exporter.preprocessing.conventions import CONVENTIONS, Convention, Interpolation
from convscope.exporter.preprocessing.declared import DeclaredResize, check_size
from convscope.exporter.preprocessing.plausibility import check_normalization

__all__ = [
    "Color",
    "ForeignSource",
    "class_labels",
    "image_preprocessing",
    "metadata_labels",
    "pixel_normalization",
]

Color = Literal["rgb", "bgr", "gray"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignSource:
    """A foreign graph, with everything that it doesn't record about itself.

    Args:
        path: The ONNX file.
        model: The bundle's model name.
        version: The bundle's version.
        labels: The name of each class; None for their numbers.
        layout: The position of the channels; None to detect it from the shape.
        color: The channels and their order.
        scale: The factor for pixels of 0 to 255; None for 1/255, or for 1 if the
            graph takes uint8.
        mean: The value that is then subtracted, for each channel in the graph's
            order.
        std: The value by which each channel is then divided.
        convention: The source of the defaults.
        resize: How an image is resized before the center crop or the padding.
        size: Height and width, for a graph with a dynamic size.
        interpolation: The filter of the resize; None for that of the convention.
        activation: What the output contains; see `outputs.detection`.
        allow_nonfinite: Whether to publish a graph that returns NaN or infinity
            for some images.
        output: The output with the classes; None for the only one with scores.
        feature_maps: TENSOR or TENSOR=NAME; None for one per stage.
        dataset: The dataset that the weights were trained on.
        license: The SPDX identifier of the weights' license.
        explanations: Whether the graph explains its classes; None if it can.
        assumed: Whether the user stated none of the preprocessing.
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
    convention: Convention = CONVENTIONS["unit"]
    resize: DeclaredResize = field(default_factory=DeclaredResize)
    size: tuple[int, int] | None = None
    interpolation: Interpolation | None = None
    activation: ActivationChoice = "auto"
    allow_nonfinite: bool = False
    output: str | None = None
    feature_maps: Sequence[str] | None = None
    dataset: str = ""
    license: str = ""
    explanations: bool | None = None
    assumed: bool = False


def metadata_labels(model: onnx.ModelProto) -> tuple[str, ...] | None:
    """Return the labels in a model's metadata; None if there are none."""
    return labels_of_metadata({entry.key: entry.value for entry in model.metadata_props})


def class_labels(labels: Sequence[str] | None, semantics: Semantics) -> list[str]:
    """Return the name of each class, its number by default.

    Raises:
        ExporterError: The numbers of labels and classes differ.
    """
    classes = semantics.classes
    if labels is None:
        return [str(number) for number in range(classes)]
    if len(labels) != classes:
        raise ExporterError(
            f"the graph has {classes:,} classes, but there are {len(labels):,} labels; "
            "pass one for each class, in the graph's order, with --labels FILE"
            + (BINARY_NOTE if semantics.is_binary else "")
        )
    return list(labels)


def pixel_normalization(source: ForeignSource, image: ImageInput) -> Normalization:
    """Return the normalization that the graph expects.

    Raises:
        ExporterError: A number is invalid, or the graph normalizes by itself.
    """
    takes_bytes = image.element == onnx.TensorProto.UINT8
    scale = (1.0 if takes_bytes else 1 / 255) if source.scale is None else source.scale
    mean = _per_channel("--mean", source.mean, image.channels)
    std = _per_channel("--std", source.std, image.channels)
    normalization = Normalization(scale, mean, std, source.color == "bgr")
    if takes_bytes and not normalization.is_identity:
        raise ExporterError(
            f"the input {image.name!r} is uint8, so the graph normalizes it; "
            "remove --preprocess, --scale, --mean and --std"
        )
    if not takes_bytes:
        check_normalization(scale, mean, std)
    return normalization


def _per_channel(option: str, values: Sequence[float], channels: int) -> tuple[float, ...]:
    if len(values) not in (1, channels):
        raise ExporterError(
            f"{option} has {len(values)} numbers; pass one, or one for each of {channels} channels"
        )
    return tuple(values) * (channels // len(values))


def image_preprocessing(
    source: ForeignSource, image: ImageInput, normalization: Normalization
) -> ImagePreprocessing:
    """Return the preprocessing in the manifest's form: red first, in units of 0 to 1.

    Raises:
        ExporterError: An option is invalid, or the resized image is smaller than the graph's
            input.
    """
    convention, size = source.convention, (image.height, image.width)
    resize = source.resize.rule(*size, image.channels) or convention.resize(*size)
    check_size(resize, *size)
    step = -1 if normalization.bgr else 1
    unit = 255 * normalization.scale
    return ImagePreprocessing(
        height=image.height,
        width=image.width,
        mean=tuple(value / unit for value in normalization.mean[::step]),
        std=tuple(value / unit for value in normalization.std[::step]),
        interpolation=source.interpolation or convention.interpolation,
        resize=resize,
        reverses_channels=normalization.bgr,
        assumed=source.assumed,
    )
