"""Token buckets of callers."""

from collections.abc import Callable
from time import monotonic

__all__ = ["Rate"]


class Rate:
    """A token bucket that a single large request may overdraw.

    What is taken is known only after the request is received. A request is admitted while one
    image or byte is left, and the ones after it wait until its overdraft is filled up again. So
    the average is kept, and no request is too large for the burst.

    Args:
        per_second: How much flows in.
        burst_seconds: For how long unused amounts add up.
        time: Returns the time.
    """

    __slots__ = ("_at", "_burst", "_least", "_level", "_time", "per_second")

    def __init__(
        self, per_second: float, burst_seconds: float, time: Callable[[], float] = monotonic
    ) -> None:
        self.per_second = per_second
        self._time = time
        self._burst = self._level = per_second * burst_seconds
        self._least = min(1.0, self._burst)  # for less than that, no request is admitted
        self._at = time()

    def wait_seconds(self) -> float:
        """Return how long the next request has to wait; 0 if it is admitted."""
        self._fill()
        missing = self._least - self._level
        return 0.0 if missing <= 0 else max(0.001, missing / self.per_second)

    def take(self, amount: float) -> None:
        """Take what an admitted request needs."""
        self._fill()
        self._level -= amount

    def continue_from(self, before: "Rate") -> None:
        """Keep the state of a bucket that this one replaces, so that a reload fills nothing up."""
        before._fill()
        # A share of the burst, because the rate may be another one.
        self._level = self._burst * min(1.0, before._level / before._burst)

    def _fill(self) -> None:
        now = self._time()
        self._level = min(self._burst, self._level + (now - self._at) * self.per_second)
        self._at = now
