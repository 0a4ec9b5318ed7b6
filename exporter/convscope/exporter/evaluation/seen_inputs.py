"""Leaves out the inputs that a training has seen, and describes what was done with them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from convscope.exporter.datasets import ImageFiles, Samples, Split
from convscope.exporter.evaluation.trained_on import TrainedOn

__all__ = [
    "notes_on_training",
    "recorded_name",
    "warning_of_unknown_training",
    "without_seen",
]


def without_seen(samples: Samples, hashes: Sequence[str], seen: frozenset[str]) -> Samples:
    """Return the inputs that no training has seen.

    Args:
        samples: The inputs.
        hashes: The hash of each.
        seen: The hashes of those that a training has seen.
    """
    if seen.isdisjoint(hashes):
        return samples
    rows = np.array([row for row, one in enumerate(hashes) if one not in seen], np.int64)
    if isinstance(samples, ImageFiles):
        return ImageFiles([samples.paths[row] for row in rows.tolist()], samples.labels[rows])
    return Split(samples.inputs[rows], samples.labels[rows])


def notes_on_training(
    name: str,
    trained: Sequence[TrainedOn],
    same: Sequence[TrainedOn],
    seen: int,
    counts_seen: bool,
) -> Iterator[str]:
    """Yield which inputs the training has seen, and whether they count.

    Args:
        name: The dataset as users write it.
        trained: What each model was trained on.
        same: Those of them that were trained on this dataset.
        seen: The number of inputs that a training has seen, as far as runs record it.
        counts_seen: Whether these inputs count.
    """
    known = [one for one in trained if one.seen is not None and one.shares_kind(name)]
    if known and counts_seen:
        yield f"{_inputs(seen)} in the training of {_titles(known)}"
    elif seen:
        yield (
            f"{_inputs(seen)} in the training of {_titles(known)} and {_are(seen)} left out "
            "(recognized by content)"
        )
    elif others := [one for one in known if one not in same]:
        yield f"none of these inputs was in the training of {_titles(others)} (compared by content)"
    by_split = [one for one in same if one not in known or not (seen or counts_seen)]
    if by_split:
        how = "name" if any(one.digest is None for one in by_split) else "content"
        kept = "included" if counts_seen else "left out"
        yield f"the training inputs of {_titles(by_split)} are {kept} (recognized by {how})"


def warning_of_unknown_training(
    name: str, trained: Sequence[TrainedOn], same: Sequence[TrainedOn]
) -> str | None:
    """Return a warning if it isn't known which inputs a model was trained on."""
    unknown = [
        one for one in trained if one.shares_kind(name) and one.seen is None and one not in same
    ]
    if not unknown:
        return None
    return (
        f"the inputs of the training of {_titles(unknown)} are not known here, so some of these "
        "may be among them; pass its run with --run to leave them out"
    )


def recorded_name(name: str) -> str:
    """Return the name of a dataset in the provenance of a model that was trained on it."""
    kind, separator, path = name.partition(":")
    return f"{kind}:{Path(path).resolve().name}" if separator else name


def _inputs(count: int) -> str:
    return f"{count:,} inputs were" if count != 1 else "1 input was"


def _are(count: int) -> str:
    return "are" if count != 1 else "is"


def _titles(models: Sequence[TrainedOn]) -> str:
    return " and ".join(dict.fromkeys(one.title for one in models))
