"""Finds the inputs whose results contain NaN or infinity."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from convscope.server.runtime.model import ModelOutput

__all__ = ["NonFiniteRows"]

Floats = NDArray[np.float32]
Rows = NDArray[np.bool_]

# Up to this number of values, one product of the values with themselves is faster than
# looking at each, and BLAS computes it in the calling thread.
_SMALL = 8192


class NonFiniteRows:
    """Which rows of a batch contain NaN or infinity, in which of its outputs.

    Args:
        output: The arrays of the batch.
    """

    def __init__(self, output: ModelOutput) -> None:
        self._probabilities = _bad_rows(output.probabilities)
        self._logits = None if output.logits is None else _bad_rows(output.logits)
        maps = ((name, _bad_rows(array)) for name, array in output.feature_maps.items())
        self._maps: Mapping[str, Rows] = {name: rows for name, rows in maps if rows is not None}
        self._heat = None if output.heat is None else _bad_rows(output.heat.values)
        self._all_finite = (
            self._probabilities is self._logits is self._heat is None and not self._maps
        )

    def among(self, rows: slice, feature_maps: Sequence[str], *, logits: bool) -> tuple[int, ...]:
        """Return the positions in a part of the batch of inputs without a finite result.

        Args:
            rows: The part.
            feature_maps: The feature maps that it returns; the others don't matter.
            logits: Whether it returns the logits.
        """
        if self._all_finite:
            return ()
        masks = [self._probabilities, self._heat, self._logits if logits else None]
        masks += [self._maps.get(name) for name in feature_maps]
        found = [mask[rows] for mask in masks if mask is not None]
        if not found:
            return ()
        positions: list[int] = np.flatnonzero(np.logical_or.reduce(found)).tolist()
        return tuple(positions)


def _bad_rows(values: Floats) -> Rows | None:
    """Return for each row whether a value isn't finite; None if all values are."""
    # A large value's square may be infinite, so the rows decide.
    if values.size <= _SMALL and math.isfinite(np.vdot(values, values)):
        return None
    finite = np.isfinite(values)
    if finite.all():
        return None
    return np.logical_not(finite.reshape(len(values), -1).all(axis=1))
