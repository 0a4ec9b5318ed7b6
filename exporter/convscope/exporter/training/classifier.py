"""The module that Lightning trains: a network with its loss, optimizer and data."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from convscope.exporter.datasets.augmentation import Augmentation
from convscope.exporter.training.batch_norm import follow_short_epochs, share_statistics
from convscope.exporter.training.batches import test_loader, training_loader
from convscope.exporter.training.freezing import freeze
from convscope.exporter.training.schedule import OneCycle
from convscope.exporter.training.splits import Splits

__all__ = ["Classifier", "Recipe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The settings of a training run.

    Args:
        mean: The mean of each image channel, in units of 0 to 1; empty for
            tensors, which aren't normalized.
        std: The standard deviation of each image channel, likewise.
        epochs: The number of passes over the training inputs.
        batch_size: The inputs of one step, over all processes.
        learning_rate: The highest rate of the one-cycle schedule.
        seed: Makes a run reproducible on one machine.
        augmentation: The alterations of each batch of images.
        freeze: The path of the last frozen module, or "backbone".
        patience: The number of epochs without a lower validation loss after which
            the run stops; None for no such limit.
    """

    mean: Sequence[float]
    std: Sequence[float]
    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    augmentation: Augmentation | None = None
    freeze: str | None = None
    patience: int | None = None


class Classifier(lightning.LightningModule):
    """A network with its loss, optimizer and data.

    Args:
        network: Maps float32 [N, C, ...] to logits [N, K].
        recipe: The settings of the run.
        splits: The training and the validation inputs.
        classes: The number of classes, K.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, recipe: Recipe, splits: Splits, classes: int) -> None:
        super().__init__()
        self.network = network
        self.recipe = recipe
        self._splits = splits
        follow_short_epochs(network, math.ceil(len(splits.train.labels) / recipe.batch_size))
        self._frozen = freeze(network, recipe.freeze, classes) if recipe.freeze else []
        for name, values in (("mean", recipe.mean), ("std", recipe.std)):
            buffer = torch.tensor(values).reshape(1, -1, 1, 1)
            self.register_buffer(name, buffer, persistent=False)
        self.accuracy = MulticlassAccuracy(classes, average="micro")
        self.train_accuracy = MulticlassAccuracy(classes, average="micro")
        # Lightning rounds the number of inputs when it averages over processes.
        self.loss = MeanMetric()

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all modules but the frozen ones, which stay in evaluation mode."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def on_train_epoch_start(self) -> None:
        """Set the modes, which Lightning doesn't change."""
        self.train()

    def on_train_batch_start(self, batch: object, batch_idx: int) -> None:
        """Seed the random numbers of an epoch.

        A resumed run must draw the same ones as a run that was never killed.
        Before the first batch, Lightning itself draws some.
        """
        if batch_idx == 0:
            seed = self.recipe.seed + 1_000_003 * self.current_epoch + self.global_rank
            lightning.seed_everything(seed % 2**32, verbose=False)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        """Return the loss of a batch."""
        inputs, labels = batch  # [N, C, ...], int64 [N]
        logits = self.network(self._normalize(inputs, True))
        loss = nn.functional.cross_entropy(logits, labels)
        self.train_accuracy(logits.detach(), labels)
        self.log("train_accuracy", self.train_accuracy, on_step=False, on_epoch=True)
        self.log(
            "train_loss",
            loss,
            prog_bar=True,
            on_step=True,
            on_epoch=True,
            batch_size=len(labels),
            sync_dist=self.trainer.world_size > 1,
        )
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        """Update the loss and the accuracy with a validation batch."""
        inputs, labels = batch
        logits = self.network(self._normalize(inputs, False))
        self.accuracy(logits, labels)
        self.log("val_accuracy", self.accuracy, prog_bar=True, on_epoch=True)
        self.loss(nn.functional.cross_entropy(logits.float(), labels), len(labels))
        self.log("val_loss", self.loss, prog_bar=True, on_epoch=True)

    def configure_optimizers(self) -> Any:
        """Return AdamW and a one-cycle schedule of the learning rate."""
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, weight_decay=1e-2)
        schedule = OneCycle(
            optimizer,
            self.recipe.learning_rate,
            total_steps=int(self.trainer.estimated_stepping_batches),
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def on_validation_start(self) -> None:
        """Give all processes the same buffers, before they are used and saved."""
        if self.trainer.world_size > 1:
            share_statistics(self.network, self.trainer.world_size, self._frozen)

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the training batches."""
        return training_loader(
            self._splits.train,
            self.recipe.batch_size,
            seed=self.recipe.seed,
            rank=self.trainer.global_rank,
            processes=self.trainer.world_size,
        )

    def val_dataloader(self) -> DataLoader[Any]:
        """Return the validation batches."""
        return test_loader(
            self._splits.validation,
            rank=self.trainer.global_rank,
            processes=self.trainer.world_size,
        )

    def _normalize(self, inputs: Tensor, augments: bool) -> Tensor:
        if not len(self.recipe.mean):
            return inputs
        planes = inputs.to(torch.float32) / 255
        if augments and self.recipe.augmentation is not None:
            planes = self.recipe.augmentation(planes)
        return (planes - self.mean) / self.std
