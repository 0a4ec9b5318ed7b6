"""Rounds the weights of a layer so that its outputs change as little as possible.

Frantar et al. 2022, GPTQ: the columns are rounded one after the other, and each error is
compensated in the columns that follow, weighted by the second moments of the inputs.
"""

import numpy as np
from numpy.typing import NDArray

from convscope.exporter.quantization.layers import Layer

__all__ = ["MAX_COLUMNS", "round_weights", "weight_scales"]

LEVELS = 127
# Above this, the matrix of moments would take gigabytes, and inverting it minutes.
MAX_COLUMNS = 4608
_DAMPING = 0.01
_SMALLEST = 1e-10
_BLOCK = 128

Matrix = NDArray[np.float64]


def weight_scales(layer: Layer) -> Matrix:
    """Return the scale of each output's weights, float64 [outputs]."""
    return np.asarray(np.maximum(np.abs(layer.rows).max(axis=1) / LEVELS, _SMALLEST))


def round_weights(layer: Layer, moments: Matrix | None) -> Matrix:
    """Round the weights of a layer to multiples of their scales.

    Args:
        layer: The layer.
        moments: The sums of the products of its inputs, float64 [groups, K, K]; None to round
            to the nearest.

    Returns:
        The rounded weights, float64 [outputs, K].
    """
    rows, scales = layer.rows, weight_scales(layer)
    if moments is None:
        return _nearest(rows, scales[:, np.newaxis])
    grouped = (layer.groups, -1, rows.shape[1])
    rounded = _compensated(
        rows.reshape(grouped), moments, scales.reshape(layer.groups, -1)[..., np.newaxis]
    )
    return rounded.reshape(rows.shape)


def _nearest(values: Matrix, scales: Matrix) -> Matrix:
    return np.asarray(np.clip(np.rint(values / scales), -LEVELS, LEVELS) * scales)


def _compensated(rows: Matrix, moments: Matrix, scales: Matrix) -> Matrix:
    """Round the rows of each group, float64 [groups, n, K], which share their inputs."""
    columns = rows.shape[2]
    diagonal = np.diagonal(moments, axis1=1, axis2=2)  # [groups, K]
    # The errors of the largest inputs are compensated most.
    order = np.argsort(-diagonal.mean(axis=0))
    damping = _DAMPING * diagonal.mean(axis=1) + _SMALLEST
    damped = moments[:, order][:, :, order] + damping[:, np.newaxis, np.newaxis] * np.eye(columns)
    upper = np.linalg.cholesky(np.linalg.inv(damped)).transpose(0, 2, 1)
    rest = rows[:, :, order].copy()
    rounded = np.zeros_like(rest)
    for start in range(0, columns, _BLOCK):
        stop = min(start + _BLOCK, columns)
        errors = np.zeros((*rest.shape[:2], stop - start))
        for column in range(start, stop):
            own = slice(column, column + 1)
            rounded[:, :, own] = _nearest(rest[:, :, own], scales)
            error = (rest[:, :, own] - rounded[:, :, own]) / upper[:, own, own]  # [groups, n, 1]
            rest[:, :, column:stop] -= error * upper[:, own, column:stop]
            errors[:, :, column - start] = error[:, :, 0]
        rest[:, :, stop:] -= errors @ upper[:, start:stop, stop:]
    found = np.empty_like(rounded)
    found[:, :, order] = rounded
    return found
