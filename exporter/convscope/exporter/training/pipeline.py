"""Trains a network on a dataset, and returns it ready to be converted."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from torch import nn

from convscope.exporter.architectures import Architecture
from convscope.exporter.architectures.loading import load_file, load_published
from convscope.exporter.architectures.weights import Weights
from convscope.exporter.conversion.golden import GoldenInput
from convscope.exporter.conversion.golden_choice import one_of_each_class
from convscope.exporter.conversion.graph import ServableNetwork
from convscope.exporter.conversion.source import Source
from convscope.exporter.datasets import (
    Dataset,
    DatasetOptions,
    Samples,
    Split,
    load_dataset,
    prepare,
)
from convscope.exporter.preprocessing import InputRule, TensorInput
from convscope.exporter.training.checkpoints import read_history
from convscope.exporter.training.console_lines import report_finished, report_start
from convscope.exporter.training.fingerprint import fingerprint
from convscope.exporter.training.fit import Trained, train
from convscope.exporter.training.history import EpochMetrics
from convscope.exporter.training.job import TrainingJob
from convscope.exporter.training.opening import (
    check_split,
    finish,
    joined_run,
    own_runs,
    resume_run,
    start_run,
)
from convscope.exporter.training.outputs import check_outputs
from convscope.exporter.training.processes import (
    RUN_VARIABLE,
    is_first_of_machine,
    is_first_process,
)
from convscope.exporter.training.runs import Run
from convscope.exporter.training.seen import digest_text, record_inputs
from convscope.exporter.training.sharing import SharedRun
from convscope.exporter.training.splits import (
    Splits,
    check_classes,
    check_splits,
    hold_back,
    report_splits,
)

__all__ = ["PublishedRun", "TrainedSource", "run_training"]


@dataclass(frozen=True, slots=True)
class TrainedSource:
    """The result of a run, to be published.

    Args:
        source: The network of the best epoch, ready to be converted.
        best: The metrics of that epoch.
        run: The run.
    """

    source: Source
    best: EpochMetrics
    run: Run


@dataclass(frozen=True, slots=True)
class PublishedRun:
    """A run whose best epoch is already published.

    Args:
        run: The run.
        version: The version with its weights.
        has_new_epochs: Whether this command added epochs to it.
    """

    run: Run
    version: int
    has_new_epochs: bool = False


def run_training(
    job: TrainingJob, console: Console, reserve_version: Callable[[], int]
) -> TrainedSource | PublishedRun | None:
    """Train a network.

    Args:
        job: The request.
        console: Receives the report.
        reserve_version: Returns the bundle's version; called before the training
            unless the run is finished.

    Returns:
        The trained network, or the run if there is nothing to publish; None in
        all processes but the first.

    Raises:
        ExporterError: The run can't start, or was interrupted.
    """
    job.check()
    with own_runs(job) as own:
        return _run(own, console, reserve_version)


def _run(
    job: TrainingJob, console: Console, reserve_version: Callable[[], int]
) -> TrainedSource | PublishedRun | None:
    data = load_dataset(job.dataset_name(), DatasetOptions(job.data_dir, job.seed))
    check_classes(data)
    expects = _input(job.row, data)
    network, start = _build(job, expects, len(data.labels))
    check_outputs(job.row, network, expects, data)
    settings, content = job.fixed_settings(data, expects), fingerprint(data)
    run = joined_run(job) or (resume_run(job, settings, content) if job.resume else None)
    if run is not None and run.record()["finished"]:
        if not is_first_process():
            return None
        report_finished(run, console)
        return PublishedRun(run, run.record()["published_version"])
    version = reserve_version() if is_first_process() else 0
    splits = _prepare(job, data, expects, console)
    counts = splits.counts(data.labels)
    if run is None:
        run = start_run(job, settings, content, counts)
    check_split(run, counts)
    record = run.record()
    epochs = int(record["epochs"])
    if is_first_process():
        record_inputs(run, data)
        report_start(run, epochs, job.patience, console)
    with _passed_to_other_processes(run):
        trained = train(
            lambda: network,
            splits,
            job.recipe(data, expects, epochs),
            classes=len(data.labels),
            progress=job.progress,
            run=run,
            hardware=job.hardware,
            shared=_shared(job, run, {**settings, "dataset_fingerprint": content}, splits, console),
        )
    if trained is None or not is_first_process():
        return None
    best = trained.best
    console.print(
        f"weights   epoch {best.epoch} of {len(trained.history)}, with the lowest validation "
        f"loss, {best.val_loss:.4f} (accuracy {best.val_accuracy:.4f})"
    )
    if record.get("published_epoch") == best.epoch:
        console.print(f"epoch {best.epoch} is already published as v{record['published_version']}")
        finish(run, record["published_version"], best.epoch)
        return PublishedRun(run, record["published_version"], has_new_epochs=True)
    weights = _weights(job, epochs, data, trained, start, digest_text(run))
    source = _source(job, version, data, expects, trained.network, weights, splits.test)
    return TrainedSource(source, best, run)


def _input(row: Architecture, data: Dataset) -> InputRule:
    """Return the network's input; the dataset determines the shape of a tensor."""
    expects = row.preprocessing(row.fitting_channels(data.channels))
    if isinstance(expects, TensorInput) and isinstance(data.train, Split):
        shape = data.train.inputs.shape[1:]
        if not data.holds_images and len(shape) == len(expects.shape):
            return TensorInput(shape)
    return expects


