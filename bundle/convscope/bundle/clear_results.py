"""Which classes a result names, and when it is clear: when arithmetic doesn't turn it."""

import numpy as np
from numpy.typing import NDArray

from convscope.v1 import manifest_pb2 as pb

__all__ = ["CLEAR_MARGIN", "THRESHOLD", "has_independent_classes", "margins", "named_classes"]

# Below this margin between the probabilities of the two best classes, the network itself is
# unsure, and even 16-bit arithmetic swaps some of them.
CLEAR_MARGIN = 0.1
# A result names an independent class from this probability on.
THRESHOLD = 0.5


def has_independent_classes(manifest: pb.ModelManifest) -> bool:
    """Return whether each class has a probability of its own, so that a result can name several."""
    return manifest.activation == pb.ACTIVATION_SIGMOID


def named_classes(
    probabilities: NDArray[np.float32], *, independent: bool = False
) -> NDArray[np.bool_]:
    """Return which classes results name, [..., K]: the best one, or all that are probable.

    Args:
        probabilities: [..., K].
        independent: Whether each class has a probability of its own.
    """
    if independent:
        probable: NDArray[np.bool_] = probabilities >= THRESHOLD
        return probable
    named = np.zeros(probabilities.shape, np.bool_)
    best = probabilities.argmax(axis=-1, keepdims=True)
    np.put_along_axis(named, best, values=True, axis=-1)
    return named


def margins(
    probabilities: NDArray[np.float32], *, independent: bool = False
) -> NDArray[np.float32]:
    """Return by how much the best class leads, [...]; of a single class, its probability.

    Of independent classes, it is by how much the least certain one is more probable than not, or
    less: for two classes that exclude each other, this is the same.

    Args:
        probabilities: [..., K].
        independent: Whether each class has a probability of its own.
    """
    if independent:
        certainty: NDArray[np.float32] = 2 * np.abs(probabilities - THRESHOLD)
        least: NDArray[np.float32] = certainty.min(axis=-1)
        return least
    if probabilities.shape[-1] < 2:
        return probabilities[..., 0]
    top = np.partition(probabilities, -2, axis=-1)
    return top[..., -1] - top[..., -2]
