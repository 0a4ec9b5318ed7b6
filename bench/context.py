"""The context of a measurement: directories, durations and repetitions."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.sampling import Sample, Samples, interleave

__all__ = ["BASE", "ROOT", "Bench"]

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "bench"
BASE = ROOT / "models"


@dataclass(frozen=True, slots=True)
class Bench:
    """One run of the bench.

    Args:
        scratch: A directory that is removed afterwards.
        quick: Whether to take one short repetition only, also on a busy machine, to check that
            everything works.
        peers: The peers to measure.
    """

    scratch: Path
    quick: bool = False
    peers: tuple[str, ...] = ()

    @property
    def cache(self) -> Path:
        """Return the directory of what is slow to make and is kept: bundles, environments."""
        return CACHE

    @property
    def tuning_cache(self) -> Path:
        """Return the file in which the servers of this run keep what they measured at load."""
        return self.scratch / "tuning.json"

    def interleave(self, repetitions: int = 3, **sides: Callable[[], Sample]) -> Samples:
        """Measure the sides alternately. A full run takes that many pairs.

        Raises:
            BenchError: Other programs used too much of the machine.
        """
        if self.quick:
            return interleave(1, sides, quiet_share=1.0)
        return interleave(repetitions, sides)

    def seconds(self, whole: float) -> float:
        """Return the duration of a measurement; a full run takes `whole` seconds."""
        return min(whole, 2.0) if self.quick else whole

    def count(self, whole: int) -> int:
        """Return the number of items; a full run takes `whole`."""
        return max(1, whole // 20) if self.quick else whole
