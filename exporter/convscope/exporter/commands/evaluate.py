"""`evaluate`: measure a bundle or a served model on a labeled dataset, and compare two.

PyTorch is imported inside the command, so that `--help` is fast.
"""

import json
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table
from typer import Argument, Option

from convscope.exporter.commands.console import errors_as_sentences, make_console
from convscope.exporter.commands.options import Quiet

if TYPE_CHECKING:
    from convscope.exporter.evaluation.comparison import Comparison
    from convscope.exporter.evaluation.inputs import LabeledInputs, SplitName
    from convscope.exporter.evaluation.predictors import Predictor
    from convscope.exporter.evaluation.report import Evaluation

__all__ = ["register"]

MAX_SKIPPED = 5
DATA_DIR = Path("data")


class Split(StrEnum):
    """The parts of a dataset."""

    TEST = "test"
    TRAIN = "train"
    ALL = "all"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(evaluate)


def evaluate(
    dataset: Annotated[
        str,
        Option(
            help="Labeled inputs: folder:PATH, npz:FILE, mnist, fashion_mnist, cifar10 or "
            "mnist_sample. The classes are matched with the model's labels by name."
        ),
    ],
    bundle: Annotated[
        str | None,
        Argument(
            metavar="BUNDLE",
            help="A path or URL like models/MODEL/VERSION.",
            show_default="the model of --server",
        ),
    ] = None,
    server: Annotated[
        str | None,
        Option(
            metavar="HOST:PORT",
            help="Evaluate a model of this server instead of a bundle.",
            show_default="evaluate BUNDLE",
        ),
    ] = None,
    model: Annotated[
        str | None,
        Option(help="The name of the server's model.", show_default="required with --server"),
    ] = None,
    version: Annotated[
        int | None,
        Option(
            min=1, help="The version of the server's model.", show_default="the server's default"
        ),
    ] = None,
    root_certificates: Annotated[
        Path | None,
        Option(
            metavar="FILE", help="The certificates of a server with TLS.", show_default="no TLS"
        ),
    ] = None,
    compare: Annotated[
        str | None,
        Option(metavar="BUNDLE", help="Compare with this bundle.", show_default="no comparison"),
    ] = None,
    split: Annotated[
        Split | None,
        Option(
            help="The part of the dataset.",
            show_default="test; all of a dataset without a test split, unless the model was "
            "trained on it",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        Option(min=0, help="The seed of the split.", show_default="the seed of the training"),
    ] = None,
    data_dir: Annotated[Path, Option(help="The folder of published datasets.")] = DATA_DIR,
    output: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="The HTML report.",
            show_default="MODEL-VERSION-DATASET-report.html in the current folder; with --json "
            "no report",
        ),
    ] = None,
    run: Annotated[
        Path | None,
        Option(
            metavar="FOLDER",
            help="A training run like runs/MODEL/NUMBER, to show its curves.",
            show_default="no curves",
        ),
    ] = None,
    as_json: Annotated[bool, Option("--json", help="Print JSON instead of a table.")] = False,
    quiet: Quiet = False,
) -> None:
    """Measure a bundle or a served model on a labeled dataset, and write an HTML report."""
    _check_usage(bundle, server, model)
    with errors_as_sentences(), ExitStack() as stack:
        console = make_console(quiet or as_json)
        with console.status("Loading PyTorch"):
            from convscope.exporter.evaluation.comparison import compare as compare_evaluations
            from convscope.exporter.evaluation.evaluate import evaluate as evaluate_model
            from convscope.exporter.evaluation.inputs import select_inputs
            from convscope.exporter.evaluation.trained_on import check_run, trained_on
        first = (
            _from_bundle(bundle, stack)
            if bundle is not None
            else _from_server(server or "", model or "", version, root_certificates, stack)
        )
        second = None if compare is None else _from_bundle(compare, stack)
        if run is not None:
            check_run(run, first.manifest)
        folders = _run_folders(run, bundle, compare)
        trained = [trained_on(one.manifest, folders) for one in (first, second) if one is not None]
        inputs = select_inputs(dataset, data_dir, trained, cast("SplitName | None", split), seed)
        _describe_inputs(inputs, console)
        with _progress(len(inputs) * (1 if second is None else 2), quiet or as_json) as advance:
            found = evaluate_model(first, inputs, advance)
            other = None if second is None else evaluate_model(second, inputs, advance)
        command = _command(
            bundle,
            server=server,
            model=model,
            version=version,
            root_certificates=root_certificates,
            compare=compare,
            dataset=dataset,
            split=split,
            seed=seed,
            data_dir=None if data_dir == DATA_DIR else data_dir,
            run=run,
        )
        if other is None:
            _report_one(found, run, output, as_json, console, command)
        else:
            comparison = compare_evaluations(found, other)
            _report_comparison(comparison, output, as_json, console, command)


