"""What `evaluate` prints, and the pages that it writes."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from convscope.bundle.metric_names import metric_words

if TYPE_CHECKING:  # at run time, they import PyTorch
    from convscope.exporter.evaluation.comparison import Comparison
    from convscope.exporter.evaluation.inputs import LabeledInputs
    from convscope.exporter.evaluation.report import Evaluation

__all__ = ["describe_inputs", "report_comparison", "report_evaluation"]

MAX_SKIPPED = 5


def describe_inputs(inputs: "LabeledInputs", console: Console) -> None:
    """Print which inputs of a dataset are measured."""
    line = f"dataset   {inputs.dataset}, {inputs.split}: {len(inputs):,} inputs"
    console.print("; ".join([line, *inputs.notes]), markup=False)
    if inputs.warning is not None:
        console.print(f"[yellow]warning:[/] {escape(inputs.warning)}")


def report_evaluation(
    found: "Evaluation",
    run: Path | None,
    output: Path | None,
    as_json: bool,
    console: Console,
    command: str,
) -> None:
    """Write the report of an evaluation, and print its figures.

    Args:
        found: The evaluation.
        run: The training run whose curves the report shows.
        output: The report's path; None for the default.
        as_json: Whether to print JSON.
        console: Where the figures and warnings are printed.
        command: The command that repeats the evaluation.
    """
    from convscope.exporter.evaluation.findings import guessing_warning
    from convscope.exporter.evaluation.report import report_page
    from convscope.exporter.evaluation.run_files import read_run

    path = _page_path(output, as_json, f"{_file_name(found)}-report.html")
    replaces = path is not None and path.exists()
    _write(lambda: report_page(found, None if run is None else read_run(run), command), path)
    warning = guessing_warning(found.figures)
    notes = [] if warning is None else [f"[yellow]warning:[/] {escape(warning)}"]
    _print(found.as_json() if as_json else _table(found), notes, path, replaces, console)


def report_comparison(
    found: "Comparison", output: Path | None, as_json: bool, console: Console, command: str
) -> None:
    """Write the page of a comparison, and print its figures; see `report_evaluation`."""
    from convscope.exporter.evaluation.comparison_page import comparison_page, findings

    names = f"{_model_name(found.a)}-and-{_file_name(found.b)}"
    path = _page_path(output, as_json, f"{names}-comparison.html")
    replaces = path is not None and path.exists()
    _write(lambda: comparison_page(found, command), path)
    notes = [escape(one) for one in findings(found)]
    _print(found.as_json() if as_json else _comparison_table(found), notes, path, replaces, console)


def _page_path(output: Path | None, as_json: bool, default: str) -> Path | None:
    return output or (None if as_json else Path(default))


def _write(page: Callable[[], str], path: Path | None) -> None:
    from convscope.exporter.evaluation.report import write_page

    if path is not None:
        write_page(page(), path)


def _print(
    found: Table | dict[str, Any],
    notes: list[str],
    path: Path | None,
    replaces: bool,
    console: Console,
) -> None:
    if isinstance(found, dict):
        typer.echo(json.dumps(found, indent=2, allow_nan=False))
        return
    console.print(found)
    for note in notes:
        console.print(note)
    where = f"{path}, which replaces an earlier file" if replaces else str(path)
    console.print(f"[green]report[/]    {escape(where)}")


def _file_name(evaluation: "Evaluation") -> str:
    """Return the model, its version and the dataset, so that no other report is replaced."""
    dataset = evaluation.inputs.dataset.partition(":")[2] or evaluation.inputs.dataset
    words = re.sub(r"[^\w.]+", "-", dataset.removesuffix(".npz")).strip("-.")
    return f"{_model_name(evaluation)}-{words}"


def _model_name(evaluation: "Evaluation") -> str:
    manifest = evaluation.predictions.manifest
    return f"{manifest.model}-{manifest.version}"


def _table(evaluation: "Evaluation") -> Table:
    figures = evaluation.figures
    low, high = figures.accuracy_interval
    table = Table(box=None, show_header=False)
    table.add_row("accuracy", f"{figures.accuracy:.4f}", f"95% interval {low:.4f} to {high:.4f}")
    table.add_row(
        "guessing",
        f"{figures.majority_accuracy:.4f}",
        escape(f"always answering {figures.majority.label!r}"),
    )
    for name in ("top5_accuracy", "balanced_accuracy", "calibration_error", "log_loss"):
        if (value := getattr(figures, name)) is not None:
            table.add_row(metric_words(name), f"{value:.4f}")
    table.add_row("errors", f"{figures.inputs - figures.correct:,}", f"of {figures.inputs:,}")
    for row, one in enumerate(evaluation.predictions.skipped[:MAX_SKIPPED]):
        number = f"{len(evaluation.predictions.skipped):,}"
        start = ("", "") if row else ("skipped", number)
        table.add_row(*start, escape(f"{one.name}: {one.reason}"))
    if len(evaluation.predictions.skipped) > MAX_SKIPPED:
        table.add_row("", "", "the report lists more")
    return table


def _comparison_table(comparison: "Comparison") -> Table:
    from convscope.exporter.evaluation.comparison_page import titles

    table = Table("", *titles(comparison), "difference", box=None, header_style="dim")
    for one in comparison.figures:
        table.add_row(
            metric_words(one.name), f"{one.a:.4f}", f"{one.b:.4f}", f"{one.b - one.a:+.4f}"
        )
    table.add_row("only right", f"{comparison.only_a_right:,}", f"{comparison.only_b_right:,}")
    return table
