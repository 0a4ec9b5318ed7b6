"""The options that several commands share."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

__all__ = [
    "FeatureMaps",
    "InputShape",
    "Mean",
    "Model",
    "Name",
    "Quiet",
    "Repository",
    "ShortestEdge",
    "Std",
    "Version",
]

Name = Annotated[
    str,
    Argument(
        metavar="ARCHITECTURE",
        help="One that `list` names, timm/NAME, or your own as path/to/file.py:factory.",
    ),
]
Repository = Annotated[Path, Option(help="Where the bundle goes: REPOSITORY/MODEL/VERSION.")]
Model = Annotated[
    str | None, Option("--name", help="The model's name; the architecture's by default.")
]
Version = Annotated[int | None, Option(help="The version's number; the next free one by default.")]
Quiet = Annotated[bool, Option("--quiet", "-q", help="Say nothing but errors.")]
FeatureMaps = Annotated[
    list[str] | None,
    Option(
        "--feature-map",
        metavar="MODULE[=NAME]",
        help="A module whose output is a feature map; the stages of the pyramid by default. "
        "May be repeated.",
    ),
]

# Of a network of the user's own.
InputShape = Annotated[
    str | None,
    Option(
        "--input",
        metavar="CxHxW",
        help="The input of a network of your own: 3x224x224 for images, 1x256 for signals, "
        "3x8x32x32 for clips.",
    ),
]
Mean = Annotated[
    str | None, Option(help="Of a network of your own: subtracted from each channel of 0 to 1.")
]
Std = Annotated[str | None, Option(help="Of a network of your own: each channel is divided by it.")]
ShortestEdge = Annotated[
    int | None,
    Option(
        help="Of a network of your own: the shorter edge in pixels before the centre is cropped."
    ),
]
