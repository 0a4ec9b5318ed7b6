"""The console output of the commands: errors, the report, tables."""

import os
import re
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from convscope.bundle.errors import BundleError
from convscope.bundle.metric_names import metric_words
from convscope.exporter.commands.debug import is_debugging
from convscope.exporter.errors import ExporterError, reason

if TYPE_CHECKING:
    from convscope.exporter.conversion.convert import Conversion
    from convscope.exporter.conversion.source import Source
    from convscope.exporter.graphs.comparison import OutputDifference

__all__ = [
    "check_labels",
    "choose_version",
    "convert_and_report",
    "errors_as_sentences",
    "make_console",
    "print_explanation",
    "print_labels",
    "print_target",
    "report_bundle",
    "report_parity",
    "shape_text",
    "working",
]

# The width without a terminal: no table is folded, so that each row is one line.
PIPED_WIDTH = 1000
MAX_LABELS = 5
# A `Path` has one of the two slashes of a URL.
_URL = re.compile(r"[a-z][a-z0-9+.-]+:/", re.I)


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
    failed = f"the command failed unexpectedly ({detail})"
    if is_debugging():
        return f"{failed}; please report it with the traceback above"
    return f"{failed}; run it again with --debug for the details"


def make_console(quiet: bool) -> Console:
    """Return the console of a command's report."""
    console = Console(quiet=quiet, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    return console


def choose_version(repository: Path, model: str, version: int | None) -> int:
    """Choose a bundle's version, and check early that it can be published.

    Raises:
        InvalidValueError: The name or number isn't allowed.
        PublishError: The version exists.
    """
    from convscope.bundle.writer import check_free, next_version

    _check_repository(repository)
    number = version if version is not None else next_version(repository, model)
    check_free(repository, model, number)
    return number


def _check_repository(repository: Path) -> None:
    """Check that a folder can be written, or made.

    Raises:
        ExporterError: It can't.
    """
    if _URL.match(str(repository)):
        raise ExporterError(
            f"--repository {str(repository).replace(':/', '://', 1)} is a URL; publish into a "
            "folder, and copy the bundle from there with convscope-exporter publish"
        )
    existing = next(path for path in (repository, *repository.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise ExporterError(f"--repository {repository}: {existing} is a file, not a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ExporterError(f"--repository {repository}: this user may not write into {existing}")


def print_target(repository: Path, model: str, version: int, console: Console) -> None:
    """Print the path of a bundle: the first line of a report, after all that can be checked."""
    console.print(f"target    {repository / model / str(version)}", markup=False)


def check_labels(labels: str | None) -> None:
    """Check before the slow imports that a label file exists and can be read.

    Raises:
        ExporterError: There is no such file.
        InvalidValueError: It can't be read as labels.
    """
    from convscope.bundle.labels import read_labels

    path = Path(labels or "")
    if path.is_file():
        read_labels(path)
    elif path.suffix:  # no dataset has one
        raise ExporterError(f"there is no label file {labels!r}")


def convert_and_report(
    source: "Source",
    repository: Path,
    console: Console,
    *,
    has_label_names: bool = True,
    feature_maps: Mapping[str, str] | None = None,
) -> None:
    """Convert and publish a network; print its path and its difference from PyTorch.

    Args:
        source: The network.
        repository: The repository of the bundle.
        console: Receives the report.
        has_label_names: Whether the labels are names that someone chose.
        feature_maps: What check_declared has returned for the network, if it was called already.

    Raises:
        ExporterError: A step failed; nothing was published.
    """
    from convscope.exporter.conversion.convert import convert
    from convscope.exporter.preprocessing import input_line

    assumption = "; assumed, set --preprocess, --mean, --std or --resize to change it"
    line = input_line(source.preprocessing) + (assumption if _is_assumed(source) else "")
    console.print(f"images    {line}", markup=False)
    if source.labels:
        print_labels(source.labels, console, are_chosen=has_label_names)
    with working("Converting to ONNX and comparing with PyTorch", console):
        conversion = convert(source, repository, feature_maps)
    _report(source, conversion, console)


def _is_assumed(source: "Source") -> bool:
    return bool(getattr(source.preprocessing, "assumed", False))


def print_labels(labels: Sequence[str], console: Console, *, are_chosen: bool) -> None:
    """Print the first labels, and how to name classes that have only numbers."""
    shown = ", ".join(labels[:MAX_LABELS])
    more = f" and {len(labels) - MAX_LABELS} more" if len(labels) > MAX_LABELS else ""
    are_numbers = list(labels) == [str(number) for number in range(len(labels))]
    is_default = are_numbers and not are_chosen
    fix = "; numbers only, name the classes with --labels FILE" if is_default else ""
    console.print(f"labels    {shown}{more}{fix}", markup=False)


@contextmanager
def working(text: str, console: Console) -> Iterator[None]:
    """Show what a slow step does: a spinner on a terminal, otherwise a line."""
    if not console.is_terminal:
        console.print(f"{text} ...", markup=False)
    with console.status(text):
        yield


def _report(source: "Source", conversion: "Conversion", console: Console) -> None:
    if conversion.semantics is not None:
        semantics = conversion.semantics
        if source.test is not None:
            semantics = replace(semantics, evidence="applied to the outputs, as in the training")
        console.print(f"activation {semantics.describe()}", markup=False)
    report_parity(conversion.parity, "PyTorch", console)
    print_explanation(conversion.explanation, console)
    names = [metric_words(metric.name) for metric in conversion.metrics]
    for name, metric in zip(names, conversion.metrics, strict=True):
        console.print(
            f"{name:<{max(map(len, names))}}  [bold]{metric.value:.4f}[/] on "
            f"{metric.split}, with the ONNX graph"
        )
    report_bundle(conversion.directory, console)


def report_parity(parity: Sequence["OutputDifference"], reference: str, console: Console) -> None:
    """Print the difference of each output from the reference."""
    table = Table("output", "shape", f"difference from {reference}", box=None, header_style="dim")
    for one in parity:
        table.add_row(escape(one.name), shape_text(one.shape), f"{one.difference:.1e}")
    console.print(table)


def print_explanation(line: str, console: Console) -> None:
    """Print how a graph explains its classes, or why it doesn't; nothing for a bank of filters."""
    if line:
        console.print(line, markup=False)


def report_bundle(directory: Path, console: Console) -> None:
    """Print the path and the size of a published bundle, and whether it has non-finite results."""
    from convscope.bundle.layout import MANIFEST
    from convscope.bundle.manifest import parse_manifest
    from convscope.bundle.nonfinite import nonfinite_line

    manifest = parse_manifest((directory / MANIFEST).read_bytes())
    if line := nonfinite_line(manifest):
        console.print(
            f"[yellow]not finite[/] {escape(line)}; the server reports an error for such an input"
        )
    size = sum(file.size_bytes for file in manifest.files)  # as `versions` and `diff` show it
    console.print(f"[green]published[/] {escape(str(directory))} ({decimal(size)})")


def shape_text(sizes: tuple[int, ...]) -> str:
    """Format a shape, such as 224 × 224 × 3."""
    return " × ".join(map(str, sizes))
