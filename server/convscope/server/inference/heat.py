"""Heat that follows from a tensor alone."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["eigen_cam"]

Floats = NDArray[np.float32]


def eigen_cam(tensor: Floats) -> Floats:
    """Return the first principal component of a tensor's positions (Muhammad and Yeasin 2020).

    Args:
        tensor: float32 [channels, positions...].

    Returns:
        float32 [positions...], with the sign that correlates with the mean over the channels.
    """
    channels, positions = len(tensor), tensor.shape[1:]
    values = tensor.reshape(channels, -1).T.astype(np.float64)  # [positions, channels]
    values -= values.mean(axis=0)
    # Of the two products that have the same eigenvalues, the smaller one.
    if len(values) <= channels:
        strengths, vectors = np.linalg.eigh(values @ values.T)
        projected = vectors[:, -1] * np.sqrt(max(strengths[-1], 0.0))
    else:
        projected = values @ np.linalg.eigh(values.T @ values)[1][:, -1]
    if projected @ values.mean(axis=1) < 0:
        projected = -projected
    heat: Floats = projected.reshape(positions).astype(np.float32)
    return heat
