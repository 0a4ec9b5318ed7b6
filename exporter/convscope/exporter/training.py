"""Trains a classifier with Lightning."""

import logging
import warnings
from collections.abc import Sequence
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, RichProgressBar
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

from convscope.exporter.datasets import Split

__all__ = ["train"]

# Of the training images, one in so many is held back to watch the progress by.
VALIDATION_SHARE = 20


class _Classifier(lightning.LightningModule):
    """A network, its loss and its optimiser.

    Args:
        network: float32 [N, C, H, W] to logits [N, K].
        classes: K.
        learning_rate: The highest of the one-cycle schedule.
    """

    def __init__(self, network: nn.Module, classes: int, learning_rate: float) -> None:
        super().__init__()
        self.network = network
        self.learning_rate = learning_rate
        self.accuracy = MulticlassAccuracy(classes, average="micro")

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        images, labels = batch
        loss = nn.functional.cross_entropy(self.network(images), labels)
        self.log("loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        images, labels = batch
        self.accuracy(self.network(images), labels)
        self.log("accuracy", self.accuracy, prog_bar=True)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.learning_rate, total_steps=int(self.trainer.estimated_stepping_batches)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def train(
    network: nn.Module,
    split: Split,
    *,
    classes: int,
    mean: Sequence[float],
    std: Sequence[float],
    epochs: int,
    batch_size: int,
    learning_rate: float,
    progress: bool,
) -> None:
    """Train a network in place.

    Args:
        network: float32 [N, C, H, W] to logits [N, K].
        split: What to learn from.
        classes: K.
        mean: For each channel, in units of 0 to 1.
        std: For each channel, in units of 0 to 1.
        epochs: How often each image is seen.
        batch_size: Images of one step.
        learning_rate: The highest of the one-cycle schedule.
        progress: Whether to show a progress bar.
    """
    seen, held_back = _datasets(split, mean, std)
    callbacks: list[Callback] = [RichProgressBar(leave=True)] if progress else []
    with _without_noise():
        trainer = lightning.Trainer(
            max_epochs=epochs,
            accelerator="auto",
            devices=1,
            callbacks=callbacks,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=progress,
            num_sanity_val_steps=0,
        )
        trainer.fit(
            _Classifier(network, classes, learning_rate),
            DataLoader(seen, batch_size, shuffle=True),
            DataLoader(held_back, 1000),
        )
    network.eval().cpu()


def _datasets(
    split: Split, mean: Sequence[float], std: Sequence[float]
) -> tuple[TensorDataset, TensorDataset]:
    """Normalise the images once, as the graph will, and hold a few of them back."""
    images = torch.from_numpy(split.images).permute(0, 3, 1, 2).float() / 255  # [N, C, H, W]
    shape = (1, -1, 1, 1)
    images = (images - torch.tensor(mean).reshape(shape)) / torch.tensor(std).reshape(shape)
    labels = torch.from_numpy(split.labels)
    held_back = torch.arange(len(labels)) % VALIDATION_SHARE == 0
    return (
        TensorDataset(images[~held_back], labels[~held_back]),
        TensorDataset(images[held_back], labels[held_back]),
    )


class _without_noise(warnings.catch_warnings):  # noqa: N801 - reads as a statement
    """Keep Lightning's advice to its own users from ours."""

    def __enter__(self) -> Any:
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        entered = super().__enter__()
        warnings.simplefilter("ignore")
        return entered
