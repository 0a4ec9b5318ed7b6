"""Trains a classifier with Lightning."""

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, RichProgressBar
from torch import Tensor, nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    Sampler,
    SequentialSampler,
    TensorDataset,
)
from torchmetrics.classification import MulticlassAccuracy
from torchvision.transforms import v2

from convscope.exporter.datasets import Split

__all__ = ["Recipe", "train"]

# Of the training images, one in so many is held back to watch the progress by.
VALIDATION_SHARE = 20
# The steps of a network below this size are so short that its threads would
# wait for one another most of the time, and far longer on a busy machine.
SMALL_NETWORK_PARAMETERS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a network is trained.

    Args:
        mean: For each channel, in units of 0 to 1.
        std: For each channel, in units of 0 to 1.
        epochs: How often each image is seen.
        batch_size: Images of one step.
        learning_rate: The highest of the one-cycle schedule.
        seed: Makes a run repeatable on one machine.
        augmentation: What is done to each batch of images, uint8 [N, C, H, W],
            to make it new again.
    """

    mean: Sequence[float]
    std: Sequence[float]
    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    augmentation: Callable[[Tensor], Tensor] | None = None


class _Classifier(lightning.LightningModule):
    """A network, its loss and its optimiser.

    Args:
        network: float32 [N, C, H, W] to logits [N, K].
        recipe: How it is trained.
        classes: K.
    """

    def __init__(self, network: nn.Module, recipe: Recipe, classes: int) -> None:
        super().__init__()
        self.network = network
        self.recipe = recipe
        self.normalize = v2.Compose(
            [v2.ToDtype(torch.float32, scale=True), v2.Normalize(recipe.mean, recipe.std)]
        )
        self.accuracy = MulticlassAccuracy(classes, average="micro")

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        images, labels = batch  # uint8 [N, C, H, W], int64 [N]
        if self.recipe.augmentation is not None:
            images = self.recipe.augmentation(images)
        loss = nn.functional.cross_entropy(self.network(self.normalize(images)), labels)
        self.log("loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        images, labels = batch
        self.accuracy(self.network(self.normalize(images)), labels)
        self.log("accuracy", self.accuracy, prog_bar=True)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            self.recipe.learning_rate,
            total_steps=int(self.trainer.estimated_stepping_batches),
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def train(
    build: Callable[[], nn.Module], split: Split, recipe: Recipe, *, classes: int, progress: bool
) -> nn.Module:
    """Build a network and train it.

    Args:
        build: Makes the network, float32 [N, C, H, W] to logits [N, K]; called
            after the seed is set.
        split: What to learn from.
        recipe: How.
        classes: K.
        progress: Whether to show a progress bar.

    Returns:
        The network, on the CPU, ready to be exported.
    """
    seen, held_back = _datasets(split)
    callbacks: list[Callback] = [RichProgressBar()] if progress else []
    with _without_noise():
        lightning.seed_everything(recipe.seed, verbose=False)
        network = build()
        trainer = lightning.Trainer(
            max_epochs=recipe.epochs,
            accelerator="auto",
            devices=1,
            callbacks=callbacks,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=progress,
            num_sanity_val_steps=0,
        )
        with _fitting_threads(network):
            trainer.fit(
                _Classifier(network, recipe, classes),
                _loader(seen, recipe.batch_size, RandomSampler(seen)),
                _loader(held_back, 1000, SequentialSampler(held_back)),
            )
    return network.eval().cpu()


def _datasets(split: Split) -> tuple[TensorDataset, TensorDataset]:
    """Hold a few of the images back."""
    images = torch.from_numpy(split.images).permute(0, 3, 1, 2).contiguous()  # [N, C, H, W]
    labels = torch.from_numpy(split.labels)
    held_back = torch.arange(len(labels)) % VALIDATION_SHARE == 0
    return (
        TensorDataset(images[~held_back], labels[~held_back]),
        TensorDataset(images[held_back], labels[held_back]),
    )


def _loader(dataset: TensorDataset, batch_size: int, order: Sampler[int]) -> DataLoader[Any]:
    """Cut whole batches out of the arrays: ten times as fast as image by image."""
    batches = BatchSampler(order, batch_size, drop_last=False)
    return DataLoader(dataset, batch_size=None, sampler=batches)


@contextmanager
def _fitting_threads(network: nn.Module) -> Iterator[None]:
    """Give a small network one thread."""
    threads = torch.get_num_threads()
    if sum(parameter.numel() for parameter in network.parameters()) < SMALL_NETWORK_PARAMETERS:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _without_noise(warnings.catch_warnings):  # noqa: N801 - reads as a statement
    """Keep Lightning's advice to its own users from ours."""

    def __enter__(self) -> Any:
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        entered = super().__enter__()
        warnings.simplefilter("ignore")
        return entered
