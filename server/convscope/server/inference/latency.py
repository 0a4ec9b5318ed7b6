"""How far estimates of the way to an answer were off, and what to make of the next one."""

__all__ = ["LatencyEstimator"]

# Bad news counts more, so that the estimate holds for most answers and not for half of them.
_GOOD_NEWS, _BAD_NEWS = 0.02, 0.1
# One strange answer must neither shut a lane nor open it.
_MOST_WRONG = 5.0


class LatencyEstimator:
    """Corrects estimates by what became of the earlier ones.

    An estimate adds up stages as if each had the cores to itself; in truth they
    share them with one another, with the event loop, and with other programs.
    """

    def __init__(self) -> None:
        self._factor = 1.0

    def correct(self, estimated_seconds: float) -> float:
        """Give the seconds that such an estimate has come to lately."""
        return estimated_seconds * self._factor

    def learn(self, estimated_seconds: float, actual_seconds: float) -> None:
        """Hear how long an answer took that was estimated so."""
        if estimated_seconds > 0:
            wrong = min(max(actual_seconds / estimated_seconds, 1 / _MOST_WRONG), _MOST_WRONG)
            news = _BAD_NEWS if wrong > self._factor else _GOOD_NEWS
            self._factor += news * (wrong - self._factor)
