"""Comparison and plain values of results."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["rounded_seconds", "same_array", "to_plain"]

_DIGITS = 9  # no two 32-bit numbers have the same
_SECONDS_PLACES = 6


def same_array(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Report whether two arrays have the same elements; NaN is equal to NaN."""
    return one is other or np.array_equal(one, other, equal_nan=True)


def to_plain(value: Any) -> Any:
    """Return a value as JSON has it: lists for tuples and arrays, None for NaN and infinity.

    Numbers are 32-bit on the wire. They are rounded to 9 significant digits, which identify them.
    """
    if isinstance(value, np.ndarray):
        return to_plain(value.tolist())
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: to_plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(one) for one in value]
    return value


def rounded_seconds(seconds: float) -> float:
    """Return a duration rounded to a microsecond."""
    return round(seconds, _SECONDS_PLACES)
