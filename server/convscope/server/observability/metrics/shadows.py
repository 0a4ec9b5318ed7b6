"""What is counted of the copies that a shadow was given."""

from convscope.server.observability.metrics.families import SHADOW_OUTCOMES, Families

__all__ = ["ShadowMetrics"]


class ShadowMetrics:
    """What came of the copies that one version was given, compared with one that answered."""

    def __init__(self, families: Families, model: str, version: str, shadow: str) -> None:
        labels = (model, version, shadow)
        self._inputs = {o: families.shadow_inputs.labels(*labels, o) for o in SHADOW_OUTCOMES}
        self._difference = families.shadow_difference.labels(*labels)

    def count(self, outcome: str, inputs: int = 1) -> None:
        """Count inputs: "agreed", "disagreed", "dropped" or "failed"."""
        self._inputs[outcome].inc(inputs)

    def difference(self, value: float) -> None:
        """Observe the largest difference between the probabilities of one input."""
        self._difference.observe(value)