def _command(bundle: str | None, **options: object) -> str:
    """Return the command that repeats an evaluation; a URL is shown without its secrets."""
    from convscope.bundle.addresses import local_path, without_secrets

    words = ["convscope-exporter", "evaluate"]
    for name, value in {"": bundle, **options}.items():
        if value is None:
            continue
        text = str(value)
        if name in ("", "compare") and local_path(text) is None:
            text = without_secrets(text)
        words += [f"--{name.replace('_', '-')}", text] if name else [text]
    return shlex.join(words)


def _check_usage(bundle: str | None, server: str | None, model: str | None) -> None:
    if (bundle is None) == (server is None):
        raise typer.BadParameter("use either a BUNDLE, or --server with --model")
    if (server is None) != (model is None):
        raise typer.BadParameter("--server and --model belong together; use both or neither")


def _from_bundle(location: str, stack: ExitStack) -> "Predictor":
    from convscope.bundle.opening import find_bundle
    from convscope.exporter.evaluation.predictors import BundlePredictor

    return BundlePredictor(stack.enter_context(find_bundle(location).on_disk()))


def _from_server(
    target: str, model: str, version: int | None, certificates: Path | None, stack: ExitStack
) -> "Predictor":
    from convscope.exporter.evaluation.server_predictor import ServerPredictor

    return stack.enter_context(ServerPredictor(target, model, version, certificates))


def _run_folders(run: Path | None, *bundles: str | None) -> list[Path]:
    """Return the folders where the training runs of bundles may be."""
    from convscope.bundle.addresses import local_path

    paths = [local_path(one) for one in bundles if one is not None]
    beside = [path.resolve().parents[2] / "runs" for path in paths if path is not None]
    return [*([] if run is None else [run]), Path("runs"), *beside]


def _describe_inputs(inputs: "LabeledInputs", console: Console) -> None:
    line = f"dataset   {inputs.dataset}, {inputs.split}: {len(inputs):,} inputs"
    console.print("; ".join([line, *inputs.notes]), markup=False)
    if inputs.warning is not None:
        console.print(f"[yellow]warning:[/] {escape(inputs.warning)}")


def _report_one(
    found: "Evaluation",
    run: Path | None,
    output: Path | None,
    as_json: bool,
    console: Console,
    command: str,
) -> None:
    from convscope.exporter.evaluation.findings import guessing_warning
    from convscope.exporter.evaluation.report import report_page
    from convscope.exporter.evaluation.run_files import read_run

    path = _page_path(output, as_json, f"{_file_name(found)}-report.html")
    replaces = path is not None and path.exists()
    _write(lambda: report_page(found, None if run is None else read_run(run), command), path)
    warning = guessing_warning(found.figures)
    notes = [] if warning is None else [f"[yellow]warning:[/] {escape(warning)}"]
    _print(found.as_json() if as_json else _table(found), notes, path, replaces, console)


def _report_comparison(
    found: "Comparison", output: Path | None, as_json: bool, console: Console, command: str
) -> None:
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
            table.add_row(_words(name), f"{value:.4f}")
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
        table.add_row(_words(one.name), f"{one.a:.4f}", f"{one.b:.4f}", f"{one.b - one.a:+.4f}")
    table.add_row("only right", f"{comparison.only_a_right:,}", f"{comparison.only_b_right:,}")
    return table


def _words(name: str) -> str:
    return name.replace("_", " ").replace("top5", "top-5")


@contextmanager
def _progress(total: int, quiet: bool) -> Iterator[Callable[[int], None]]:
    console = Console(stderr=True)
    with Progress(
        console=console, transient=True, disable=quiet or not console.is_terminal
    ) as progress:
        task = progress.add_task("Evaluating", total=total)
        yield lambda count: progress.advance(task, count)
