"""The report of a training run: its learning curves, and the published bundle on the test split."""

import shlex
from pathlib import Path

from convscope.exporter.datasets import DatasetOptions
from convscope.exporter.evaluation.evaluate import evaluate
from convscope.exporter.evaluation.findings import guessing_warning
from convscope.exporter.evaluation.inputs import select_inputs
from convscope.exporter.evaluation.predictors import BundlePredictor
from convscope.exporter.evaluation.report import report_page, write_page
from convscope.exporter.evaluation.run_files import read_run

__all__ = ["repeat_command", "report_path", "write_training_report"]

REPORT = "report.html"


def report_path(run: Path) -> Path:
    """Return the path of a run's report."""
    return run / REPORT


def repeat_command(bundle: Path, run: Path, dataset: str, options: DatasetOptions) -> str:
    """Return the command that writes the report again."""
    command = ["convscope-exporter", "evaluate", bundle, "--dataset", dataset]
    command += ["--data-dir", options.data_dir, "--run", run, "--output", report_path(run)]
    return shlex.join(map(str, command))


def write_training_report(
    bundle: Path, run: Path, dataset: str, options: DatasetOptions
) -> tuple[Path, str | None]:
    """Evaluate a published bundle, and write the report next to its run.

    Returns:
        The report's path, and a warning if the model may be no better than guessing.

    Args:
        bundle: The bundle's directory.
        run: The run's directory, with run.json and metrics.csv.
        dataset: The dataset on which it was trained.
        options: The dataset's folder, and the seed of its split.

    Raises:
        ExporterError: The bundle can't be evaluated, or the report can't be written.
    """
    predictor = BundlePredictor(bundle)
    inputs = select_inputs(dataset, options.data_dir, (), "test", options.seed)
    found = evaluate(predictor, inputs)
    path = report_path(run)
    command = repeat_command(bundle, run, dataset, options)
    write_page(report_page(found, read_run(run), command), path)
    return path, guessing_warning(found.figures)
