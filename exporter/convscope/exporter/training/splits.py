"""Divides the samples of a run into training, validation and test inputs, and reports them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from convscope.exporter.datasets import Dataset, Split
from convscope.exporter.errors import DatasetError
from convscope.exporter.evaluation.run_files import MIN_VALIDATION

__all__ = [
    "Splits",
    "check_classes",
    "check_splits",
    "hold_back",
    "report_splits",
    "split_warnings",
]

# One of this many training inputs is held back for validation, but in a small
# class more: up to this many inputs, or this fraction of the class.
VALIDATION_INTERVAL = 20
MIN_PER_CLASS = 5
MAX_FRACTION = 0.2
MAX_LISTED_CLASSES = 20


@dataclass(frozen=True, slots=True)
class Splits:
    """The prepared inputs of a run.

    Args:
        train: The inputs by which the weights are trained.
        validation: The inputs by which the published epoch is chosen.
        test: The inputs on which the published network is measured.
    """

    train: Split
    validation: Split
    test: Split

    def counts(self, labels: Sequence[str]) -> dict[str, dict[str, int]]:
        """Return the number of inputs of each class in each split."""
        return {
            name: dict(zip(labels, _per_class(split, len(labels)), strict=True))
            for name, split in self.named()
        }

    @property
    def validates_on_training_inputs(self) -> bool:
        """Whether the classes are too small to hold inputs back."""
        return self.validation is self.train

    def named(self) -> Iterator[tuple[str, Split]]:
        """Yield each split after its name."""
        yield "train", self.train
        yield "validation", self.validation
        yield "test", self.test


def hold_back(split: Split, classes: int, seed: int) -> tuple[Split, Split]:
    """Hold back some inputs of each class; return the training and the validation split.

    Both are the whole split if no class has two inputs.
    """
    random = np.random.default_rng([seed, 1])
    held = np.zeros(len(split.labels), bool)
    for label in range(classes):
        own = random.permutation(np.flatnonzero(split.labels == label))
        held[own[: _held_back(len(own))]] = True
    if not held.any():
        return split, split
    return _take(split, np.flatnonzero(~held)), _take(split, np.flatnonzero(held))


def check_classes(data: Dataset) -> None:
    """Check before a training that every class has inputs.

    Raises:
        DatasetError: A class has none in any split.
    """
    splits = [split for split in (data.train, data.validation, data.test) if split is not None]
    seen = np.concatenate([split.labels for split in splits])
    absent = [label for number, label in enumerate(data.labels) if number not in seen]
    if not absent:
        return
    more = f" and {len(absent) - 1} other classes" if len(absent) > 1 else ""
    fix = "add inputs or remove the class"
    if data.labels[0] in absent:
        fix = f"{fix}; if the class numbers in y start at 1, subtract 1, because they start at 0"
    raise DatasetError(f"{data.name} has no input of {absent[0]!r}{more}; {fix}")


def check_splits(splits: Splits, dataset: str) -> None:
    """Check before a training that every split has inputs.

    Raises:
        DatasetError: A split is empty.
    """
    for name, split in splits.named():
        if not len(split.labels):
            raise DatasetError(
                f"the {name} split of {dataset} has no inputs, which the training needs; add "
                "some, with at least two inputs in a class if the dataset has no test split of "
                "its own"
            )


def split_warnings(splits: Splits, labels: Sequence[str]) -> Iterator[str]:
    """Return a sentence for each property of the splits that makes the results unreliable."""
    if splits.validates_on_training_inputs:
        yield (
            "no class has two training inputs, so the validation inputs are the training "
            "inputs; the chosen epoch may be overfitted"
        )
    counts = splits.counts(labels)
    total = len(splits.validation.labels)
    if total < MIN_VALIDATION:
        fewest = min(labels, key=counts["validation"].__getitem__)
        yield (
            f"there are only {total} validation inputs, {counts['validation'][fewest]} of "
            f"{fewest!r}; their loss is a rough guide to the best epoch, so add inputs if you can"
        )
    for name, own in counts.items():
        absent = [label for label, count in own.items() if count == 0]
        if absent and not (name == "validation" and total < MIN_VALIDATION):
            more = f" and {len(absent) - 1} more classes" if len(absent) > 1 else ""
            yield f"the {name} split has no input of {absent[0]!r}{more}"


def report_splits(splits: Splits, name: str, labels: Sequence[str], console: Console) -> None:
    """Print the number of inputs in each split, per class, and the warnings."""
    counts = splits.counts(labels)
    sums = {split: sum(own.values()) for split, own in counts.items()}
    text = ", ".join(f"{total:,} {split}" for split, total in sums.items())
    console.print(f"dataset   {name}: {text} inputs in {len(labels):,} classes", markup=False)
    console.print(_table(counts, labels))
    for warning in split_warnings(splits, labels):
        console.print("[yellow]warning:[/] ", end="")
        console.print(warning, markup=False)


def _table(counts: dict[str, dict[str, int]], labels: Sequence[str]) -> Table:
    table = Table("class", box=None, header_style="dim")
    for split in counts:
        table.add_column(split, justify="right")
    listed = labels
    if len(labels) > MAX_LISTED_CLASSES:
        table.columns[0].header = "smallest classes"
        listed = sorted(labels, key=counts["train"].__getitem__)[:MAX_LISTED_CLASSES]
    for label in listed:
        table.add_row(escape(label), *(f"{own[label]:,}" for own in counts.values()))
    return table


def _held_back(count: int) -> int:
    """Return how many of a class's inputs are held back."""
    if count < 2:
        return 0
    wanted = max(MIN_PER_CLASS, count // VALIDATION_INTERVAL)
    return max(1, min(wanted, int(MAX_FRACTION * count)))


def _per_class(split: Split, classes: int) -> list[int]:
    return [int(count) for count in np.bincount(split.labels, minlength=classes)]


def _take(split: Split, indices: NDArray[np.int64]) -> Split:
    return Split(split.inputs[indices], split.labels[indices])
