"""`pyramid`: what networks compute at each resolution, and where their weights are.

What it needs is imported inside it, so that `--help` answers at once.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from convscope.exporter.commands.console import (
    errors_as_sentences,
    make_console,
    shape_text,
)
from convscope.exporter.commands.options import InputShape
from convscope.exporter.errors import ExporterError

if TYPE_CHECKING:
    from convscope.exporter.architectures import Architecture
    from convscope.exporter.pyramid.levels import NetworkPyramid

__all__ = ["register"]

Networks = Annotated[
    list[str],
    typer.Argument(
        metavar="ARCHITECTURE",
        help="Names from `list`, timm/NAME, or path/to/file.py:factory with --input.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Plot = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Draw the pyramids side by side into a PNG, SVG, PDF, JPEG or WebP file.",
        show_default="no picture",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(pyramid)


def pyramid(
    networks: Networks,
    plot: Plot = None,
    as_json: AsJson = False,
    input_shape: InputShape = None,
) -> None:
    """Compare networks: resolution, channels, multiply-adds and weights, level by level.

    The networks need no weights.

    Examples:
      convscope-exporter pyramid resnet18 efficientnet_lite0
      convscope-exporter pyramid resnet18 --plot pyramid.png
    """
    with errors_as_sentences():
        from convscope.exporter.pyramid.drawing import MAX_NETWORKS, check_picture, draw_pyramids

        names = list(dict.fromkeys(networks))
        if plot is not None:
            check_picture(plot)
            if len(names) > MAX_NETWORKS:
                raise ExporterError(
                    f"a picture of {len(names)} networks isn't readable; name at most "
                    f"{MAX_NETWORKS}, or leave out --plot"
                )
        rows = _resolve(names, input_shape)
        from convscope.exporter.pyramid.measuring import measure_pyramid

        pyramids = [measure_pyramid(row) for row in rows]
        if plot is not None:
            draw_pyramids(pyramids, plot)
        if as_json:
            typer.echo(json.dumps([one.as_json() for one in pyramids], indent=2))
        else:
            console = make_console(False)
            for one in pyramids:
                console.print(_table(one))
        if plot is not None:
            # Beside what is printed, which may be JSON for another program.
            typer.echo(f"saved     {plot}", err=True)


def _resolve(names: list[str], input_shape: str | None) -> list["Architecture"]:
    # This doesn't import PyTorch, so that a wrong name is an error at once.
    from convscope.exporter.architectures.resolve import DeclaredInput, resolve

    for name in names:
        if Path(name).is_dir():
            raise ExporterError(
                f"{name} is a directory; for a bundle use: convscope-exporter describe {name}"
            )
    return [resolve(name, DeclaredInput(input_shape)) for name in names]


def _table(pyramid: "NetworkPyramid") -> Table:
    table = Table("resolution", title=pyramid.name, box=None, header_style="dim")
    for column in ("channels", "multiply-adds", "", "parameters", ""):
        table.add_column(column, justify="right")
    whole = pyramid.multiply_adds, pyramid.parameters
    for level in pyramid.levels:
        costs = (level.multiply_adds, level.parameters)
        shares = (_share(part, total) for part, total in zip(costs, whole, strict=True))
        multiply_adds, parameters = shares
        table.add_row(
            shape_text(level.sizes),
            f"{level.channels:,}",
            f"{level.multiply_adds:,}",
            multiply_adds,
            f"{level.parameters:,}",
            parameters,
        )
    table.add_row("total", "", f"{whole[0]:,}", "", f"{whole[1]:,}", "", style="bold")
    return table


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if part else ""
