"""The context of a measurement: directories, durations and repetitions."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

__all__ = ["BASE", "ROOT", "Bench", "Samples", "interleave", "ratio"]

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "bench"
BASE = ROOT / "models"

Samples = dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Bench:
    """One run of the bench.

    Args:
        scratch: A directory that is removed afterwards.
        quick: Whether to take one short repetition only, to check that it works.
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

    @property
    def repetitions(self) -> int:
        """Return how often each side of a comparison is measured."""
        return 1 if self.quick else 3

    def seconds(self, whole: float) -> float:
        """Return the duration of a measurement; a full run takes `whole` seconds."""
        return min(whole, 2.0) if self.quick else whole

    def count(self, whole: int) -> int:
        """Return the number of items; a full run takes `whole`."""
        return max(1, whole // 20) if self.quick else whole


def interleave(repetitions: int, **sides: Callable[[], float]) -> Samples:
    """Measure A B A B …, so that a slow phase of the machine affects both sides."""
    samples: Samples = {name: [] for name in sides}
    for _ in range(repetitions):
        for name, measure in sides.items():
            samples[name].append(measure())
    return samples


def ratio(samples: Samples, above: str, below: str) -> float:
    """Return the median of one side divided by the median of the other."""
    return median(samples[above]) / median(samples[below])
