"""What validating a version took."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

__all__ = ["Figures"]


@dataclass(frozen=True, slots=True)
class Figures:
    """What validating a version took.

    Args:
        session_bytes: The memory of its plain session.
        batch_bytes: The peak of the memory during a full batch, beside its session.
        peak_bytes: The peak of the memory over all checks.
        batch: The inputs of that batch.
        cpu_seconds: Seconds of CPU.
        seconds: Seconds by the clock.
    """

    session_bytes: int = 0
    batch_bytes: int = 0
    peak_bytes: int = 0
    batch: int = 0
    cpu_seconds: float = 0.0
    seconds: float = 0.0

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Read the figures that a process has sent; what is missing is 0."""
        names = [field.name for field in fields(cls)]
        return cls(**{n: values[n] for n in names if isinstance(values.get(n), int | float)})
