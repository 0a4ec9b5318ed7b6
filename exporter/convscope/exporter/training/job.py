"""From a dataset and a network's name to a trained network, ready to be converted."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import nn

from convscope.exporter.architectures import Architecture
from convscope.exporter.architectures.resolve import load_file, load_published
from convscope.exporter.architectures.weights import Weights
from convscope.exporter.conversion.convert import Source, servable
from convscope.exporter.conversion.golden_choice import one_of_each_class
from convscope.exporter.datasets import Dataset, DatasetOptions, Split, load_dataset, prepare
from convscope.exporter.errors import ExporterError
from convscope.exporter.preprocessing import InputRule, TensorInput
from convscope.exporter.training.fit import Hardware, Recipe, Trained, train
from convscope.exporter.training.freezing import BACKBONE
from convscope.exporter.training.runs import Run, begin_run, resume_run

__all__ = ["TrainingJob", "is_first_process", "run_training"]

# Tells the processes that Lightning starts where the run of the first one lies.
_RUN_VARIABLE = "CONVSCOPE_TRAINING_RUN"
# An epoch of a few photos is to have so many steps, within these batches.
STEPS_OF_AN_EPOCH = 20
MIN_BATCH, MAX_BATCH = 8, 64
# A head alone, on features that don't change, can't diverge as a whole network can.
HEAD_LEARNING_RATE = 1e-2


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """What is trained, on what, and how.

    Args:
        row: The network.
        model: The bundle's model name.
        version: The bundle's version.
        dataset: The dataset's name; the row's own by default.
        data_dir: Where published datasets lie.
        strict: Whether an image that can't be read is an error.
        pretrained: Whether to begin with the published weights.
        weights: A file of weights to begin with.
        feature_maps: Those of the bundle; the row's by default.
        epochs: How often each input is seen.
        batch_size: Inputs of one step; by default 64, or fewer of a small dataset.
        learning_rate: The highest one; the row's by default.
        augment: Whether to alter images; the row's choice by default.
        freeze: The last module that stays as it is, or "backbone".
        patience: Epochs without a better accuracy before it stops.
        seed: Makes a run repeatable.
        hardware: What it runs on.
        runs: Where runs lie.
        resume: Whether to go on with the latest of this model.
        progress: Whether to show a progress bar.
    """

    row: Architecture
    model: str
    version: int
    dataset: str | None
    data_dir: Path
    strict: bool
    pretrained: bool
    weights: Path | None
    feature_maps: tuple[str, ...] | None
    epochs: int
    batch_size: int | None
    learning_rate: float | None
    augment: bool | None
    freeze: str | None
    patience: int | None
    seed: int
    hardware: Hardware
    runs: Path
    resume: bool
    progress: bool


def is_first_process() -> bool:
    """Whether this process is the one that a user started, and not one of Lightning's."""
    return _RUN_VARIABLE not in os.environ


def run_training(job: TrainingJob, console: Console) -> Source | None:
    """Train; None in all processes but the first.

    Raises:
        ExporterError: It can't begin, or was interrupted.
    """
    _check(job)
    data = load_dataset(_dataset_name(job), DatasetOptions(job.data_dir, job.seed))
    expects = _input(job.row, data)
    warn = console.print if is_first_process() else _ignore
    with console.status("Preparing the dataset"):
        seen = prepare(data.train, expects, strict=job.strict, warn=warn)
        test = prepare(data.test, expects, strict=job.strict, warn=warn)
    console.print(
        f"dataset   {data.name}: {len(seen.labels):,} to learn from and {len(test.labels):,} to "
        f"measure on, in {len(data.labels)} classes"
    )
    network, weights = _begin(job, expects, len(data.labels))
    recipe = _recipe(job, data, expects, len(seen.labels))
    run = _run(job, data, recipe)
    console.print(f"run       {run.directory}")
    with _run_known_to_children(run):
        trained = train(
            lambda: network,
            seen,
            recipe,
            classes=len(data.labels),
            progress=job.progress,
            run=run,
            hardware=job.hardware,
        )
    if trained is None:
        return None
    return _source(job, data, expects, trained, weights, test)


def _check(job: TrainingJob) -> None:
    if not job.row.classifies:
        raise ExporterError(
            f"{job.row.name} has nothing to learn; convert it with: "
            f"convscope-exporter export {job.row.name}"
        )
    if job.pretrained and job.weights is not None:
        raise ExporterError("--pretrained and --weights can't both be; leave one out")
    if job.freeze is not None and not job.pretrained and job.weights is None:
        raise ExporterError(
            "--freeze would keep random weights; begin with --pretrained or --weights FILE"
        )


