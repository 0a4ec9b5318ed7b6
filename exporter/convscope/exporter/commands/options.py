"""The options that several commands share."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from convscope.exporter.outputs.semantics import ActivationChoice

__all__ = [
    "Activation",
    "AllowNonfinite",
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
        help="A name from `list`, timm/NAME, or your own network as path/to/file.py:factory.",
    ),
]
Repository = Annotated[Path, Option(help="The folder of the bundle: REPOSITORY/MODEL/VERSION.")]
Model = Annotated[
    str | None, Option("--name", help="The model's name; the architecture's name by default.")
]
Version = Annotated[int | None, Option(help="The version number; the next free one by default.")]
Quiet = Annotated[bool, Option("--quiet", "-q", help="Print only errors.")]
FeatureMaps = Annotated[
    list[str] | None,
    Option(
        "--feature-map",
        metavar="MODULE[=NAME]",
        help="A module whose output becomes a feature map; may be repeated. One per stage of "
        "the pyramid by default.",
    ),
]

# The outputs.
Activation = Annotated[
    ActivationChoice,
    Option(
        help="The function that turns the network's output into probabilities. auto: detect it. "
        "softmax, sigmoid: apply this function, unless the network already ends in it; sigmoid "
        "is for labels of which several may be true. log-softmax: the output contains "
        "log-probabilities. none: the output already contains probabilities.",
    ),
]
AllowNonfinite = Annotated[
    bool,
    Option(
        "--allow-nonfinite",
        help="Publish a network that returns NaN or infinity for some images, and record this "
        "in the manifest. The server reports an error for such an image.",
    ),
]

# For a network in a user's file.
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
    str | None,
    Option(help="For a network of your own: subtracted from each channel, in units of 0 to 1."),
]
Std = Annotated[str | None, Option(help="For a network of your own: the divisor of each channel.")]
ShortestEdge = Annotated[
    int | None,
    Option(help="For a network of your own: the shorter edge in pixels before the center crop."),
]
