"""Warns about a network that is no better than guessing."""

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

__all__ = ["chance_warning"]

# An accuracy that guessing reaches with a higher probability may be chance.
SIGNIFICANCE = 0.05


def chance_warning(accuracy: float, labels: NDArray[np.int64]) -> str | None:
    """Return a sentence if an accuracy may come from always answering the most frequent class.

    Args:
        accuracy: The share of correct results.
        labels: The classes of the test inputs, int64 [N].
    """
    total, most = len(labels), int(np.bincount(labels).max())
    share = most / total
    if share == 1:  # one class is no test
        return None
    correct = round(accuracy * total)
    # The normal approximation of the binomial distribution, with continuity correction.
    deviation = (correct - 0.5 - most) / math.sqrt(total * share * (1 - share))
    if 1 - NormalDist().cdf(deviation) < SIGNIFICANCE:
        return None
    guess = f"always answering the most frequent class, which has {share:.1%} of the test inputs"
    if correct <= most:
        return f"the accuracy of {accuracy:.1%} is no better than {guess}"
    return f"the accuracy of {accuracy:.1%} isn't clearly better than {guess}"
