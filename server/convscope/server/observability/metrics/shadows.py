"""The metrics of one version's shadow."""

from convscope.server.observability.metrics.families import (
    SHADOW_OUTCOMES,
    SHADOW_SIDES,
    SHADOW_VERDICTS,
    Scope,
)
from convscope.server.observability.metrics.series import Families, Series

__all__ = ["ShadowMetrics"]


class ShadowMetrics:
    """How the results of a shadow compare with the answers of another version."""

    def __init__(self, families: Families, model: str, version: str, shadow: str) -> None:
        self._series = series = Series(families, Scope.SHADOW, model, version, shadow)
        self._inputs = {
            outcome: series.counter("convscope_shadow_inputs", outcome)
            for outcome in SHADOW_OUTCOMES
        }
        self._clear = {
            outcome: series.counter("convscope_shadow_clear_inputs", outcome)
            for outcome in SHADOW_VERDICTS
        }
        self._difference = series.histogram("convscope_shadow_difference")
        self._top1_change = series.histogram("convscope_shadow_top1_change")
        self._answer, self._shadow = (
            series.histogram("convscope_shadow_infer_seconds", side) for side in SHADOW_SIDES
        )

    def count(self, outcome: str, inputs: int = 1) -> None:
        """Count inputs: "agreed", "disagreed", "dropped" or "failed"."""
        self._inputs[outcome].inc(inputs)

    def compared(self, *, agreed: bool, clear: bool) -> None:
        """Count an input with two results.

        Args:
            agreed: Whether they name the same classes.
            clear: Whether the answer is clear.
        """
        outcome = "agreed" if agreed else "disagreed"
        self._inputs[outcome].inc()
        if clear:
            self._clear[outcome].inc()

    def changes(self, largest: float, top1: float) -> None:
        """Observe the changes of one input's probabilities.

        Args:
            largest: The largest change of all classes.
            top1: The change of the answer's best class.
        """
        self._difference.observe(largest)
        self._top1_change.observe(top1)

    def infer_seconds(self, answer: float, shadow: float) -> None:
        """Observe the seconds of the two runs that an input was part of."""
        self._answer.observe(answer)
        self._shadow.observe(shadow)

    def forget(self) -> None:
        """Remove the series."""
        self._series.remove()
