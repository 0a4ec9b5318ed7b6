"""The gate for probabilities: callers receive what the original network returns."""

import numpy as np
from numpy.typing import NDArray

from convscope.exporter.errors import ParityError
from convscope.exporter.graphs.comparison import TOLERANCE

__all__ = ["check_probabilities"]


def check_probabilities(
    ours: NDArray[np.float32], expected: NDArray[np.float32], reference: str
) -> float:
    """Compare a bundle's probabilities with those that follow from the original's final output.

    Args:
        ours: The bundle's probabilities, [n, K].
        expected: The original's, [n, K].
        reference: Whose they are, for the message.

    Returns:
        The largest difference.

    Raises:
        ParityError: They differ by more than the tolerance.
    """
    if ours.shape != expected.shape:
        raise ParityError(
            f"the bundle returns probabilities {list(ours.shape)}, the original {expected.shape}"
        )
    difference = float(np.abs(ours - expected).max(initial=0.0))
    if not difference <= TOLERANCE:
        raise ParityError(
            f"the bundle's probabilities differ from {reference} final output by "
            f"{difference:.2e}; at most {TOLERANCE:.0e} is allowed"
        )
    return difference
