"""Comparison and plain values of results."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["same_array", "to_plain"]


def same_array(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Report whether two arrays have the same elements; NaN is equal to NaN."""
    return one is other or np.array_equal(one, other, equal_nan=True)


def to_plain(value: Any) -> Any:
    """Return a value as JSON has it: lists for tuples and arrays, None for NaN and infinity."""
    if isinstance(value, np.ndarray):
        return to_plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: to_plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(one) for one in value]
    return value
