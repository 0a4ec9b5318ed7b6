"""Compares two models on the same labeled inputs."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope.exporter.errors import DatasetError
from convscope.exporter.evaluation.metrics import Figures, measure
from convscope.exporter.evaluation.predictions import Predictions, match_labels
from convscope.exporter.evaluation.report import Evaluation

__all__ = ["ClassChange", "Comparison", "Difference", "FigureChange", "compare"]

FIGURES = ("accuracy", "top5_accuracy", "balanced_accuracy", "calibration_error", "log_loss")
LOWER_IS_BETTER = ("calibration_error", "log_loss")


@dataclass(frozen=True, slots=True)
class FigureChange:
    """A figure of both models.

    Args:
        name: The figure's name.
        a: Its value for the first model.
        b: Its value for the second.
        better: Whether the second is better; None if they are equal.
    """

    name: str
    a: float
    b: float
    better: bool | None


@dataclass(frozen=True, slots=True)
class ClassChange:
    """The recall of a class in both models."""

    label: str
    inputs: int
    a: float
    b: float

    @property
    def change(self) -> float:
        """How much higher the recall of the second model is."""
        return self.b - self.a


@dataclass(frozen=True, slots=True)
class Difference:
    """An input that the models classify differently.

    Args:
        index: The input's position in the dataset.
        name: The input's name.
        truth: The right class.
        a: The class that the first model predicts.
        b: The class that the second predicts.
        a_confidence: The first model's probability of its class.
        b_confidence: The second's.
        right: Which model is right: "a", "b" or "neither".
    """

    index: int
    name: str
    truth: str
    a: str
    b: str
    a_confidence: float
    b_confidence: float
    right: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models on the same inputs.

    Args:
        a: The first model's evaluation on the inputs that both could classify.
        b: The second's.
        figures: The figures of both.
        classes: The classes whose recall changed, the largest loss first.
        differences: The inputs that are classified differently, the most confident first.
        only_a_right: The number of inputs that only the first model classifies correctly.
        only_b_right: The number that only the second does.
        chance: The probability of a split at least as uneven as these two numbers if the models
            were equally good (exact McNemar test).
    """

    a: Evaluation
    b: Evaluation
    figures: tuple[FigureChange, ...]
    classes: tuple[ClassChange, ...]
    differences: tuple[Difference, ...]
    only_a_right: int
    only_b_right: int
    chance: float

    def as_json(self) -> dict[str, Any]:
        """Return the comparison as plain values."""
        return {
            "a": self.a.as_json(),
            "b": self.b.as_json(),
            "figures": {
                one.name: {"a": one.a, "b": one.b, "difference": one.b - one.a}
                for one in self.figures
            },
            "classes": [
                {"label": one.label, "a": one.a, "b": one.b, "difference": one.change}
                for one in self.classes
            ],
            "only_a_right": self.only_a_right,
            "only_b_right": self.only_b_right,
            "chance": self.chance,
            "differences": [
                {"name": one.name, "true": one.truth, "a": one.a, "b": one.b, "right": one.right}
                for one in self.differences
            ],
        }


def compare(a: Evaluation, b: Evaluation) -> Comparison:
    """Compare two evaluations of the same dataset.

    Raises:
        DatasetError: No input has a prediction of both models.
    """
    common = np.intersect1d(a.predictions.indices, b.predictions.indices)
    if not len(common):
        raise DatasetError("no input has a prediction of both models")
    a, b = _restricted(a, common), _restricted(b, common)
    right_a, right_b = (one.predictions.best == one.predictions.truth for one in (a, b))
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    return Comparison(
        a,
        b,
        _figures(a.figures, b.figures),
        _classes(a, b),
        _differences(a.predictions, b.predictions, right_a, right_b),
        only_a,
        only_b,
        _mcnemar(only_a, only_b),
    )


def _restricted(evaluation: Evaluation, common: NDArray[np.int64]) -> Evaluation:
    found = evaluation.predictions
    rows = np.flatnonzero(np.isin(found.indices, common))
    kept = replace(
        found,
        indices=found.indices[rows],
        names=tuple(found.names[row] for row in rows),
        truth=found.truth[rows],
        probabilities=found.probabilities[rows],
    )
    return replace(
        evaluation,
        predictions=kept,
        figures=measure(kept.probabilities, kept.truth, kept.labels),
    )


def _figures(a: Figures, b: Figures) -> tuple[FigureChange, ...]:
    found = []
    for name in FIGURES:
        first, second = getattr(a, name), getattr(b, name)
        if first is not None and second is not None:
            better = None if first == second else (second < first) == (name in LOWER_IS_BETTER)
            found.append(FigureChange(name, first, second, better))
    return tuple(found)


def _classes(a: Evaluation, b: Evaluation) -> tuple[ClassChange, ...]:
    """Compare the classes of the dataset; each model may have its own order of labels."""
    found = []
    for name, first, second in zip(
        a.inputs.classes, _class_positions(a), _class_positions(b), strict=True
    ):
        one, other = a.figures.classes[first], b.figures.classes[second]
        if one.recall is not None and other.recall is not None and one.recall != other.recall:
            found.append(ClassChange(name, one.inputs, one.recall, other.recall))
    return tuple(sorted(found, key=lambda each: each.change))


def _class_positions(evaluation: Evaluation) -> list[int]:
    return [
        int(at) for at in match_labels(evaluation.inputs.classes, evaluation.predictions.labels)
    ]


def _differences(
    a: Predictions, b: Predictions, right_a: NDArray[np.bool_], right_b: NDArray[np.bool_]
) -> tuple[Difference, ...]:
    found = []
    for row, index in enumerate(a.indices):
        first, second = a.labels[a.best[row]], b.labels[b.best[row]]
        if first == second or (right_a[row] and right_b[row]):
            continue
        found.append(
            Difference(
                index=int(index),
                name=a.names[row],
                truth=a.labels[a.truth[row]],
                a=first,
                b=second,
                a_confidence=float(a.probabilities[row].max()),
                b_confidence=float(b.probabilities[row].max()),
                right="a" if right_a[row] else "b" if right_b[row] else "neither",
            )
        )
    return tuple(sorted(found, key=lambda one: -max(one.a_confidence, one.b_confidence)))


def _mcnemar(a: int, b: int) -> float:
    """Return the exact two-sided probability under a fair coin."""
    count = a + b
    logs = (
        math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1)
        for k in range(min(a, b) + 1)
    )
    tail = sum(math.exp(each - count * math.log(2)) for each in logs)
    return min(1.0, 2 * tail)
