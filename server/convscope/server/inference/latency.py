"""Corrects latency estimates by how far the earlier ones were off."""

from convscope.server.inference.moving_average import MovingAverage

__all__ = ["LatencyEstimator"]

# Smoothing factors. Slow results count more, so that the estimate holds for most
# results and not just for half of them.
_RISE, _FALL = 0.1, 0.02
# A single outlier must neither block a pipeline nor open it.
_MAX_RATIO = 5.0


class LatencyEstimator:
    """Scales an estimate by the average ratio of actual to estimated seconds.

    An estimate adds up stages as if each one had the cores to itself. In fact they
    share the cores with one another, with the event loop, and with other programs.
    """

    def __init__(self) -> None:
        self._ratio = MovingAverage(rise=_RISE, fall=_FALL, initial=1.0)

    def correct(self, estimated_seconds: float) -> float:
        """Return the seconds that requests with this estimate have recently taken."""
        return estimated_seconds * self._ratio.value

    def learn(self, estimated_seconds: float, actual_seconds: float) -> None:
        """Record how long a request with this estimate took."""
        if estimated_seconds > 0:
            ratio = actual_seconds / estimated_seconds
            self._ratio.add(min(max(ratio, 1 / _MAX_RATIO), _MAX_RATIO))
