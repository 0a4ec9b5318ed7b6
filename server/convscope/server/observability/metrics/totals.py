"""The totals of one version, in plain numbers."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

__all__ = ["MergedTotals", "Total", "TotalsByVersion", "VersionTotals", "from_json", "to_json"]


@dataclass(slots=True)
class Total:
    """How often something was done, and how long it took in total."""

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """Count it once more."""
        self.count += 1
        self.seconds += seconds

    def __add__(self, other: "Total") -> "Total":
        return Total(self.count + other.count, self.seconds + other.seconds)


@dataclass(frozen=True, slots=True)
class VersionTotals:
    """The totals of one version since it was loaded.

    Args:
        succeeded: Requests that were answered.
        failed: Requests that were not.
        stages: The stages of the answered inputs, by name.
        batches: The batches that ran.
        last_success_at: When a request was last answered, in seconds since
            1970; 0 if none was.
    """

    succeeded: Total
    failed: Total
    stages: Mapping[str, Total]
    batches: int
    last_success_at: float

    def __add__(self, other: "VersionTotals") -> "VersionTotals":
        return VersionTotals(
            self.succeeded + other.succeeded,
            self.failed + other.failed,
            {name: total + other.stages[name] for name, total in self.stages.items()},
            self.batches + other.batches,
            max(self.last_success_at, other.last_success_at),
        )

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """Return the totals that `asdict` made values of."""
        return cls(
            Total(**values["succeeded"]),
            Total(**values["failed"]),
            {name: Total(**total) for name, total in values["stages"].items()},
            values["batches"],
            values["last_success_at"],
        )


TotalsByVersion = Mapping[tuple[str, int], VersionTotals]
"""Totals by a model's name and a version."""


def to_json(totals: TotalsByVersion) -> list[list[Any]]:
    """Return totals as lists, strings and numbers for JSON."""
    return [[model, number, asdict(one)] for (model, number), one in totals.items()]


def from_json(values: Iterable[tuple[str, int, Mapping[str, Any]]]) -> TotalsByVersion:
    """Return what `to_json` was given."""
    return {(model, number): VersionTotals.from_values(one) for model, number, one in values}


class MergedTotals:
    """The latest totals of several worker processes.

    What a worker counted before it ended is kept, as long as another one has the version: versions
    that are gone must not add up for ever.
    """

    def __init__(self) -> None:
        self._workers: dict[int, TotalsByVersion] = {}
        self._retired: TotalsByVersion = {}

    def update(self, worker_index: int, totals: TotalsByVersion) -> None:
        """Replace the totals of a worker by newer ones."""
        self._workers[worker_index] = totals
        known = {key for found in self._workers.values() for key in found}
        self._retired = {key: found for key, found in self._retired.items() if key in known}

    def retire(self, worker_index: int) -> None:
        """Keep the totals of a worker that has ended."""
        ended = self._workers.pop(worker_index, {})
        self._retired = _sum([self._retired, ended])

    def of_others(self, worker_index: int) -> TotalsByVersion:
        """Return what was counted by all workers but one, of the versions that it has."""
        known = self._workers[worker_index].keys()
        others = [t for index, t in self._workers.items() if index != worker_index]
        found = _sum([self._retired, *others])
        return {key: totals for key, totals in found.items() if key in known}


def _sum(parts: Iterable[TotalsByVersion]) -> TotalsByVersion:
    merged: dict[tuple[str, int], VersionTotals] = {}
    for part in parts:
        for key, totals in part.items():
            merged[key] = merged[key] + totals if key in merged else totals
    return merged
