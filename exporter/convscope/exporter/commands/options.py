"""The options that several commands share."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from convscope.exporter.outputs.semantics import ActivationChoice
from convscope.exporter.preprocessing.conventions import ConventionName, Interpolation
from convscope.exporter.preprocessing.resizing import Placement

__all__ = [
    "INPUT",
    "OUTPUTS",
    "Activation",
    "AllowNonfinite",
    "Explanations",
    "FeatureMaps",
    "InputShape",
    "InterpolationOption",
    "Mean",
    "Model",
    "ModelInRepository",
    "Name",
    "Output",
    "Padding",
    "PlacementOption",
    "Preprocess",
    "Quiet",
    "Repository",
    "RepositoryPlace",
    "Resize",
    "SignatureAuthority",
    "SignatureIdentity",
    "SignatureIssuer",
    "SignatureKey",
    "Std",
    "Version",
]

# The sections of the help page.
INPUT = "Input"
OUTPUTS = "Outputs"
SIGNATURE = "Signature"

Name = Annotated[
    str,
    Argument(
        metavar="ARCHITECTURE",
        help="A name from `list`, timm/NAME, or your own network as path/to/file.py:factory. "
        "The factory is a function or class that takes num_classes and in_channels, if it has "
        "such parameters, and returns a torch.nn.Module from float32 [N, C, H, W] to logits "
        "[N, classes].",
    ),
]
Repository = Annotated[Path, Option(help="The folder of the bundle: REPOSITORY/MODEL/VERSION.")]
RepositoryPlace = Annotated[
    str, Option("--repository", help="The path or URL of the repository: models, s3://BUCKET/….")
]
ModelInRepository = Annotated[
    str, Argument(metavar="MODEL", help="The model's name in the repository.")
]
Model = Annotated[
    str | None,
    Option("--name", help="The model's name.", show_default="the architecture's name"),
]
Version = Annotated[
    int | None, Option(help="The version number.", show_default="the next free number")
]
Quiet = Annotated[bool, Option("--quiet", "-q", help="Print only errors.")]
FeatureMaps = Annotated[
    list[str] | None,
    Option(
        "--feature-map",
        metavar="MODULE[=NAME]",
        help="A module whose output becomes a feature map; may be repeated.",
        show_default="one per stage of the pyramid",
    ),
]

# The outputs.
Output = Annotated[
    str | None,
    Option(
        metavar="NAME|POSITION",
        help="For a network of your own that returns a tuple, list, dictionary or dataclass: the "
        "output with the classes, by its name, or by its position from 0.",
        show_default="the only output with scores",
        rich_help_panel=OUTPUTS,
    ),
]
Activation = Annotated[
    ActivationChoice,
    Option(
        help="The function that turns the network's output into probabilities. auto: detect it. "
        "softmax, sigmoid: apply this function, unless the network already ends in it; sigmoid "
        "is for labels of which several may be true. log-softmax: the output contains "
        "log-probabilities. none: the output already contains probabilities.",
        rich_help_panel=OUTPUTS,
    ),
]
AllowNonfinite = Annotated[
    bool,
    Option(
        "--allow-nonfinite",
        help="Publish a network that returns NaN or infinity for some images, and record this "
        "in the manifest. The server reports an error for such an image.",
        rich_help_panel=OUTPUTS,
    ),
]
Explanations = Annotated[
    bool | None,
    Option(
        "--explanations/--no-explanations",
        help="Whether the graph can explain a class by heat over the image. With "
        "--explanations, a network that can't be explained is an error.",
        show_default="if the network can be explained",
        rich_help_panel=OUTPUTS,
    ),
]

# The input.
InputShape = Annotated[
    str | None,
    Option(
        "--input",
        metavar="CxHxW",
        help="The input of a network of your own: 3x224x224 for images, 1x256 for signals, "
        "3x8x32x32 for clips.",
        show_default="the architecture's own",
        rich_help_panel=INPUT,
    ),
]
Preprocess = Annotated[
    ConventionName | None,
    Option(
        help="The convention by which the network's images are prepared. "
        "torchvision, timm: the mean and std of ImageNet, and a resize that is larger than the "
        "crop. keras-tf: -1 to 1. unit: 0 to 1, the shorter edge resized to the input's longer "
        "edge, then a center crop. The options below replace single values. Published weights "
        "have their own preprocessing.",
        show_default="the architecture's own; unit for a network of your own",
        rich_help_panel=INPUT,
    ),
]
Mean = Annotated[
    str | None,
    Option(
        metavar="NUMBER[,...]",
        help="Subtracted from each channel, in units of 0 to 1: one number, or one per channel "
        "with commas and without spaces, like 0.485,0.456,0.406.",
        show_default="that of --preprocess",
        rich_help_panel=INPUT,
    ),
]
Std = Annotated[
    str | None,
    Option(
        metavar="NUMBER[,...]",
        help="The divisor of each channel, in units of 0 to 1, likewise.",
        show_default="that of --preprocess",
        rich_help_panel=INPUT,
    ),
]
Resize = Annotated[
    str | None,
    Option(
        "--resize",
        "--shortest-edge",
        metavar="N|HxW|exact|fit",
        help="How images are resized. N: the shorter edge in pixels, then a center crop. HxW: to "
        "this height and width, then a center crop. exact: to the network's input, whatever the "
        "aspect ratio. fit: as large as fits into the input, and padding for the rest "
        "(letterbox).",
        show_default="that of --preprocess",
        rich_help_panel=INPUT,
    ),
]
Padding = Annotated[
    str | None,
    Option(
        metavar="VALUE[,...]",
        help="With --resize fit, the color of the padding, 0 to 255: one number, or one per "
        "channel with red first.",
        show_default="0, black",
        rich_help_panel=INPUT,
    ),
]
PlacementOption = Annotated[
    Placement | None,
    Option(
        help="With --resize fit, where the image is placed. top-left: the padding is on the right "
        "or at the bottom.",
        show_default="center",
        rich_help_panel=INPUT,
    ),
]
InterpolationOption = Annotated[
    Interpolation | None,
    Option(
        help="The filter of the resize.", show_default="that of --preprocess", rich_help_panel=INPUT
    ),
]

# Who may have signed a bundle. The server has flags of the same names.
SignatureKey = Annotated[
    Path | None,
    Option(
        metavar="FILE|DIR",
        help="Check the signature: a public key that may sign, in PEM, or a directory of *.pem.",
        show_default="the signature is not checked",
        rich_help_panel=SIGNATURE,
    ),
]
SignatureAuthority = Annotated[
    Path | None,
    Option(
        metavar="FILE",
        help="Check the signature: the authorities whose certificates may sign, in PEM.",
        show_default="none",
        rich_help_panel=SIGNATURE,
    ),
]
SignatureIdentity = Annotated[
    str | None,
    Option(
        metavar="NAME",
        help="Check the signature: the identity that may sign through Sigstore.",
        show_default="none",
        rich_help_panel=SIGNATURE,
    ),
]
SignatureIssuer = Annotated[
    str | None,
    Option(
        metavar="URL",
        help="The OpenID Connect issuer that confirms the identity.",
        show_default="none",
        rich_help_panel=SIGNATURE,
    ),
]
