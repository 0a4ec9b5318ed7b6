"""`list`: the networks that can be trained or exported by name."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from convscope.exporter.commands.console import errors_as_sentences, make_console

if TYPE_CHECKING:
    from convscope.exporter.architectures import Architecture

__all__ = ["register"]

_TIMM = ("timm/NAME", "every convolutional classifier of timm", "as published", "hub")
_CUSTOM = ("path/to/file.py:factory", "your own", "as declared", "yours")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("list")(list_architectures)


def list_architectures(
    pattern: Annotated[
        str, typer.Argument(help="Only names that hold this; timm/TEXT searches timm's networks.")
    ] = "",
) -> None:
    """List the networks."""
    with errors_as_sentences():
        from convscope.exporter.architectures import ARCHITECTURES, timm_rows

        console = make_console(False)
        if pattern.startswith(timm_rows.PREFIX):
            for name in timm_rows.names():
                if pattern in name:
                    console.print(name)
            return
        table = Table(box=None, header_style="dim", pad_edge=False)
        for column in ("name", "what it is", "input", "weights"):
            table.add_column(column, no_wrap=column in ("name", "input"))
        for row in ARCHITECTURES.values():
            if pattern in row.name:
                table.add_row(row.name, row.summary, _inputs(row), _weights(row))
        if not pattern:
            table.add_row(
                "timm/NAME", "every convolutional classifier of timm", "as published", "hub"
            )
            table.add_row("path/to/file.py:factory", "your own", "as declared", "yours")
        console.print(table)


def _inputs(row: "Architecture") -> str:
    from convscope.exporter.preprocess import TensorInput

    expects = row.preprocessing()
    if isinstance(expects, TensorInput):
        return "FP32 [C, L]" if len(expects.shape) == 2 else "FP32 [C, T, H, W]"
    if not row.classifies:
        return "any image"
    return " or ".join(f"{count}×{expects.height}×{expects.width}" for count in row.channels)


def _weights(row: "Architecture") -> str:
    if not row.classifies:
        return "fixed"
    if row.published is None:
        return "train it"
    return "with the exporter" if row.name == "efficientnet_lite0" else "hub"
