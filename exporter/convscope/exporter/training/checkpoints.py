"""Saves a run after every epoch, so that it can be resumed after any interruption."""

import os
import pickle
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Checkpoint

from convscope.exporter.errors import RunError
from convscope.exporter.training.history import (
    EpochMetrics,
    best_epoch,
    is_out_of_patience,
    metrics_csv,
)
from convscope.exporter.training.runs import Run

__all__ = ["EpochRecorder", "complete_files", "read_history"]

_STATE = "epochs"


class EpochRecorder(Checkpoint):
    """Saves `last.ckpt`, `best.ckpt` and `metrics.csv` after every epoch, and applies patience.

    The history is part of the checkpoint. A resumed run therefore continues with
    the history of the epochs that its weights have seen, whenever it was killed.

    Args:
        run: The run.
        patience: The number of epochs without a lower validation loss after
            which the run stops; None for no such limit.
        on_epoch: Called with the metrics of each epoch after it is saved.
    """

    def __init__(
        self,
        run: Run,
        patience: int | None,
        on_epoch: Callable[[EpochMetrics], None] = lambda metrics: None,
    ) -> None:
        self.history: list[EpochMetrics] = []
        self._run = run
        self._patience = patience
        self._on_epoch = on_epoch
        self._began = 0.0
        self._learning_rate = 0.0

    @property
    def state_key(self) -> str:
        """The key of the history in a checkpoint."""
        return _STATE

    def state_dict(self) -> dict[str, Any]:
        """Return the history for a checkpoint."""
        return {_STATE: [asdict(metrics) for metrics in self.history]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Set the history from a checkpoint."""
        self.history = [EpochMetrics(**metrics) for metrics in state_dict[_STATE]]

    def on_train_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Called when a run starts or resumes."""
        if trainer.is_global_zero:
            complete_files(self._run, self.history)

    def on_train_epoch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Called when an epoch begins."""
        self._began = monotonic()
        self._learning_rate = float(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Called after the training and the validation of an epoch."""
        figures = trainer.callback_metrics
        self.history.append(
            EpochMetrics(
                epoch=trainer.current_epoch + 1,
                train_loss=float(figures["train_loss_epoch"]),
                train_accuracy=float(figures["train_accuracy"]),
                val_loss=float(figures["val_loss"]),
                val_accuracy=float(figures["val_accuracy"]),
                learning_rate=self._learning_rate,
                seconds=round(monotonic() - self._began, 3),
            )
        )
        self._save(trainer)
        if trainer.is_global_zero:
            self._on_epoch(self.history[-1])
        if is_out_of_patience(self.history, self._patience):
            trainer.should_stop = True

    def _save(self, trainer: lightning.Trainer) -> None:
        part = self._run.directory / "last.part"
        trainer.save_checkpoint(part)  # in all processes
        if not trainer.is_global_zero:
            return
        _flush(part)
        part.replace(self._run.last)
        complete_files(self._run, self.history)


def complete_files(run: Run, history: list[EpochMetrics]) -> None:
    """Write the files that follow from the last checkpoint: the best one, metrics and record.

    A process that was killed after it saved the last checkpoint didn't write them.
    """
    if not history:
        return
    best = best_epoch(history)
    if best is history[-1]:
        run.keep_last_as_best()
    run.write("metrics.csv", metrics_csv(history))
    run.update(best_epoch=best.epoch)


def read_history(checkpoint: Path | None) -> list[EpochMetrics]:
    """Return the epochs of a checkpoint; none without a checkpoint.

    Raises:
        RunError: The checkpoint can't be read.
    """
    if checkpoint is None:
        return []
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        return [EpochMetrics(**metrics) for metrics in content["callbacks"][_STATE][_STATE]]
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise RunError(
            f"{checkpoint} can't be read as a checkpoint; start a new run without --resume"
        ) from error


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
