import csv
from pathlib import Path

import pytest
import torch

from convscope.exporter.architectures import find_architecture
from convscope.exporter.datasets import Split, load_dataset
from convscope.exporter.training.classifier import Recipe
from convscope.exporter.training.fit import train
from convscope.exporter.training.runs import Run

EPOCHS = 8


def digits(count: int) -> Split:
    """The first images of the sample of MNIST."""
    samples = load_dataset("mnist_sample").train
    assert isinstance(samples, Split)
    return Split(samples.inputs[:count], samples.labels[:count])


def accuracies(folder: Path, *, patience: int | None, learning_rate: float) -> list[float]:
    """Train on a few digits, and read the accuracy of each epoch from the log."""
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
    train(lambda: row.build(10), digits(300), recipe, classes=10, progress=False, run=Run(folder))
    (log,) = (folder / "logs").rglob("metrics.csv")
    with log.open() as file:
        return [float(line["accuracy"]) for line in csv.DictReader(file) if line["accuracy"]]


@pytest.mark.parametrize("patience", [1, 3])
def test_a_run_without_progress_stops_after_its_patience(tmp_path: Path, patience: int) -> None:
    found = accuracies(tmp_path, patience=patience, learning_rate=1e-12)
    assert found == [found[0]] * (1 + patience)


def test_without_patience_the_same_run_has_all_epochs(tmp_path: Path) -> None:
    assert len(accuracies(tmp_path, patience=None, learning_rate=1e-12)) == EPOCHS


def test_a_run_with_progress_continues_beyond_its_patience(tmp_path: Path) -> None:
    found = accuracies(tmp_path, patience=2, learning_rate=8e-3)
    assert len(found) > 3
    assert max(found) > found[0]
