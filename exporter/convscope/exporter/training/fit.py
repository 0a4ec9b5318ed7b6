"""Trains a classifier with Lightning."""

import importlib.util
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, LearningRateMonitor
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from rich import get_console
from torch import nn

from convscope.exporter.errors import RunError
from convscope.exporter.training.checkpoints import EpochRecorder, complete_files, read_history
from convscope.exporter.training.classifier import Classifier, Recipe
from convscope.exporter.training.epoch_lines import report_epoch
from convscope.exporter.training.history import EpochMetrics, best_epoch, is_out_of_patience
from convscope.exporter.training.progress import EpochProgress
from convscope.exporter.training.runs import Run
from convscope.exporter.training.splits import Splits

__all__ = ["Hardware", "Recipe", "Trained", "is_complete", "train"]

# Below this size the steps of a network are so short that several threads would
# mostly wait for one another, and far longer on a busy machine.
SMALL_NETWORK_PARAMETERS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """The hardware of a run.

    Args:
        devices: The number of processes on this machine: one per GPU, or on the CPU.
        nodes: The number of machines.
        precision: Lightning's name of it; None for 16-bit mixed precision on a
            GPU and 32 bits on a CPU.
    """

    devices: int = 1
    nodes: int = 1
    precision: str | None = None

    @property
    def processes(self) -> int:
        """The number of processes on all machines."""
        return self.devices * self.nodes


@dataclass(frozen=True, slots=True)
class Trained:
    """The result of a run.

    Args:
        network: The network of the best epoch, on the CPU, ready to be exported.
        history: The metrics of each epoch; fewer than requested if patience ended
            the run.
    """

    network: nn.Module
    history: Sequence[EpochMetrics]

    @property
    def best(self) -> EpochMetrics:
        """The epoch with the lowest validation loss, whose weights the network has."""
        return best_epoch(self.history)


def train(
    build: Callable[[], nn.Module],
    splits: Splits,
    recipe: Recipe,
    *,
    classes: int,
    progress: bool,
    run: Run,
    hardware: Hardware | None = None,
) -> Trained | None:
    """Build a network and train it, unless the run already has all of its epochs.

    Args:
        build: Builds the network, from float32 [N, C, ...] to logits [N, K];
            called after the seed is set.
        splits: The training and the validation inputs.
        recipe: The settings of the run.
        classes: The number of classes, K.
        progress: Whether to show a progress bar.
        run: The directory of checkpoints and logs, and whether to resume.
        hardware: The hardware; one device by default.

    Returns:
        The result in the first process; None in all others.

    Raises:
        RunError: The run was interrupted, or its loss was never finite.
    """
    with _without_advice():
        lightning.seed_everything(recipe.seed, verbose=False)
        network = build()
        recorder = EpochRecorder(
            run, recipe.patience, partial(report_epoch, epochs=recipe.epochs, show=progress)
        )
        recorder.history = read_history(run.last_checkpoint)
        if is_complete(recorder.history, recipe.epochs, recipe.patience):
            complete_files(run, recorder.history)
        else:
            trainer = _trainer(recipe, run, hardware or Hardware(), recorder, progress)
            with _fitting_threads(network), _interruption_as_error():
                trainer.fit(
                    Classifier(network, recipe, splits, classes),
                    ckpt_path=run.last_checkpoint,
                    weights_only=True,
                )
            if not trainer.is_global_zero:
                return None
    trained = Trained(network, recorder.history)
    if not math.isfinite(trained.best.val_loss):
        raise RunError(
            "the validation loss was never finite, so nothing is published; train with a lower "
            f"--learning-rate than {recipe.learning_rate:g}, and check the dataset's inputs"
        )
    _load_best(network, run.best)
    network.eval().cpu()
    return trained


def is_complete(history: Sequence[EpochMetrics], epochs: int, patience: int | None) -> bool:
    """Return whether a run needs no more epochs."""
    return len(history) >= epochs or is_out_of_patience(history, patience)


def _trainer(
    recipe: Recipe, run: Run, hardware: Hardware, recorder: EpochRecorder, progress: bool
) -> lightning.Trainer:
    loggers = _loggers(run)
    callbacks: list[Callback] = [recorder]
    if loggers:
        callbacks.append(LearningRateMonitor("epoch"))
    progress = progress and get_console().is_terminal
    if progress:
        callbacks.append(EpochProgress())
    return lightning.Trainer(
        max_epochs=recipe.epochs,
        accelerator="auto",
        devices=hardware.devices,
        num_nodes=hardware.nodes,
        strategy="ddp" if hardware.processes > 1 else "auto",
        precision=_precision(hardware),
        callbacks=callbacks,
        logger=loggers,
        enable_model_summary=False,
        enable_progress_bar=progress,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # the loaders select their process's share
    )


def _precision(hardware: Hardware) -> Any:
    return hardware.precision or ("16-mixed" if torch.cuda.is_available() else "32-true")


def _loggers(run: Run) -> list[Logger]:
    if any(importlib.util.find_spec(name) for name in ("tensorboardX", "tensorboard")):
        return [TensorBoardLogger(run.directory, "tensorboard")]
    return []


def _load_best(network: nn.Module, path: Path) -> None:
    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    prefix = "network."
    own = {
        name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)
    }
    network.load_state_dict(own)


@contextmanager
def _interruption_as_error() -> Iterator[None]:
    try:
        yield
    except SystemExit as error:  # Lightning raises it after Ctrl-C
        raise RunError("interrupted; to continue, repeat the command with --resume") from error


@contextmanager
def _fitting_threads(network: nn.Module) -> Iterator[None]:
    """Use one thread for a small network."""
    threads = torch.get_num_threads()
    if sum(parameter.numel() for parameter in network.parameters()) < SMALL_NETWORK_PARAMETERS:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _without_advice(warnings.catch_warnings):  # noqa: N801 - reads as a statement
    """Hide Lightning's advice to its own users."""

    def __enter__(self) -> Any:
        for name in ("lightning.pytorch", "lightning.fabric"):
            logging.getLogger(name).setLevel(logging.ERROR)
        entered = super().__enter__()
        warnings.simplefilter("ignore")
        return entered
