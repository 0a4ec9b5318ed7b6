"""Reads the record of a training run: run.json and metrics.csv."""

import csv
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["MIN_VALIDATION", "Epoch", "TrainingRun", "read_run"]

# With fewer validation inputs, their loss is no reliable guide.
MIN_VALIDATION = 30
SETTINGS, CURVES = "run.json", "metrics.csv"
COLUMNS = (
    "train_loss",
    "train_accuracy",
    "val_loss",
    "val_accuracy",
    "learning_rate",
    "seconds",
)


@dataclass(frozen=True, slots=True)
class Epoch:
    """One row of metrics.csv; None where a value is missing."""

    epoch: int
    train_loss: float | None
    train_accuracy: float | None
    val_loss: float | None
    val_accuracy: float | None
    learning_rate: float | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """What a training run recorded.

    Args:
        epochs: Its learning curves.
        settings: The content of run.json.
    """

    epochs: tuple[Epoch, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def best_epoch(self) -> int | None:
        """The epoch whose weights were published."""
        found = self.settings.get("best_epoch")
        return found if isinstance(found, int) else None

    @property
    def seconds(self) -> float | None:
        """The time of all epochs."""
        known = [one.seconds for one in self.epochs if one.seconds is not None]
        return sum(known) if known else None

    def majority_share(self, part: str) -> float | None:
        """Return the share of the most frequent class in a part of the dataset, if recorded."""
        parts = self.settings.get("split")
        counts = parts.get(part) if isinstance(parts, dict) else None
        if not isinstance(counts, dict) or not sum(counts.values()):
            return None
        return float(max(counts.values()) / sum(counts.values()))

    def split_sizes(self) -> dict[str, int]:
        """Return the number of inputs of each part of the dataset, as far as they are recorded."""
        parts = self.settings.get("split")
        if not isinstance(parts, dict):
            return {}
        return {
            name: sum(counts.values()) for name, counts in parts.items() if isinstance(counts, dict)
        }


def read_run(directory: Path) -> TrainingRun:
    """Read what a run recorded; files that are missing or damaged are left out."""
    try:
        settings = json.loads((directory / SETTINGS).read_text())
    except (OSError, ValueError):
        settings = {}
    return TrainingRun(_epochs(directory / CURVES), settings if isinstance(settings, dict) else {})


def _epochs(path: Path) -> tuple[Epoch, ...]:
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError:
        return ()
    # A resumed run may have written an epoch twice; the later row counts.
    found = {epoch: row for row in rows if (epoch := _number(row.get("epoch"))) is not None}
    return tuple(
        Epoch(
            int(epoch),
            *(_number(row.get(name)) for name in COLUMNS),
        )
        for epoch, row in sorted(found.items())
    )


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
