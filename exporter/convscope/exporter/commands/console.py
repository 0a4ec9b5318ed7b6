"""What the commands share: errors as sentences, the report."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from convscope.exporter.errors import ExporterError

if TYPE_CHECKING:
    from convscope.exporter.conversion.convert import Conversion

__all__ = [
    "errors_as_sentences",
    "make_console",
    "report",
    "reserve_version",
]


@contextmanager
def errors_as_sentences() -> Iterator[None]:
    """End a command with exit code 1 and a sentence on stderr for what a user can repair."""
    try:
        yield
    except ExporterError as error:
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        console.print("[red]error:[/] ", end="")
        console.print(str(error), markup=False)
        raise typer.Exit(1) from error


def make_console(quiet: bool) -> Console:
    """The console of a command's report."""
    return Console(quiet=quiet, highlight=False, soft_wrap=True)


def reserve_version(repository: Path, model: str, version: int | None, console: Console) -> int:
    """Choose a bundle's version and say so; refuse what can't be published before the work.

    Raises:
        PublishError: The name or number isn't allowed, or the version exists.
    """
    from convscope.exporter.bundles.writer import check_free, next_version

    number = version if version is not None else next_version(repository, model)
    check_free(repository, model, number)
    console.print(f"[bold]{model}[/] v{number}")
    return number


def report(conversion: "Conversion", console: Console) -> None:
    """Print what was published, and how near to PyTorch it is."""
    table = Table("output", "shape", "difference from PyTorch", box=None, header_style="dim")
    for output in conversion.parity:
        shape = " × ".join(map(str, output.shape))
        table.add_row(output.name, shape, f"{output.difference:.1e}")
    console.print(table)
    for metric in conversion.metrics:
        console.print(
            f"{metric.name}  [bold]{metric.value:.4f}[/] on {metric.split}, by the ONNX graph"
        )
    size = sum(path.stat().st_size for path in conversion.directory.iterdir())
    console.print(f"[green]published[/] {conversion.directory} ({decimal(size)})")
