"""The metrics of one version's shadow."""

from convscope.server.observability.metrics.families import SHADOW_OUTCOMES, Scope
from convscope.server.observability.metrics.series import Families, Series

__all__ = ["ShadowMetrics"]


class ShadowMetrics:
    """How the results of a shadow compare with the answers of another version."""

    def __init__(self, families: Families, model: str, version: str, shadow: str) -> None:
        self._series = Series(families, Scope.SHADOW, model, version, shadow)
        self._inputs = {
            outcome: self._series.counter("convscope_shadow_inputs", outcome)
            for outcome in SHADOW_OUTCOMES
        }
        self._difference = self._series.histogram("convscope_shadow_difference")

    def count(self, outcome: str, inputs: int = 1) -> None:
        """Count inputs: "agreed", "disagreed", "dropped" or "failed"."""
        self._inputs[outcome].inc(inputs)

    def difference(self, value: float) -> None:
        """Observe the largest difference between the probabilities of one input."""
        self._difference.observe(value)

    def forget(self) -> None:
        """Remove the series."""
        self._series.remove()
