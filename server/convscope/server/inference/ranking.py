"""Finds the best classes of many inputs at once, and how undecided each input is."""

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["entropy_ratios", "rank"]

# Up to this number of classes, sorting all of them is fastest.
SMALL = 64
# Beyond that, up to this number of results, finding one after the other is faster.
FEW = 32
# Up to this number of values, the overhead of numpy's calls exceeds the work.
TINY = 64
_SMALLEST = np.finfo(np.float32).tiny


def rank(values: NDArray[np.float32], count: int) -> tuple[list[list[int]], list[list[float]]]:
    """Find the largest values of each row, the largest first; of equal values, the first.

    Args:
        values: float32 [n, classes]. If a value isn't finite, the result of its row has no meaning.
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
    is_selected = classes > SMALL and count <= FEW
    order = _largest(values, count) if is_selected else _sorted(values)[:, :count]
    return order.tolist(), values[np.arange(rows)[:, np.newaxis], order].tolist()


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
    """Find the largest values one after the other; of equal values, the first."""
    remaining, rows = values.copy(), np.arange(len(values))
    order = np.empty((len(values), count), np.intp)
    for position in range(count):
        columns = order[:, position] = remaining.argmax(axis=1)
        remaining[rows, columns] = -np.inf
    return order
