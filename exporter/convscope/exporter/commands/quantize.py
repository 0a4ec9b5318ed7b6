"""`quantize`: publish an INT8 version of a bundle under an accuracy guard.

What it needs is imported inside it, so that `--help` is fast.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from typer import Argument, Option

from convscope.exporter.commands.console import (
    errors_as_sentences,
    make_console,
    report_bundle,
    working,
)
from convscope.exporter.commands.options import Quiet, Version

if TYPE_CHECKING:
    from convscope.exporter.quantization.data import QuantizationData
    from convscope.exporter.quantization.quantize import QuantizedBundle
    from convscope.exporter.quantization.search import Attempt

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(quantize)


def quantize(
    bundle: Annotated[
        Path, Argument(metavar="BUNDLE", help="A directory in FP32, like models/NAME/1.")
    ],
    calibration: Annotated[
        str,
        Option(
            metavar="DATASET",
            help="Inputs like those that the model will get: folder:PATH, npz:FILE with the array "
            "x or as for training, or a dataset's name. Labels are used if the dataset has the "
            "model's classes.",
        ),
    ],
    held_out: Annotated[
        str | None,
        Option(
            metavar="DATASET",
            help="The inputs on which the guard measures.",
            show_default="the test split of the calibration dataset, or those of its inputs that "
            "don't calibrate",
        ),
    ] = None,
    calibration_inputs: Annotated[
        int, Option(min=20, help="How many inputs calibrate, at most.")
    ] = 100,
    held_out_inputs: Annotated[
        int, Option(min=50, help="How many inputs the guard uses, at most.")
    ] = 2000,
    explanations: Annotated[
        bool,
        Option(
            "--explanations/--no-explanations",
            help="Keep the explanations of the model, and in FP32 the layers that they are "
            "computed from: those after the last feature map.",
        ),
    ] = True,
    version: Version = None,
    quiet: Quiet = False,
) -> None:
    """Publish an INT8 version of a bundle, if it keeps the results of the original.

    The guard compares the two on held-out inputs. As long as it rejects the INT8 version, more
    of the first layers stay in FP32.

    Examples:
      convscope-exporter quantize models/efficientnet_lite0/1 --calibration folder:photos
      convscope-exporter quantize models/digits/1 --calibration mnist_sample
    """
    with errors_as_sentences():
        console = make_console(quiet)
        with working("Loading PyTorch", console):
            from convscope.exporter.quantization.quantize import (
                Progress,
                Quantization,
                quantize_bundle,
            )
        curve = _Curve(console)
        progress = Progress(
            data=lambda data: _print_data(data, console),
            attempt=curve.add,
            warn=lambda message: console.print(f"[yellow]warning[/]   {message}"),
        )
        limits = (calibration_inputs, held_out_inputs)
        chosen = Quantization(calibration, held_out, limits, version, explanations)
        try:
            with working("Calibrating, rounding and comparing with FP32", console):
                found = quantize_bundle(bundle, chosen, progress)
        finally:
            curve.print()
        _report(found, bundle, console)


class _Curve:
    """Collects the attempts, and prints what each of them keeps.

    Args:
        console: Receives the table.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._attempts: list[Attempt] = []

    def add(self, attempt: "Attempt") -> None:
        """Add an attempt."""
        self._attempts.append(attempt)

    def print(self) -> None:
        """Print the table, if there was an attempt."""
        if not self._attempts:
            return
        table = Table(box=None, header_style="dim")
        for column in ("layers in FP32", "top-1 kept", "where clear", "change", "accuracy"):
            table.add_column(column, justify="right")
        table.add_column("guard")
        for attempt in self._attempts:
            table.add_row(*_cells(attempt))
        self._console.print(table)


def _cells(attempt: "Attempt") -> tuple[str, ...]:
    fidelity = attempt.fidelity
    change = fidelity.accuracy_change
    accuracy = "" if change is None else f"{fidelity.accuracy:.2%} ({100 * change:+.2f})"
    return (
        str(attempt.fp32_layers),
        f"{fidelity.kept:.1%}",
        f"{fidelity.kept_where_clear:.1%}",
        f"{fidelity.probability_change:.4f}",
        accuracy,
        f"[red]rejects:[/] {attempt.problems[0]}" if attempt.problems else "[green]accepts[/]",
    )


def _print_data(data: "QuantizationData", console: Console) -> None:
    labels = "without labels" if data.held_out.labels is None else "with labels"
    console.print(
        f"data      {len(data.calibration.values):,} inputs of {data.dataset} calibrate, "
        f"{len(data.held_out.values):,} are held out, {labels}",
        markup=False,
    )


def _report(found: "QuantizedBundle", parent: Path, console: Console) -> None:
    speed, (before, after) = found.speed, found.sizes
    measured = (
        f"{speed.ratio:.2f} times that of FP32 ({speed.lowest:.2f} to {speed.highest:.2f}), single "
        "inputs on one thread of this CPU"
    )
    if speed.is_faster:
        console.print(f"speed     {measured}", markup=False)
    else:
        console.print(
            f"[yellow]not faster[/] {measured}; serve {parent} here, unless the size matters"
        )
    console.print(f"size      {decimal(after)} instead of {decimal(before)}", markup=False)
    if found.explanation:
        console.print(found.explanation, markup=False)
    report_bundle(found.directory, console)
