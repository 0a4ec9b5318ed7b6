"""Trains a network on a dataset, and returns it ready to be converted."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from torch import nn

from convscope.exporter.architectures import Architecture
from convscope.exporter.architectures.loading import load_file, load_published
from convscope.exporter.architectures.weights import Weights
from convscope.exporter.conversion.golden_choice import one_of_each_class
from convscope.exporter.conversion.servable import servable
from convscope.exporter.conversion.source import Source
from convscope.exporter.datasets import Dataset, DatasetOptions, Split, load_dataset, prepare
from convscope.exporter.preprocessing import InputRule, TensorInput
from convscope.exporter.training.classifier import Recipe
from convscope.exporter.training.fit import Trained, train
from convscope.exporter.training.job import TrainingJob
from convscope.exporter.training.runs import Run, begin_run, resume_run

__all__ = ["is_first_process", "run_training"]

# Passes the run's directory to the processes that Lightning starts.
_RUN_VARIABLE = "CONVSCOPE_TRAINING_RUN"


def is_first_process() -> bool:
    """Return whether the user, and not Lightning, started this process."""
    return _RUN_VARIABLE not in os.environ


def run_training(job: TrainingJob, console: Console) -> Source | None:
    """Train a network.

    Returns:
        The trained network in the first process; None in all others.

    Raises:
        ExporterError: The run can't start, or was interrupted.
    """
    job.check()
    data = load_dataset(job.dataset_name(), DatasetOptions(job.data_dir, job.seed))
    expects = _input(job.row, data)
    training, test = _prepare(job, data, expects, console)
    network, start = _build(job, expects, len(data.labels))
    recipe = job.recipe(data, expects, len(training.labels))
    run = _run(job, data, recipe)
    console.print(f"run       {run.directory}")
    with _passed_to_other_processes(run):
        trained = train(
            lambda: network,
            training,
            recipe,
            classes=len(data.labels),
            progress=job.progress,
            run=run,
            hardware=job.hardware,
        )
    if trained is None:
        return None
    weights = _weights(job, data, trained, start)
    return _source(job, data, expects, trained.network, weights, test)


def _input(row: Architecture, data: Dataset) -> InputRule:
    """Return the network's input; the dataset determines the shape of a tensor."""
    expects = row.preprocessing(row.fitting_channels(data.channels))
    if isinstance(expects, TensorInput) and isinstance(data.train, Split):
        shape = data.train.inputs.shape[1:]
        if not data.holds_images and len(shape) == len(expects.shape):
            return TensorInput(shape)
    return expects


def _prepare(
    job: TrainingJob, data: Dataset, expects: InputRule, console: Console
) -> tuple[Split, Split]:
    """Prepare the training and the test split."""
    # The first process reports for all.
    warn = console.print if is_first_process() else _ignore
    with console.status("Preparing the dataset"):
        training, test = (
            prepare(samples, expects, strict=job.strict, warn=warn)
            for samples in (data.train, data.test)
        )
    console.print(
        f"dataset   {data.name}: {len(training.labels):,} training and {len(test.labels):,} test "
        f"inputs in {len(data.labels)} classes"
    )
    return training, test


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


def _run(job: TrainingJob, data: Dataset, recipe: Recipe) -> Run:
    """Start or resume a run; a process that Lightning started joins the first one's run."""
    if known := os.environ.get(_RUN_VARIABLE):
        return Run(Path(known), job.resume)
    directory, settings = job.runs / job.model, job.fixed_settings(data, recipe)
    return resume_run(directory, settings) if job.resume else begin_run(directory, settings)


@contextmanager
def _passed_to_other_processes(run: Run) -> Iterator[None]:
    """Pass the run's directory to the processes that Lightning starts."""
    if not is_first_process():
        yield
        return
    os.environ[_RUN_VARIABLE] = str(run.directory.resolve())
    try:
        yield
    finally:
        del os.environ[_RUN_VARIABLE]


def _weights(job: TrainingJob, data: Dataset, trained: Trained, start: Weights | None) -> Weights:
    """Describe the origin of the trained weights."""
    epochs = f"{job.epochs}"
    if trained.epochs < job.epochs:
        epochs = f"{trained.epochs} of at most {job.epochs}"
    training = f"trained for {epochs} epochs, seed {job.seed}"
    if start is None:
        return Weights(training, "", data.name)
    datasets = ", ".join(filter(None, (start.dataset, data.name)))
    return Weights(f"{start.source}, then {training}", start.license, datasets)


def _source(
    job: TrainingJob,
    data: Dataset,
    expects: InputRule,
    network: nn.Module,
    weights: Weights,
    test: Split,
) -> Source:
    source = Source(
        model=job.model,
        version=job.version,
        architecture=job.row.name,
        network=network,
        preprocessing=expects,
        labels=data.labels,
        feature_maps=job.feature_maps or job.row.feature_maps,
        weights=weights,
        golden=(),
        # The loss is the cross-entropy of a softmax.
        activation="softmax",
        test=(f"{data.name} test", test),
    )
    return replace(source, golden=one_of_each_class(servable(source), data.test, expects))
