"""Pixels of floating point as uint8."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope.client.errors import InvalidInputError

__all__ = ["from_float"]


def from_float(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Return pixels with values from 0 to 1 as uint8, from 0 to 255.

    Args:
        array: The pixels, float [H, W, C] or [H, W].

    Raises:
        InvalidInputError: The array isn't of floating point, or a value is outside of 0 to 1.

    Example:
        >>> pixels = np.ones((28, 28), np.float32)
        >>> from_float(pixels).max().item()
        255
        >>> client.classify(from_float(pixels), model="digits").model
        'digits'
    """
    if not isinstance(array, np.ndarray) or not np.issubdtype(array.dtype, np.floating):
        given = array.dtype.name if isinstance(array, np.ndarray) else type(array).__name__
        raise InvalidInputError(f"from_float converts arrays of floating point, not {given}")
    if array.size and not (array.min() >= 0 and array.max() <= 1):  # false for NaN, too
        raise InvalidInputError(
            f"the values are from {array.min():g} to {array.max():g}; from_float converts values "
            "from 0 to 1; divide by 255, or undo the normalization of the model"
        )
    return np.rint(array * np.float32(255)).astype(np.uint8)
