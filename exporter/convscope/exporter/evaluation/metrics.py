"""The figures of an evaluation, computed with torchmetrics."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchmetrics.functional import classification as tm

from convscope.v1 import manifest_pb2 as pb

__all__ = ["Bin", "ClassFigures", "Figures", "manifest_metrics", "measure"]

MAX_BINS, MIN_BINS = 15, 5
# A bin with fewer inputs shows chance more than calibration.
INPUTS_PER_BIN = 20
TOP = 5
# With fewer classes, nearly every image has its class among the first five.
MIN_CLASSES_FOR_TOP = 11
CONFIDENCE = 0.95
# Single-precision probabilities can be 0, whose logarithm is infinite.
SMALLEST_PROBABILITY = 1e-12
# torchmetrics puts a confidence of exactly 1 into a bin of its own.
BELOW_ONE = math.nextafter(1, 0)


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """The figures of one class; None where they are not defined.

    Args:
        label: The class.
        inputs: The number of inputs of this class.
        predicted: The number of inputs that were classified as this class.
        precision: The share of `predicted` that is right.
        recall: The share of `inputs` that is found.
        f1: Their harmonic mean.
        precision_interval: The Wilson interval of the precision at 95%.
        recall_interval: The Wilson interval of the recall at 95%.
    """

    label: str
    inputs: int
    predicted: int
    precision: float | None
    recall: float | None
    f1: float | None
    precision_interval: tuple[float, float] | None = None
    recall_interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Bin:
    """The inputs whose confidence is in one interval.

    Args:
        low: The lower end of the interval.
        high: The upper end.
        inputs: The number of inputs.
        confidence: The mean confidence; None without inputs.
        accuracy: The share that is right; None without inputs.
    """

    low: float
    high: float
    inputs: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of an evaluation.

    Args:
        inputs: The number of inputs.
        correct: How many of them are classified correctly.
        accuracy: Their share.
        accuracy_interval: The Wilson interval of the accuracy at 95%.
        top5_accuracy: The share of inputs with their class among the five most probable ones;
            None with few classes.
        balanced_accuracy: The mean recall of the classes that have inputs.
        log_loss: The mean negative logarithm of the probability of the right class.
        calibration_error: The expected calibration error of the most probable class, over 15 bins,
            or fewer if there are fewer than 300 inputs.
        mean_confidence: The mean probability of the most probable class.
        classes: The figures of each class, in the order of the model's labels.
        bins: The reliability diagram.
        confusion: The number of inputs by true and predicted class, int64 [K, K].
    """

    inputs: int
    correct: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    top5_accuracy: float | None
    balanced_accuracy: float
    log_loss: float
    calibration_error: float
    mean_confidence: float
    classes: tuple[ClassFigures, ...]
    bins: tuple[Bin, ...]
    confusion: NDArray[np.int64]

    @property
    def majority(self) -> ClassFigures:
        """The class with the most inputs."""
        return max(self.classes, key=lambda one: one.inputs)

    @property
    def majority_accuracy(self) -> float:
        """The accuracy of always answering the most frequent class."""
        return self.majority.inputs / self.inputs

    def confusions(self) -> list[tuple[int, int, int]]:
        """Return each kind of error as true class, predicted class and count, frequent first."""
        truth, predicted = np.nonzero(self.confusion)
        counts = self.confusion[truth, predicted]
        found = [
            (int(a), int(b), int(n))
            for a, b, n in zip(truth, predicted, counts, strict=True)
            if a != b
        ]
        return sorted(found, key=lambda one: (-one[2], one[0], one[1]))

    def as_json(self) -> dict[str, Any]:
        """Return the figures as plain values; the confusion matrix as its errors."""
        labels = [one.label for one in self.classes]
        found = {name: value for name, value in _plain(self).items() if name != "confusion"}
        found["majority_class"] = self.majority.label
        found["majority_accuracy"] = self.majority_accuracy
        found["confusions"] = [
            {"true": labels[a], "predicted": labels[b], "inputs": n}
            for a, b, n in self.confusions()
        ]
        return found


