"""What one version has done so far, in plain numbers."""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Total", "VersionTotals"]


@dataclass(slots=True)
class Total:
    """How often something was done, and how long it took altogether."""

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """Add what was done once more."""
        self.count += 1
        self.seconds += seconds


@dataclass(frozen=True, slots=True)
class VersionTotals:
    """What one version has done so far.

    Args:
        succeeded: Requests that were answered.
        failed: Requests that were not.
        stages: The stages of the answered inputs, by name.
        batches: The batches that ran.
        last_success_at: When a request was last answered, in seconds since
            1970; 0 if none was.
    """

    succeeded: Total
    failed: Total
    stages: Mapping[str, Total]
    batches: int
    last_success_at: float
