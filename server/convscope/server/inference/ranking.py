"""Finds the best classes of many inputs at once, and how undecided each input is."""

import math
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["entropy_ratios", "rank"]

T = TypeVar("T", bound=np.generic)

# Up to this number of classes, sorting all of them is faster than selecting first.
SMALL = 64
# Up to this number of values, the overhead of numpy's calls exceeds the work.
TINY = 64
_SMALLEST = np.finfo(np.float32).tiny


def rank(values: NDArray[np.float32], count: int) -> tuple[list[list[int]], list[list[float]]]:
    """Find the largest values of each row, the largest first; of equal values, the first.

    Args:
        values: float32 [n, classes].
        count: How many of each row, at most all.

    Returns:
        Their indices and the values themselves, n lists each.
    """
    rows, classes = values.shape
    count = min(count, classes)
    if count == 0:
        return [[]] * rows, [[]] * rows
    if rows * classes <= TINY:
        return _rank_in_python(values.tolist(), count)
    order = _largest(values, count) if classes > SMALL else _sorted(values)[:, :count]
    return order.tolist(), _gather(values, order).tolist()


def entropy_ratios(probabilities: NDArray[np.float32]) -> list[float]:
    """Return the entropy of each row, relative to that of a uniform row, 0 to 1.

    Args:
        probabilities: float32 [n, classes], each row with a sum of 1.
    """
    classes = probabilities.shape[1]
    if classes < 2:
        return [0.0] * len(probabilities)
    if probabilities.size <= TINY:
        uniform = math.log(classes)
        return [_entropy(row) / uniform for row in probabilities.tolist()]
    # A probability of 0 adds nothing, and its logarithm is not defined.
    logarithms = np.log(np.maximum(probabilities, _SMALLEST))
    entropies = (probabilities * logarithms).sum(axis=1) / -math.log(classes)
    ratios: list[float] = entropies.tolist()
    return ratios


def _entropy(row: list[float]) -> float:
    return -sum(value * math.log(value) for value in row if value > 0)


def _rank_in_python(
    values: list[list[float]], count: int
) -> tuple[list[list[int]], list[list[float]]]:
    order = [sorted(range(len(v)), key=v.__getitem__, reverse=True)[:count] for v in values]
    return order, [[v[i] for i in indices] for v, indices in zip(values, order, strict=True)]


def _sorted(values: NDArray[np.float32]) -> NDArray[np.intp]:
    return np.argsort(-values, axis=1, kind="stable")


def _largest(values: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    if count == values.shape[1]:
        return _sorted(values)
    chosen = np.argpartition(-values, count - 1, axis=1)[:, :count]
    chosen.sort(axis=1)
    order = _gather(chosen, _sorted(_gather(values, chosen)))
    candidates = values >= _gather(values, order[:, -1:])  # bool [n, classes]
    if np.count_nonzero(candidates) != order.size:
        # Others equal the smallest that was chosen. Without a rule, the classes of an input
        # would depend on the count, which is that of the whole batch.
        for row in np.flatnonzero(candidates.sum(axis=1) > count):
            equal = np.flatnonzero(candidates[row])
            order[row] = equal[np.argsort(-values[row, equal], kind="stable")[:count]]
    return order


def _gather(values: NDArray[T], columns: NDArray[np.intp]) -> NDArray[T]:
    """Return the values of some columns of each row; numpy's function for it takes much longer."""
    return values[np.arange(len(values))[:, np.newaxis], columns]
