"""The gates of an import: a bundle that differs from the original isn't published."""

import numpy as np
from numpy.typing import NDArray

from convscope.exporter.errors import ParityError
from convscope.exporter.graphs.comparison import (
    TOLERANCE,
    OutputDifference,
    check_tolerance,
    compare,
)
from convscope.exporter.graphs.sessions import Arrays
from convscope.exporter.outputs.probabilities import check_probabilities

__all__ = ["check_parity"]


def check_parity(found: Arrays, expected: Arrays) -> list[OutputDifference]:
    """Compare every output with the original's, for single images.

    Args:
        found: The outputs of the bundle's graph, of each image alone, [n, ...].
        expected: The original's outputs for the same images, which are finite.

    Returns:
        The largest difference of each output.

    Raises:
        ParityError: An output differs by more than the tolerance, or the best
            class differs.
    """
    differences = [
        OutputDifference(name, values.shape[1:], compare(name, found[name], values))
        for name, values in expected.items()
    ]
    check_tolerance(differences, "the joined graph", "the original")
    check_probabilities(found["probabilities"], expected["probabilities"], "the original's")
    _check_best(found["probabilities"], expected["probabilities"])
    return differences


def _check_best(ours: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    """Check for the same best class, or an equally good one: some graphs return equal values."""
    rows = np.arange(len(ours))
    lost = expected.max(axis=1) - expected[rows, ours.argmax(axis=1)]
    if (lost > TOLERANCE).any():
        raise ParityError("the best class of an image differs from the original's")
