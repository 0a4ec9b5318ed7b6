"""`to-fp16`: publish an FP16 version of a bundle.

What it needs is imported inside it, so that `--help` is fast.
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.filesize import decimal
from typer import Argument

from convscope.exporter.commands.console import (
    errors_as_sentences,
    make_console,
    report_bundle,
    working,
)
from convscope.exporter.commands.options import Quiet, Version

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(to_fp16)


def to_fp16(
    bundle: Annotated[
        Path, Argument(metavar="BUNDLE", help="A directory in FP32, like models/NAME/1.")
    ],
    version: Version = None,
    quiet: Quiet = False,
) -> None:
    """Publish an FP16 version of a bundle, of half the size, for GPUs.

    It is published if the golden inputs, constant images and noise keep their results. It needs
    no data. On CPUs, FP16 is usually slower than FP32.

    Examples:
      convscope-exporter to-fp16 models/efficientnet_lite0/1
    """
    with errors_as_sentences():
        console = make_console(quiet)
        with working("Converting to FP16 and comparing with FP32", console):
            from convscope.exporter.fp16.convert import convert_bundle

            found = convert_bundle(bundle, version)
        console.print(f"change    {found.change:.4f} at most, for constant images and noise")
        if found.speed is not None:
            console.print(
                f"speed     {found.speed.ratio:.2f} times that of FP32 on one thread of this CPU; "
                "it is meant for GPUs",
                markup=False,
            )
        before, after = found.sizes
        console.print(f"size      {decimal(after)} instead of {decimal(before)}", markup=False)
        if found.explanation:
            console.print(found.explanation, markup=False)
        report_bundle(found.directory, console)
