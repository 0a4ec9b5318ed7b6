"""What `classify` and `explain` share: the options for images, and the exit codes."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from convscope.client.cli.missing_options import ExplainingCommand

__all__ = [
    "FromFile",
    "ImageCommand",
    "Images",
    "Null",
    "Quiet",
    "Recursive",
    "SaveFormat",
    "SaveKind",
]

# 2 is the code of a partial failure, so it can't be that of a wrong flag.
USAGE_ERROR: Final = 64
# The base of all errors about the command line: typer may bring its own copy of click.
_UsageError: Any = typer.BadParameter.__bases__[0]


class ImageCommand(ExplainingCommand):
    """A command whose exit code 2 means that some images failed."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments."""
        try:
            return super().parse_args(ctx, args)
        except _UsageError as error:
            error.exit_code = USAGE_ERROR
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except _UsageError as error:
            error.exit_code = USAGE_ERROR
            raise


class SaveKind(StrEnum):
    """What is saved."""

    PNG = "png"
    NPZ = "npz"


Images = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="IMAGE",
        help=(
            "JPEG, PNG, WebP, BMP or GIF files, folders with -r, quoted patterns such as "
            "'photos/**/*.jpg', http(s) URLs, which this command downloads and not the server, "
            "or - for an image on standard input."
        ),
        show_default="those of --from-file",
    ),
]
Recursive = Annotated[
    bool,
    typer.Option("--recursive", "-r", help="Find the images in folders and their subfolders."),
]
FromFile = Annotated[
    Path | None,
    typer.Option(
        metavar="LIST",
        help="Read more paths and URLs from this file, one per line; - is standard input.",
        show_default="no list",
    ),
]
Null = Annotated[
    bool,
    typer.Option("--from0", "-0", help="The names in --from-file end with NUL: find ... -print0."),
]
SaveFormat = Annotated[
    SaveKind, typer.Option(help="Save a picture of each, or their arrays for NumPy.")
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Show errors only: no progress and no summary.")
]
