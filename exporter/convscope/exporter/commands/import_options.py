"""The options of `import`, and the parsers of their values."""

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

from convscope.exporter.commands.options import INPUT, OUTPUTS
from convscope.exporter.errors import ExporterError
from convscope.exporter.preprocessing.conventions import ConventionName

__all__ = [
    "Color",
    "Crop",
    "Dataset",
    "File",
    "Labels",
    "Layout",
    "License",
    "Maps",
    "Mean",
    "Model",
    "Output",
    "Preprocess",
    "Scale",
    "Std",
    "number",
    "numbers",
    "size",
]

ORIGIN = "Origin of the weights"  # a section of the help page

File = Annotated[Path, Argument(metavar="MODEL.onnx", help="The ONNX file.")]
Model = Annotated[
    str | None, Option("--name", help="The model's name.", show_default="the file's name")
]
Labels = Annotated[
    str | None,
    Option(
        help="The names of the classes: a text, CSV or JSON file; or mnist, fashion_mnist or "
        "cifar10. For a graph with one output, the first label is for low outputs, the second "
        "for high ones.",
        show_default="those in the model's metadata, or 0, 1, 2 and so on",
    ),
]

# The input and its preprocessing.
Layout = Annotated[
    Literal["nchw", "nhwc"] | None,
    Option(
        help="The position of the input's channels.",
        show_default="detected from its shape",
        rich_help_panel=INPUT,
    ),
]
Preprocess = Annotated[
    ConventionName | None,
    Option(
        help="The convention by which the model's images were prepared. torchvision, timm: the "
        "mean and std of ImageNet, and a resize that is larger than the crop. keras-tf: -1 to 1. "
        "caffe: BGR, minus the mean of ImageNet. unit: 0 to 1, the shorter edge resized to the "
        "input's longer edge, then a center crop. The options below replace single values.",
        show_default="assumed to be unit",
        rich_help_panel=INPUT,
    ),
]
Color = Annotated[
    Literal["rgb", "bgr", "gray"] | None,
    Option(
        help="The input's channels and their order.",
        show_default="rgb, or that of --preprocess",
        rich_help_panel=INPUT,
    ),
]
Scale = Annotated[
    str | None,
    Option(
        help="The factor for pixels of 0 to 255.",
        show_default="1/255, or that of --preprocess; 1 for an input of uint8",
        rich_help_panel=INPUT,
    ),
]
Mean = Annotated[
    str | None,
    Option(
        metavar="NUMBER[,...]",
        help="Then subtracted: one number, or one per channel with commas and without spaces, "
        "like 0.485,0.456,0.406.",
        show_default="0, or that of --preprocess",
        rich_help_panel=INPUT,
    ),
]
Std = Annotated[
    str | None,
    Option(
        metavar="NUMBER[,...]",
        help="The divisor after that, likewise.",
        show_default="1, or that of --preprocess",
        rich_help_panel=INPUT,
    ),
]
Crop = Annotated[
    str | None,
    Option(
        help="The input's size, such as 224 or 224x320, for a graph with a dynamic size.",
        show_default="the graph's own size",
        rich_help_panel=INPUT,
    ),
]

# The outputs.
Output = Annotated[
    str | None,
    Option(
        help="The name of the output with the classes.",
        show_default="the only output with scores",
        rich_help_panel=OUTPUTS,
    ),
]
Maps = Annotated[
    list[str] | None,
    Option(
        metavar="TENSOR[=NAME]",
        help="A tensor inside the graph that becomes a feature map; may be repeated.",
        show_default="one per stage of the pyramid, named stage1, stage2 and so on",
        rich_help_panel=OUTPUTS,
    ),
]

# The origin of the weights.
Dataset = Annotated[
    str,
    Option(
        help="The dataset that the weights were trained on; it is recorded in the manifest.",
        show_default="not recorded",
        rich_help_panel=ORIGIN,
    ),
]
License = Annotated[
    str,
    Option(
        help="The SPDX identifier of the weights' license; it is recorded in the manifest.",
        show_default="not recorded",
        rich_help_panel=ORIGIN,
    ),
]


def number(option: str, text: str) -> float:
    """Parse a number or a fraction, such as 1/255.

    Raises:
        ExporterError: The text is neither; the message names the option.
    """
    above, _, below = text.partition("/")
    try:
        return float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError) as error:
        raise ExporterError(f"{option} {text!r} is no number, such as 0.5 or 1/255") from error


def numbers(option: str, text: str) -> list[float]:
    """Parse numbers that are separated by commas.

    Raises:
        ExporterError: One of them isn't a number.
    """
    return [number(option, part) for part in text.split(",")]


def size(text: str) -> tuple[int, int]:
    """Parse the value of `--crop` into height and width in pixels.

    Raises:
        ExporterError: The value is no size.
    """
    height, separator, width = text.partition("x")
    sides = (height, width) if separator else (height, height)
    if not all(side.isdecimal() and int(side) > 0 for side in sides):
        raise ExporterError(f"--crop {text!r} is no size in pixels, such as 224 or 224x320")
    return int(sides[0]), int(sides[1])
