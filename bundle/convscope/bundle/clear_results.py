"""When a result is clear: its best class leads by a margin that arithmetic doesn't turn."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["CLEAR_MARGIN", "margins"]

# Below this margin between the probabilities of the two best classes, the network itself is
# unsure, and even 16-bit arithmetic swaps some of them.
CLEAR_MARGIN = 0.1


def margins(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return by how much the best class leads, [...]; of a single class, its probability.

    Args:
        probabilities: [..., K].
    """
    if probabilities.shape[-1] < 2:
        return probabilities[..., 0]
    top = np.partition(probabilities, -2, axis=-1)
    return top[..., -1] - top[..., -2]