def measure(
    probabilities: NDArray[np.float32], truth: NDArray[np.int64], labels: Sequence[str]
) -> Figures:
    """Compute the figures of an evaluation.

    Args:
        probabilities: float32 [N, K], N at least 1.
        truth: The right class of each input, int64 [N].
        labels: The name of each class.
    """
    count = len(labels)
    rows, target = torch.from_numpy(probabilities), torch.from_numpy(truth)
    best = rows.argmax(dim=1)
    confidence = rows.max(dim=1).values
    right = best == target
    correct = int(right.sum())
    classes = _classes(best, target, labels)
    recalls = [one.recall for one in classes if one.recall is not None]
    chosen = rows[torch.arange(len(rows)), target].double().clamp(min=SMALLEST_PROBABILITY)
    return Figures(
        inputs=len(truth),
        correct=correct,
        accuracy=correct / len(truth),
        accuracy_interval=_wilson(correct, len(truth)),
        top5_accuracy=_top5(rows, target, count),
        balanced_accuracy=sum(recalls) / len(recalls),
        log_loss=0.0 - float(chosen.log().mean()),  # a negation would return -0.0
        calibration_error=_calibration_error(confidence, right),
        mean_confidence=float(confidence.double().mean()),
        classes=classes,
        bins=_bins(confidence.numpy(), right.numpy()),
        confusion=tm.multiclass_confusion_matrix(best, target, count).numpy(),
    )


def manifest_metrics(figures: Figures, split: str) -> list[pb.Metric]:
    """Return the key figures for the manifest of a bundle."""
    found = {
        "top1_accuracy": figures.accuracy,
        "top5_accuracy": figures.top5_accuracy,
        "balanced_accuracy": figures.balanced_accuracy,
        "log_loss": figures.log_loss,
        "calibration_error": figures.calibration_error,
    }
    return [
        pb.Metric(name=name, value=value, split=split)
        for name, value in found.items()
        if value is not None
    ]


def _classes(
    best: torch.Tensor, target: torch.Tensor, labels: Sequence[str]
) -> tuple[ClassFigures, ...]:
    count = len(labels)
    precision, recall, f1 = (
        compute(best, target, count, average="none").tolist()
        for compute in (tm.multiclass_precision, tm.multiclass_recall, tm.multiclass_f1_score)
    )
    inputs, predicted, correct = (
        torch.bincount(each, minlength=count).tolist()
        for each in (target, best, target[best == target])
    )
    return tuple(
        ClassFigures(
            label=label,
            inputs=inputs[index],
            predicted=predicted[index],
            precision=precision[index] if predicted[index] else None,
            recall=recall[index] if inputs[index] else None,
            f1=f1[index] if inputs[index] else None,
            precision_interval=_interval(correct[index], predicted[index]),
            recall_interval=_interval(correct[index], inputs[index]),
        )
        for index, label in enumerate(labels)
    )


def _calibration_error(confidence: torch.Tensor, right: torch.Tensor) -> float:
    below_one = confidence.double().clamp(0, BELOW_ONE)
    return float(
        tm.binary_calibration_error(below_one, right.long(), n_bins=_bin_count(len(right)))
    )


def _top5(rows: torch.Tensor, target: torch.Tensor, count: int) -> float | None:
    if count < MIN_CLASSES_FOR_TOP:
        return None
    return float(tm.multiclass_accuracy(rows, target, count, top_k=TOP, average="micro"))


def _bins(confidence: NDArray[np.float32], right: NDArray[np.bool_]) -> tuple[Bin, ...]:
    count = _bin_count(len(right))
    edges = np.linspace(0, 1, count + 1)
    # As in torchmetrics, a bin includes its lower edge.
    place = np.clip(np.searchsorted(edges, confidence, side="right") - 1, 0, count - 1)
    found = []
    for index in range(count):
        inside = place == index
        some = bool(inside.any())
        found.append(
            Bin(
                low=float(edges[index]),
                high=float(edges[index + 1]),
                inputs=int(inside.sum()),
                confidence=float(confidence[inside].mean(dtype=np.float64)) if some else None,
                accuracy=float(right[inside].mean()) if some else None,
            )
        )
    return tuple(found)


def _bin_count(inputs: int) -> int:
    return min(MAX_BINS, max(MIN_BINS, inputs // INPUTS_PER_BIN))


def _interval(correct: int, count: int) -> tuple[float, float] | None:
    return _wilson(correct, count) if count else None


def _wilson(correct: int, count: int) -> tuple[float, float]:
    """Return Wilson's interval of a share."""
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    share, square = correct / count, z * z / count
    center = (share + square / 2) / (1 + square)
    half = z / (1 + square) * math.sqrt(share * (1 - share) / count + square / (4 * count))
    return max(0.0, center - half), min(1.0, center + half)


def _plain(figures: Figures) -> dict[str, Any]:
    return asdict(figures)
