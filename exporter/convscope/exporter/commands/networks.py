"""`list`: show the networks that can be trained or exported by name."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from convscope.exporter.commands.console import errors_as_sentences, make_console
from convscope.exporter.errors import ExporterError

if TYPE_CHECKING:
    from convscope.exporter.architectures import Architecture

__all__ = ["register"]

# Networks without a registry row.
_OTHERS = (
    ("timm/NAME", "as published", "hub", "every convolutional classifier of timm"),
    ("path/to/file.py:factory", "as declared", "yours", "a network of your own"),
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("list")(list_architectures)


def list_architectures(
    pattern: Annotated[
        str,
        typer.Argument(
            help="Only names that contain this text; timm/TEXT searches timm's networks.",
            show_default="every name",
        ),
    ] = "",
) -> None:
    """List the available networks.

    Examples:
      convscope-exporter list
      convscope-exporter list resnet
      convscope-exporter list timm/convnext
    """
    with errors_as_sentences():
        # This doesn't import PyTorch: a row imports it when it is used.
        from convscope.exporter.architectures import ARCHITECTURES, timm_rows

        console = make_console(False)
        if pattern.startswith(timm_rows.PREFIX):
            _list_timm(pattern, console)
            return
        rows = [_cells(row) for row in ARCHITECTURES.values()]
        found = [cells for cells in (*rows, *_OTHERS) if pattern in cells[0]]
        if not found:
            raise ExporterError(
                f"no name contains {pattern!r}; list all with convscope-exporter list, or search "
                f"timm's networks with timm/{pattern}"
            )
        console.print(_table(found))


def _list_timm(pattern: str, console: Console) -> None:
    from convscope.exporter.architectures import timm_rows

    with console.status("Loading timm"):
        names = timm_rows.names()
    for name in names:
        if pattern in name:
            console.print(name)


def _table(rows: list[tuple[str, str, str, str]]) -> Table:
    """Return a table in which only the last column is folded."""
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("name", "input", "weights"):
        table.add_column(column, no_wrap=True)
    table.add_column("description", overflow="fold")
    for cells in rows:
        table.add_row(*cells)
    return table


def _cells(row: "Architecture") -> tuple[str, str, str, str]:
    return row.name, _inputs(row), _weights(row), row.summary


def _inputs(row: "Architecture") -> str:
    from convscope.exporter.preprocessing import TensorInput

    if not row.classifies:
        return "any image"
    counts = " or ".join(map(str, row.channels))
    if row.size is not None:
        return "×".join((counts, *map(str, row.size)))
    expects = row.preprocessing()
    if isinstance(expects, TensorInput):
        return "C×L" if len(expects.shape) == 2 else "C×T×H×W"
    return f"{counts}×{expects.height}×{expects.width}"


def _weights(row: "Architecture") -> str:
    if not row.classifies:
        return "fixed"
    if row.published is None:
        return "train it"
    return "included" if row.name == "efficientnet_lite0" else "hub"