def _dataset_name(job: TrainingJob) -> str:
    name = job.dataset or job.row.dataset
    if name is None:
        raise ExporterError(f"{job.row.name} has no dataset of its own; name one with --dataset")
    return name


def _input(row: Architecture, data: Dataset) -> InputRule:
    """The network's own input, but for what only the data can tell: the shape of a tensor."""
    expects = row.preprocessing(row.fitting_channels(data.channels))
    if isinstance(expects, TensorInput) and isinstance(data.train, Split):
        shape = data.train.inputs.shape[1:]
        if not data.holds_images and len(shape) == len(expects.shape):
            return TensorInput(shape)
    return expects


def _begin(job: TrainingJob, expects: InputRule, classes: int) -> tuple[nn.Module, Weights | None]:
    """Build the network, and fill it with what it is to begin with."""
    from lightning import seed_everything

    seed_everything(job.seed, verbose=False)
    network = job.row.build(classes, expects.channels)
    if job.weights is not None:
        return network, load_file(job.row, network, job.weights, classes, new_head=True)
    if job.pretrained:
        return network, load_published(job.row, network, classes, new_head=True)
    return network, None


def _recipe(job: TrainingJob, data: Dataset, expects: InputRule, inputs: int) -> Recipe:
    augments = job.row.augment if job.augment is None else job.augment
    return Recipe(
        mean=expects.mean,
        std=expects.std,
        epochs=job.epochs,
        batch_size=job.batch_size or _batch_size(inputs),
        learning_rate=job.learning_rate or _learning_rate(job),
        seed=job.seed,
        augmentation=data.augmentation if augments else None,
        freeze=job.freeze,
        patience=job.patience,
    )


def _batch_size(inputs: int) -> int:
    return min(MAX_BATCH, max(MIN_BATCH, inputs // STEPS_OF_AN_EPOCH))


def _learning_rate(job: TrainingJob) -> float:
    if job.freeze == BACKBONE:
        return HEAD_LEARNING_RATE
    return job.row.learning_rate


def _run(job: TrainingJob, data: Dataset, recipe: Recipe) -> Run:
    """Begin a run or find it again; a process that Lightning started was told which."""
    if known := os.environ.get(_RUN_VARIABLE):
        return Run(Path(known), job.resume)
    directory, asked = job.runs / job.model, _asked(job, data, recipe)
    return resume_run(directory, asked) if job.resume else begin_run(directory, asked)


@contextmanager
def _run_known_to_children(run: Run) -> Iterator[None]:
    """Tell the processes that Lightning starts where the run lies."""
    if not is_first_process():
        yield
        return
    os.environ[_RUN_VARIABLE] = str(run.directory.resolve())
    try:
        yield
    finally:
        del os.environ[_RUN_VARIABLE]


def _asked(job: TrainingJob, data: Dataset, recipe: Recipe) -> dict[str, Any]:
    """What must be the same when a run goes on."""
    return {
        "architecture": job.row.name,
        "dataset": data.name,
        "labels": list(data.labels),
        "epochs": job.epochs,
        "batch size": recipe.batch_size,
        "learning rate": recipe.learning_rate,
        "seed": job.seed,
        "frozen up to": job.freeze,
    }


def _source(
    job: TrainingJob,
    data: Dataset,
    expects: InputRule,
    trained: Trained,
    begun_with: Weights | None,
    test: Split,
) -> Source:
    epochs = f"{job.epochs}"
    if trained.epochs < job.epochs:
        epochs = f"{trained.epochs} of at most {job.epochs}"
    said = f"trained for {epochs} epochs, seed {job.seed}"
    source = Source(
        model=job.model,
        version=job.version,
        architecture=job.row.name,
        network=trained.network,
        preprocessing=expects,
        labels=data.labels,
        feature_maps=job.feature_maps or job.row.feature_maps,
        weights=Weights(
            f"{begun_with.source}, then {said}" if begun_with else said,
            begun_with.license if begun_with else "",
            ", ".join(filter(None, (begun_with.dataset if begun_with else "", data.name))),
        ),
        golden=(),
        test=(f"{data.name} test", test),
    )
    return replace(source, golden=one_of_each_class(servable(source), data.test, expects))


def _ignore(message: str) -> None:
    """Say nothing: the first process says it."""
