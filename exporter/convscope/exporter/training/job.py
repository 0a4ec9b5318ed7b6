"""The request of a training run: the network, the dataset and every setting."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convscope.exporter.architectures import Architecture
from convscope.exporter.datasets import Dataset
from convscope.exporter.errors import ExporterError
from convscope.exporter.preprocessing import InputRule, input_line
from convscope.exporter.training.classifier import Recipe
from convscope.exporter.training.fit import Hardware
from convscope.exporter.training.freezing import BACKBONE

__all__ = ["TrainingJob"]

# An epoch of a small dataset should have this many steps, within these batch sizes.
MIN_STEPS_PER_EPOCH = 20
MIN_BATCH, MAX_BATCH = 8, 64
PRECISIONS = ("32-true", "16-mixed", "bf16-mixed")
# A head alone, on fixed features, can't diverge as a whole network can.
HEAD_LEARNING_RATE = 1e-2


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """The request of a training run.

    Args:
        row: The network.
        model: The bundle's model name.
        repository: The repository of the bundle.
        dataset: The dataset's name; the network's own by default.
        data_dir: The folder of published datasets.
        strict: Whether an unreadable image is an error.
        pretrained: Whether to start with the published weights.
        weights: A file of weights to start with.
        random_weights: Whether the user accepts that random weights are frozen.
        feature_maps: The bundle's feature maps; the network's own by default.
        epochs: The number of passes over the training inputs; by default 10, or
            those of the resumed run.
        batch_size: The inputs of one step; by default 64, or fewer for a small dataset.
        learning_rate: The highest learning rate; the network's own by default.
        augment: Whether to alter images; the network's own choice by default.
        freeze: The last frozen module, or "backbone".
        patience: The number of epochs without a lower validation loss after which
            the run stops.
        seed: Makes a run reproducible.
        hardware: The hardware.
        runs: The folder of runs.
        resume: Whether to continue the model's latest run.
        explanations: Whether the graph explains its classes; None if it can.
        progress: Whether to show a progress bar.
    """

    row: Architecture
    model: str
    repository: Path
    dataset: str | None
    data_dir: Path
    strict: bool
    pretrained: bool
    weights: Path | None
    random_weights: bool
    feature_maps: tuple[str, ...] | None
    epochs: int | None
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
    explanations: bool | None = None

    def check(self) -> None:
        """Check that the options fit together.

        Raises:
            ExporterError: They don't.
        """
        if not self.row.classifies:
            raise ExporterError(
                f"{self.row.name} can't be trained; convert it with: "
                f"convscope-exporter export {self.row.name}"
            )
        if self.pretrained and self.weights is not None:
            raise ExporterError("--pretrained and --weights exclude each other; use one of them")
        has_weights = self.pretrained or self.weights is not None
        if self.random_weights and has_weights:
            raise ExporterError(
                "--random-weights excludes --pretrained and --weights; use one of them"
            )
        if self.freeze is not None and not has_weights and not self.random_weights:
            raise ExporterError(
                "--freeze would freeze random weights; add --pretrained or --weights FILE, or "
                "--random-weights to freeze them all the same"
            )
        if self.hardware.precision not in (None, *PRECISIONS):
            raise ExporterError(
                f"--precision {self.hardware.precision} isn't available; use one of: "
                f"{', '.join(PRECISIONS)}"
            )

    def dataset_name(self) -> str:
        """Return the name of the chosen or default dataset.

        Raises:
            ExporterError: No dataset is chosen, and the network has no default.
        """
        name = self.dataset or self.row.dataset
        if name is None:
            raise ExporterError(
                f"{self.row.name} has no default dataset; choose one with --dataset"
            )
        return name

    def recipe(self, data: Dataset, expects: InputRule, epochs: int) -> Recipe:
        """Return the settings of the run."""
        return Recipe(
            mean=expects.mean,
            std=expects.std,
            epochs=epochs,
            batch_size=self._chosen_batch_size(data),
            learning_rate=self._chosen_learning_rate(),
            seed=self.seed,
            augmentation=data.augmentation if self._augments() else None,
            freeze=self.freeze,
            patience=self.patience,
        )

    def fixed_settings(self, data: Dataset, expects: InputRule) -> dict[str, Any]:
        """Return the settings that can't change when a run is resumed."""
        return {
            "architecture": self.row.name,
            "dataset": data.name,
            "labels": list(data.labels),
            "preprocessing": input_line(expects),
            "augmentation": self._augments(),
            "initial_weights": self._initial_weights(),
            "batch_size": self._chosen_batch_size(data),
            "learning_rate": self._chosen_learning_rate(),
            "seed": self.seed,
            "frozen_up_to": self.freeze,
        }

    def _augments(self) -> bool:
        return self.row.augment if self.augment is None else self.augment

    def _initial_weights(self) -> str:
        if self.weights is not None:
            return self.weights.name
        return "published" if self.pretrained else "random"

    def _chosen_batch_size(self, data: Dataset) -> int:
        wanted = len(data.train.labels) // MIN_STEPS_PER_EPOCH
        return self.batch_size or min(MAX_BATCH, max(MIN_BATCH, wanted))

    def _chosen_learning_rate(self) -> float:
        own = HEAD_LEARNING_RATE if self.freeze == BACKBONE else self.row.learning_rate
        return self.learning_rate or own
