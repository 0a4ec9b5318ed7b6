"""When images arrive: Poisson processes whose rate changes with time."""

import math
from collections.abc import Callable, Iterator

import numpy as np

__all__ = ["Rate", "arrivals", "constant", "daily", "step"]

# Images per second at a time, in seconds from the start.
Rate = Callable[[float], float]

# The rate is constant within such a slice.
SLICE_SECONDS = 1.0


def constant(rate: float) -> Rate:
    """Return a rate that never changes."""
    return lambda at: rate


def step(before: float, after: float, *, begins: float, rise_seconds: float) -> Rate:
    """Return a rate that rises or falls linearly from one value to another."""

    def rate(at: float) -> float:
        share = min(1.0, max(0.0, (at - begins) / rise_seconds))
        return before + share * (after - before)

    return rate


def daily(mean: float, swing: float, *, period_seconds: float = 86400.0) -> Rate:
    """Return a rate that follows the day.

    Args:
        mean: The mean rate.
        swing: How much the highest rate exceeds the mean, and the lowest falls below it,
            relative to the mean; at most 1.
        period_seconds: The length of a day, which begins at the lowest rate.
    """

    def rate(at: float) -> float:
        return mean * (1 - swing * math.cos(2 * math.pi * at / period_seconds))

    return rate


def arrivals(rate: Rate, seconds: float, *, seed: int) -> Iterator[float]:
    """Yield the times at which images arrive, in order."""
    random = np.random.default_rng(seed)
    for start in np.arange(0.0, seconds, SLICE_SECONDS):
        length = min(SLICE_SECONDS, seconds - start)
        count = random.poisson(rate(start + length / 2) * length)
        yield from np.sort(random.uniform(start, start + length, count)).tolist()
