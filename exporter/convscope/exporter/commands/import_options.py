"""The options of `import` alone, and what their texts mean."""

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

from convscope.exporter.errors import ExporterError

__all__ = [
    "Activation",
    "Color",
    "Crop",
    "Dataset",
    "File",
    "Interpolation",
    "Labels",
    "Layout",
    "License",
    "Maps",
    "Mean",
    "Model",
    "Output",
    "Resize",
    "Scale",
    "Std",
    "number",
    "numbers",
    "resize_rule",
    "size",
]

File = Annotated[Path, Argument(metavar="MODEL.onnx", help="The foreign graph.")]
Model = Annotated[str | None, Option("--name", help="The model's name; the file's by default.")]
Labels = Annotated[
    Path | None,
    Option(help="A text file of one class a line, or a JSON list. Numbers by default."),
]

# The input, and how an image becomes one.
Layout = Annotated[
    Literal["nchw", "nhwc"] | None,
    Option(help="Where the input's channels are. Seen from its shape by default."),
]
Color = Annotated[
    Literal["rgb", "bgr", "gray"], Option(help="The input's channels and their order.")
]
Scale = Annotated[
    str | None, Option(help="What pixels of 0 to 255 are multiplied by first. [default: 1/255]")
]
Mean = Annotated[
    str, Option(help="Subtracted then: one number, or one a channel, like 0.485,0.456,0.406.")
]
Std = Annotated[str, Option(help="Divided by then: one number, or one a channel.")]
Resize = Annotated[
    str | None,
    Option(
        help="The length in pixels that an image's shorter edge is brought to before the "
        "centre is cropped; or exact, to resize to the input whatever the aspect ratio. "
        "The input's longer edge by default."
    ),
]
Crop = Annotated[
    str | None,
    Option(help="The input's size, such as 224 or 224x320, for a graph that leaves it open."),
]
Interpolation = Annotated[Literal["bilinear", "bicubic"], Option(help="The filter of the resize.")]

# What comes out.
Activation = Annotated[
    Literal["softmax", "sigmoid", "none"] | None,
    Option(
        help="What makes probabilities of the output; none if it holds them already. "
        "Seen from the graph's end by default."
    ),
]
Output = Annotated[str | None, Option(help="The output of the classes, if there are several.")]
Maps = Annotated[
    list[str] | None,
    Option(
        metavar="TENSOR[=NAME]",
        help="A tensor inside the graph that becomes a feature map; several are allowed. "
        "One of each stage of the pyramid by default.",
    ),
]

# For the record.
Dataset = Annotated[str, Option(help="What the weights were trained on, for the record.")]
License = Annotated[
    str, Option(help="The SPDX identifier of the weights' licence, for the record.")
]


def number(option: str, text: str) -> float:
    """Read a number or a fraction, such as 1/255.

    Raises:
        ExporterError: It is neither; the message names the option.
    """
    above, _, below = text.partition("/")
    try:
        return float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError) as error:
        raise ExporterError(f"{option} {text!r} is no number, such as 0.5 or 1/255") from error


def numbers(option: str, text: str) -> list[float]:
    """Read numbers with commas between.

    Raises:
        ExporterError: One isn't a number.
    """
    return [number(option, part) for part in text.split(",")]


def resize_rule(text: str | None) -> int | Literal["exact"] | None:
    """Read what `--resize` says: pixels, exact, or nothing.

    Raises:
        ExporterError: It is none of them.
    """
    if text is None:
        return None
    if text == "exact":
        return "exact"
    if not text.isdecimal():
        raise ExporterError(f"--resize {text!r} is neither a length in pixels nor exact")
    return int(text)


def size(text: str) -> tuple[int, int]:
    """Read the height and width that `--crop` says, in pixels.

    Raises:
        ExporterError: It is no size.
    """
    height, separator, width = text.partition("x")
    sides = (height, width) if separator else (height, height)
    if not all(side.isdecimal() and int(side) > 0 for side in sides):
        raise ExporterError(f"--crop {text!r} is no size in pixels, such as 224 or 224x320")
    return int(sides[0]), int(sides[1])
