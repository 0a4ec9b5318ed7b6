"""The options for images that `classify` and `explain` share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "FromFile",
    "Images",
    "Null",
    "Quiet",
    "Recursive",
    "SaveFormat",
    "SaveKind",
]


class SaveKind(StrEnum):
    """What is saved."""

    PNG = "png"
    NPZ = "npz"


Images = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="IMAGE",
        help=(
            "JPEG, PNG, WebP, BMP or GIF files; folders, with -r; quoted patterns, such as "
            "'photos/**/*.jpg'; http(s) URLs, which this command downloads; or - for an image on "
            "standard input."
        ),
        show_default="those of --from-file",
    ),
]
Recursive = Annotated[
    bool,
    typer.Option(
        "--recursive",
        "-r",
        help="Accept folders, and find all images in them.",
    ),
]
FromFile = Annotated[
    Path | None,
    typer.Option(
        metavar="LIST",
        help="Read paths and URLs from this file, one per line; - is standard input.",
        show_default="no list",
    ),
]
Null = Annotated[
    bool,
    typer.Option("--from0", "-0", help="Names in --from-file end with NUL, as with find -print0."),
]
SaveFormat = Annotated[
    SaveKind, typer.Option(help="Save pictures (png), or arrays for NumPy (npz).")
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        help="Print only results and errors, without times. With --save, print only errors.",
    ),
]
