import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from convscope.exporter.architectures import find_architecture
from convscope.exporter.datasets import Split, load_dataset
from convscope.exporter.training.classifier import Recipe
from convscope.exporter.training.fit import train
from convscope.exporter.training.runs import Run, begin_run
from convscope.exporter.training.splits import Splits, hold_back

EPOCHS = 8


def digits(count: int) -> Split:
    """The first images of the sample of MNIST."""
    samples = load_dataset("mnist_sample").train
    assert isinstance(samples, Split)
    return Split(samples.inputs[:count], samples.labels[:count])


def losses(folder: Path, *, patience: int | None, learning_rate: float) -> list[float]:
    """Train on a few digits, and read the validation loss of each epoch from the metrics."""
    row = find_architecture("multi_conv")
    expects = row.preprocessing()
    recipe = Recipe(
        mean=expects.mean,
        std=expects.std,
        epochs=EPOCHS,
        batch_size=32,
        learning_rate=learning_rate,
        seed=0,
        patience=patience,
    )
    torch.manual_seed(0)
    split = digits(300)
    splits = Splits(*hold_back(split, 10, seed=0), split)
    run = start(folder)
    train(lambda: row.build(10), splits, recipe, classes=10, progress=False, run=run)
    with (run.directory / "metrics.csv").open() as file:
        return [float(line["val_loss"]) for line in csv.DictReader(file)]


def start(folder: Path) -> Run:
    return begin_run(folder / "multi_conv", {"epochs": EPOCHS})


@pytest.mark.parametrize("patience", [1, 3])
def test_a_run_without_progress_stops_after_its_patience(tmp_path: Path, patience: int) -> None:
    found = losses(tmp_path, patience=patience, learning_rate=1e-12)
    assert found == pytest.approx([found[0]] * (1 + patience))


def test_without_patience_the_same_run_has_all_epochs(tmp_path: Path) -> None:
    assert len(losses(tmp_path, patience=None, learning_rate=1e-12)) == EPOCHS


def test_a_run_with_progress_continues_beyond_its_patience(tmp_path: Path) -> None:
    found = losses(tmp_path, patience=2, learning_rate=8e-3)
    assert len(found) > 3
    assert min(found) < found[0]


def stripes(count: int) -> Split:
    """Bright and dark noisy images of three patterns."""
    random = np.random.default_rng(0)
    labels = np.arange(count) % 3
    images = random.integers(0, 120, (count, 8, 8, 1), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 * label + 1] += 100
    return Split(images, labels)


def slow_batch_norm() -> nn.Module:
    """A network whose statistics lag behind, as those of timm's EfficientNet do."""
    layers: list[nn.Module] = []
    for channels in (1, 8, 8, 8):
        layers += [nn.Conv2d(channels, 8, 3, padding=1), nn.BatchNorm2d(8, momentum=0.01)]
        layers += [nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 3))


def test_a_few_images_train_a_network_with_slow_batch_norm(tmp_path: Path) -> None:
    """Without faster statistics, the loss falls to 0.002 and the accuracy stays at 0.33."""
    split = stripes(45)
    recipe = Recipe(mean=(0.0,), std=(1.0,), epochs=10, batch_size=12, learning_rate=0.005, seed=0)
    splits = Splits(*hold_back(split, 3, seed=0), stripes(300))
    trained = train(slow_batch_norm, splits, recipe, classes=3, progress=False, run=start(tmp_path))
    assert trained is not None
    planes = torch.from_numpy(splits.test.inputs).permute(0, 3, 1, 2) / 255
    found = trained.network(planes).argmax(dim=1).numpy()
    assert (found == splits.test.labels).mean() >= 0.9
