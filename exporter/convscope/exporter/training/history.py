"""The metrics of each epoch: which one is the best, and when patience ends a run."""

import csv
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from io import StringIO

__all__ = ["EpochMetrics", "best_epoch", "is_out_of_patience", "metrics_csv"]

# A smaller decrease of the validation loss doesn't renew the patience.
MIN_DECREASE = 1e-4


@dataclass(frozen=True, slots=True)
class EpochMetrics:
    """The metrics of one epoch, and the columns of `metrics.csv`.

    Args:
        epoch: The number of the epoch; the first is 1.
        train_loss: The mean loss of the epoch's batches, with augmentation.
        val_loss: The mean loss of the validation inputs, after the epoch.
        val_accuracy: The fraction of the validation inputs that are classified correctly.
        learning_rate: The rate at the start of the epoch.
        seconds: The duration of training and validation.
        train_accuracy: The fraction of the epoch's training inputs that were classified
            correctly, with augmentation and before each step; None in older runs.
    """

    epoch: int
    train_loss: float
    val_loss: float
    val_accuracy: float
    learning_rate: float
    seconds: float
    train_accuracy: float | None = None


def best_epoch(history: Sequence[EpochMetrics]) -> EpochMetrics:
    """Return the epoch with the lowest validation loss, the first of equal ones."""
    return min(history, key=lambda metrics: _comparable(metrics.val_loss))


def is_out_of_patience(history: Sequence[EpochMetrics], patience: int | None) -> bool:
    """Return whether the validation loss didn't decrease for this many epochs."""
    if patience is None or len(history) <= patience:
        return False
    earlier, latest = history[:-patience], history[-patience:]
    lowest, recent = (
        min(_comparable(metrics.val_loss) for metrics in part) for part in (earlier, latest)
    )
    return recent > lowest - MIN_DECREASE


def metrics_csv(history: Sequence[EpochMetrics]) -> str:
    """Format a history as CSV with a header."""
    text = StringIO(newline="")
    writer = csv.DictWriter(text, [field.name for field in fields(EpochMetrics)])
    writer.writeheader()
    writer.writerows(asdict(metrics) for metrics in history)
    return text.getvalue()


def _comparable(loss: float) -> float:
    return loss if math.isfinite(loss) else math.inf
