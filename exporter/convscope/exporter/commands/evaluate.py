"""`evaluate`: measure a bundle or a served model on a labeled dataset, and compare two.

PyTorch is imported inside the command, so that `--help` is fast.
"""

import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.console import Console
from rich.progress import Progress
from typer import Argument, Option

from convscope.exporter.commands.console import errors_as_sentences, make_console
from convscope.exporter.commands.evaluation_output import (
    describe_inputs,
    report_comparison,
    report_evaluation,
)
from convscope.exporter.commands.options import Quiet

if TYPE_CHECKING:
    from convscope.exporter.evaluation.inputs import SplitName
    from convscope.exporter.evaluation.predictors import Predictor

__all__ = ["register"]

DATA_DIR = Path("data")
SERVER = "Server"  # a section of the help page


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
            rich_help_panel=SERVER,
        ),
    ] = None,
    model: Annotated[
        str | None,
        Option(
            help="The name of the server's model.",
            show_default="required with --server",
            rich_help_panel=SERVER,
        ),
    ] = None,
    version: Annotated[
        int | None,
        Option(
            min=1,
            help="The version of the server's model.",
            show_default="the server's default",
            rich_help_panel=SERVER,
        ),
    ] = None,
    root_certificates: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="The certificates of a server with TLS.",
            show_default="no TLS",
            rich_help_panel=SERVER,
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
    """Measure a bundle or a served model on a labeled dataset, and write an HTML report.

    Examples:
      convscope-exporter evaluate models/lenet/1 --dataset mnist
      convscope-exporter evaluate --server localhost:8001 --model lenet --dataset mnist
    """
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
        describe_inputs(inputs, console)
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
            report_evaluation(found, run, output, as_json, console, command)
        else:
            comparison = compare_evaluations(found, other)
            report_comparison(comparison, output, as_json, console, command)


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


@contextmanager
def _progress(total: int, quiet: bool) -> Iterator[Callable[[int], None]]:
    console = Console(stderr=True)
    with Progress(
        console=console, transient=True, disable=quiet or not console.is_terminal
    ) as progress:
        task = progress.add_task("Evaluating", total=total)
        yield lambda count: progress.advance(task, count)
