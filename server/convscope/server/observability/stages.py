"""How long each stage of an input took."""

from dataclasses import dataclass

__all__ = ["StageSeconds"]


@dataclass(slots=True)
class StageSeconds:
    """How long one input spent in each stage.

    Args:
        decode: Seconds until it had the graph's own shape.
        queue: Seconds that it waited, for a decoder and for a runner.
        infer: Seconds of the run that it was a part of.
        decode_began: The `time.perf_counter()` of that; 0 if it wasn't decoded.
    """

    decode: float = 0.0
    queue: float = 0.0
    infer: float = 0.0
    decode_began: float = 0.0

    @property
    def total(self) -> float:
        """All stages together."""
        return self.decode + self.queue + self.infer
