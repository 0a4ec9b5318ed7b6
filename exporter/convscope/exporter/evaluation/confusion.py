"""The confusion matrix as a table that people can read, also with 1,000 classes."""

from dataclasses import dataclass

from convscope.exporter.evaluation.metrics import Figures

__all__ = ["Cell", "ConfusionTable", "Row", "confusion_table"]

MAX_CLASSES = 20


@dataclass(frozen=True, slots=True)
class Cell:
    """A number of inputs.

    Args:
        inputs: The number.
        share: Its share of the inputs of the true class, 0 to 1.
        right: Whether the true and the predicted class are the same.
        predicted: The predicted class.
    """

    inputs: int
    share: float
    right: bool
    predicted: str


@dataclass(frozen=True, slots=True)
class Row:
    """The inputs of one true class."""

    label: str
    inputs: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class ConfusionTable:
    """A part of the confusion matrix.

    Args:
        labels: The classes shown.
        rows: One for each of them; the last cell has all other predicted classes, if any.
        of: The number of all classes.
    """

    labels: tuple[str, ...]
    rows: tuple[Row, ...]
    of: int

    @property
    def complete(self) -> bool:
        """Whether all classes are shown."""
        return len(self.labels) == self.of


def confusion_table(figures: Figures) -> ConfusionTable:
    """Return the whole confusion matrix, or that of the most confused classes if there are many."""
    names = [one.label for one in figures.classes]
    shown = _shown(figures)
    rows = tuple(_row(figures, index, shown) for index in shown)
    return ConfusionTable(tuple(names[index] for index in shown), rows, len(names))


def _shown(figures: Figures) -> list[int]:
    count = len(figures.classes)
    if count <= MAX_CLASSES:
        return list(range(count))
    found: dict[int, None] = {}
    for truth, predicted, _ in figures.confusions():
        if len(found | {truth: None, predicted: None}) <= MAX_CLASSES:
            found |= {truth: None, predicted: None}
    return sorted(found)


def _row(figures: Figures, index: int, shown: list[int]) -> Row:
    names = [one.label for one in figures.classes]
    counts = figures.confusion[index]
    total = int(counts.sum())

    def cell(inputs: int, right: bool, predicted: str) -> Cell:
        return Cell(inputs, inputs / total if total else 0.0, right, predicted)

    cells = [cell(int(counts[column]), column == index, names[column]) for column in shown]
    if len(shown) < len(names):
        rest = total - sum(one.inputs for one in cells)
        cells.append(cell(rest, False, "another class"))
    return Row(names[index], total, tuple(cells))