def _prepare(job: TrainingJob, data: Dataset, expects: InputRule, console: Console) -> Splits:
    """Prepare the training, validation and test inputs, and report their numbers."""
    # The first process reports for all.
    warn = console.print if is_first_process() else _ignore

    def prepared(samples: Samples) -> Split:
        return prepare(samples, expects, strict=job.strict, warn=warn)

    with console.status("Preparing the dataset"):
        train, test = prepared(data.train), prepared(data.test)
        if data.validation is not None:
            splits = Splits(train, prepared(data.validation), test)
        else:
            splits = Splits(*hold_back(train, len(data.labels), job.seed), test)
    check_splits(splits, data.name)
    report_splits(splits, data.name, data.labels, console)
    return splits


def _ignore(message: str) -> None:
    pass


def _build(job: TrainingJob, expects: InputRule, classes: int) -> tuple[nn.Module, Weights | None]:
    """Build the network, and load the weights with which it starts."""
    from lightning import seed_everything

    seed_everything(job.seed, verbose=False)
    network = job.row.build(classes, expects.channels)
    if job.weights is not None:
        return network, load_file(job.row, network, job.weights, classes, new_head=True)
    if job.pretrained:
        return network, load_published(job.row, network, classes, new_head=True)
    return network, None


@contextmanager
def _passed_to_other_processes(run: Run) -> Iterator[None]:
    """Pass the run's directory to the processes that Lightning starts."""
    if not is_first_of_machine():
        yield
        return
    os.environ[RUN_VARIABLE] = str(run.directory.resolve())
    try:
        yield
    finally:
        del os.environ[RUN_VARIABLE]


def _shared(
    job: TrainingJob, run: Run, settings: Mapping[str, Any], splits: Splits, console: Console
) -> SharedRun | None:
    """Return the callback of a run of several processes."""
    if job.hardware.processes == 1:
        return None
    settings = {
        **settings,
        "epochs": run.record()["epochs"],
        "patience": job.patience,
        "precision": job.hardware.precision,
        "completed_epochs": len(read_history(run.last_checkpoint)),
    }
    return SharedRun(settings, len(splits.train.labels), console.print)


def _weights(
    job: TrainingJob,
    requested: int,
    data: Dataset,
    trained: Trained,
    start: Weights | None,
    digest: str,
) -> Weights:
    """Describe the origin of the trained weights."""
    epochs = f"{requested}"
    if len(trained.history) < requested:
        epochs = f"{len(trained.history)} of at most {requested}"
    training = (
        f"trained for {epochs} epochs, weights of epoch {trained.best.epoch}, "
        f"seed {job.seed}{digest}"
    )
    if start is None:
        return Weights(training, "", data.name)
    datasets = ", ".join(filter(None, (start.dataset, data.name)))
    return Weights(f"{start.source}, then {training}", start.license, datasets)


def _source(
    job: TrainingJob,
    version: int,
    data: Dataset,
    expects: InputRule,
    network: nn.Module,
    weights: Weights,
    test: Split,
) -> Source:
    def choose_golden(network: ServableNetwork) -> Sequence[GoldenInput]:
        # Large or damaged files are no golden inputs; the prepared images always are.
        return one_of_each_class(network, data.test, expects) or one_of_each_class(
            network, test, expects
        )

    return Source(
        model=job.model,
        version=version,
        architecture=job.row.name,
        network=network,
        preprocessing=expects,
        labels=data.labels,
        feature_maps=job.feature_maps or job.row.feature_maps,
        weights=weights,
        golden=choose_golden,
        # The loss is the cross-entropy of a softmax.
        activation="softmax",
        test=(f"{data.name} test", test),
        explanations=job.explanations,
    )
