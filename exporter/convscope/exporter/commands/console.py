"""The console output of the commands: errors, the report, tables."""

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from convscope.bundle.errors import BundleError
from convscope.exporter.commands.debug import is_debugging
from convscope.exporter.errors import ExporterError, reason

if TYPE_CHECKING:
    from convscope.exporter.conversion.convert import Conversion
    from convscope.exporter.conversion.source import Source
    from convscope.exporter.graphs.comparison import OutputDifference

__all__ = [
    "convert_and_report",
    "errors_as_sentences",
    "make_console",
    "report_bundle",
    "report_parity",
    "reserve_version",
    "shape_text",
]

# The width without a terminal: no table is folded, so that each row is one line.
PIPED_WIDTH = 1000


@contextmanager
def errors_as_sentences() -> Iterator[None]:
    """End a command with exit code 1 and a sentence on stderr for any error.

    With --debug, the traceback precedes the sentence.
    """
    try:
        yield
    except (typer.Exit, typer.Abort, typer.BadParameter, ModuleNotFoundError):
        raise
    # Libraries raise whatever they like, and no user should have to read a traceback.
    except Exception as error:
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        if is_debugging():
            console.print(traceback.format_exc(), markup=False)
        console.print("[red]error:[/] ", end="")
        console.print(_sentence(error), markup=False)
        raise typer.Exit(1) from error


def _sentence(error: Exception) -> str:
    if isinstance(error, BundleError | ExporterError):
        return str(error)
    kind = type(error).__name__
    said = reason(error)
    detail = kind if said == kind else f"{kind}: {said}"
    return f"the command failed unexpectedly ({detail}); run it again with --debug for the details"


def make_console(quiet: bool) -> Console:
    """Return the console of a command's report."""
    console = Console(quiet=quiet, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    return console


def reserve_version(repository: Path, model: str, version: int | None, console: Console) -> int:
    """Choose and print a bundle's version, and check early that it can be published.

    Raises:
        InvalidValueError: The name or number isn't allowed.
        PublishError: The version exists.
    """
    from convscope.bundle.writer import check_free, next_version

    number = version if version is not None else next_version(repository, model)
    check_free(repository, model, number)
    console.print(f"[bold]{model}[/] v{number}")
    return number


def convert_and_report(source: "Source", repository: Path, console: Console) -> None:
    """Convert and publish a network; print its path and its difference from PyTorch.

    Raises:
        ExporterError: A step failed; nothing was published.
    """
    from convscope.exporter.conversion.convert import convert
    from convscope.exporter.preprocessing import input_line

    console.print(f"images    {input_line(source.preprocessing)}", markup=False)
    with console.status("Converting to ONNX and comparing with PyTorch"):
        conversion = convert(source, repository)
    _report(conversion, console)


def _report(conversion: "Conversion", console: Console) -> None:
    if conversion.semantics is not None:
        console.print(f"activation {conversion.semantics.describe()}", markup=False)
    report_parity(conversion.parity, "PyTorch", console)
    for metric in conversion.metrics:
        console.print(
            f"{metric.name.removeprefix('top1_')}  [bold]{metric.value:.4f}[/] on "
            f"{metric.split}, with the ONNX graph"
        )
    report_bundle(conversion.directory, console)


def report_parity(parity: Sequence["OutputDifference"], reference: str, console: Console) -> None:
    """Print the difference of each output from the reference."""
    table = Table("output", "shape", f"difference from {reference}", box=None, header_style="dim")
    for one in parity:
        table.add_row(one.name, shape_text(one.shape), f"{one.difference:.1e}")
    console.print(table)


def report_bundle(directory: Path, console: Console) -> None:
    """Print the path and the size of a published bundle, and whether it has non-finite results."""
    from convscope.bundle.layout import MANIFEST
    from convscope.bundle.manifest import parse_manifest
    from convscope.bundle.nonfinite import nonfinite_line

    if line := nonfinite_line(parse_manifest((directory / MANIFEST).read_bytes())):
        console.print(
            f"[yellow]not finite[/] {line}; the server reports an error for such an input"
        )
    size = sum(path.stat().st_size for path in directory.iterdir())
    console.print(f"[green]published[/] {directory} ({decimal(size)})")


def shape_text(sizes: tuple[int, ...]) -> str:
    """Format a shape, such as 224 × 224 × 3."""
    return " × ".join(map(str, sizes))
