"""Trains a classifier with Lightning."""

import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
    RichProgressBar,
)
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from torch import nn

from convscope.exporter.datasets import Split
from convscope.exporter.errors import RunError
from convscope.exporter.training.classifier import MONITORED, Classifier, Recipe
from convscope.exporter.training.runs import Run

__all__ = ["Hardware", "Recipe", "Trained", "train"]

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
        network: The network of the epoch with the best validation accuracy, on
            the CPU, ready to be exported.
        epochs: The number of epochs; fewer than requested if patience ended the run.
    """

    network: nn.Module
    epochs: int


def train(
    build: Callable[[], nn.Module],
    split: Split,
    recipe: Recipe,
    *,
    classes: int,
    progress: bool,
    run: Run,
    hardware: Hardware | None = None,
) -> Trained | None:
    """Build a network and train it.

    Args:
        build: Builds the network, from float32 [N, C, ...] to logits [N, K];
            called after the seed is set.
        split: The training inputs.
        recipe: The settings of the run.
        classes: The number of classes, K.
        progress: Whether to show a progress bar.
        run: The directory of checkpoints and logs, and whether to resume.
        hardware: The hardware; one device by default.

    Returns:
        The result in the first process; None in all others.

    Raises:
        RunError: The run was interrupted.
    """
    with _without_advice():
        lightning.seed_everything(recipe.seed, verbose=False)
        network = build()
        best = ModelCheckpoint(
            run.checkpoints,
            "best",
            monitor=MONITORED,
            mode="max",
            save_last=True,
            enable_version_counter=False,
        )
        trainer = _trainer(recipe, run, hardware or Hardware(), best, progress)
        with _fitting_threads(network), _interruption_as_error():
            trainer.fit(
                Classifier(network, recipe, split, classes),
                ckpt_path=run.last_checkpoint,
                weights_only=True,
            )
        if not trainer.is_global_zero:
            return None
        _load_best(network, run.checkpoints / "best.ckpt")
    return Trained(network.eval().cpu(), trainer.current_epoch)


def _trainer(
    recipe: Recipe, run: Run, hardware: Hardware, best: ModelCheckpoint, progress: bool
) -> lightning.Trainer:
    callbacks: list[Callback] = [best, LearningRateMonitor("epoch")]
    if recipe.patience is not None:
        callbacks.append(EarlyStopping(MONITORED, patience=recipe.patience, mode="max"))
    if progress:
        callbacks.append(RichProgressBar())
    return lightning.Trainer(
        max_epochs=recipe.epochs,
        accelerator="auto",
        devices=hardware.devices,
        num_nodes=hardware.nodes,
        strategy="ddp" if hardware.processes > 1 else "auto",
        precision=_precision(hardware),
        callbacks=callbacks,
        logger=_loggers(run),
        enable_model_summary=False,
        enable_progress_bar=progress,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # the loaders select their process's share
    )


def _precision(hardware: Hardware) -> Any:
    return hardware.precision or ("16-mixed" if torch.cuda.is_available() else "32-true")


def _loggers(run: Run) -> list[Logger]:
    loggers: list[Logger] = [CSVLogger(run.directory, "logs")]
    if any(importlib.util.find_spec(name) for name in ("tensorboardX", "tensorboard")):
        loggers.append(TensorBoardLogger(run.directory, "tensorboard"))
    return loggers


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
