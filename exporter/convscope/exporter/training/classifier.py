"""What Lightning trains: a network with its loss, its optimiser and its data."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics.classification import MulticlassAccuracy

from convscope.exporter.datasets import Split
from convscope.exporter.datasets.augmentation import Augmentation
from convscope.exporter.training.batches import hold_back, test_loader, training_loader
from convscope.exporter.training.freezing import freeze

__all__ = ["MONITORED", "Classifier", "Recipe"]

MONITORED = "accuracy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a network is trained.

    Args:
        mean: For each channel of an image, in units of 0 to 1; empty for
            tensors, which are used as they are.
        std: Like the mean.
        epochs: How often each input is seen.
        batch_size: Inputs of one step, those of all processes together.
        learning_rate: The highest of the one-cycle schedule.
        seed: Makes a run repeatable on one machine.
        augmentation: What is done to each batch of images to make it new again.
        freeze: The path of the last module that stays as it is, or "backbone".
        patience: After how many epochs without a better accuracy to stop; None
            goes on to the end.
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
    """A network, its loss, its optimiser and its data.

    Args:
        network: float32 [N, C, ...] to logits [N, K].
        recipe: How it is trained.
        split: What it learns from.
        classes: K.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, recipe: Recipe, split: Split, classes: int) -> None:
        super().__init__()
        self.network = network
        self.recipe = recipe
        self._seen, self._held_back = hold_back(split, classes)
        self._frozen = freeze(network, recipe.freeze, classes) if recipe.freeze else []
        for name, values in (("mean", recipe.mean), ("std", recipe.std)):
            buffer = torch.tensor(values).reshape(1, -1, 1, 1)
            self.register_buffer(name, buffer, persistent=False)
        self.accuracy = MulticlassAccuracy(classes, average="micro")

    def train(self, mode: bool = True) -> Self:
        """Keep what is frozen in evaluation mode."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def on_train_epoch_start(self) -> None:
        """Set the modes, which Lightning leaves as they are, and begin chance anew."""
        self.train()
        # So that a resumed run alters its images as one that was never killed.
        torch.manual_seed(self.recipe.seed + 1_000_003 * self.current_epoch + self.global_rank)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        """The loss of a batch."""
        inputs, labels = batch  # [N, C, ...], int64 [N]
        loss = nn.functional.cross_entropy(self.network(self._normalize(inputs, True)), labels)
        self.log("loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        """Count what is right in a batch that was held back."""
        inputs, labels = batch
        self.accuracy(self.network(self._normalize(inputs, False)), labels)
        self.log(MONITORED, self.accuracy, prog_bar=True, on_epoch=True)

    def configure_optimizers(self) -> Any:
        """AdamW, and one cycle of the learning rate."""
        learned = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(learned, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            self.recipe.learning_rate,
            total_steps=int(self.trainer.estimated_stepping_batches),
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def train_dataloader(self) -> DataLoader[Any]:
        """What is learned from."""
        return training_loader(
            self._seen,
            self.recipe.batch_size,
            seed=self.recipe.seed,
            rank=self.trainer.global_rank,
            processes=self.trainer.world_size,
        )

    def val_dataloader(self) -> DataLoader[Any]:
        """What was held back."""
        return test_loader(
            self._held_back, rank=self.trainer.global_rank, processes=self.trainer.world_size
        )

    def _normalize(self, inputs: Tensor, augments: bool) -> Tensor:
        if not len(self.recipe.mean):
            return inputs
        planes = inputs.to(torch.float32) / 255
        if augments and self.recipe.augmentation is not None:
            planes = self.recipe.augmentation(planes)
        return (planes - self.mean) / self.std
