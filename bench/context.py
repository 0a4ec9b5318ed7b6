"""What every measurement is given: where things lie, and how long to measure."""

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
        quick: Whether one short repetition is enough, to see that it works.
        peers: Which peers are measured.
    """

    scratch: Path
    quick: bool = False
    peers: tuple[str, ...] = ()

    @property
    def cache(self) -> Path:
        """What is slow to make and stays: bundles, environments."""
        return CACHE

    @property
    def tuning_cache(self) -> Path:
        """Return the file in which the servers of this run keep what they measured at load."""
        return self.scratch / "tuning.json"

    @property
    def repetitions(self) -> int:
        """How often each side of a comparison is measured."""
        return 1 if self.quick else 3

    def seconds(self, whole: float) -> float:
        """How long to measure for, when a whole run takes so long."""
        return min(whole, 2.0) if self.quick else whole

    def count(self, whole: int) -> int:
        """How many of something, when a whole run takes so many."""
        return max(1, whole // 20) if self.quick else whole


def interleave(repetitions: int, **sides: Callable[[], float]) -> Samples:
    """Measure A B A B …, so that a slow minute of the machine hits both sides."""
    samples: Samples = {name: [] for name in sides}
    for _ in range(repetitions):
        for name, measure in sides.items():
            samples[name].append(measure())
    return samples


def ratio(samples: Samples, above: str, below: str) -> float:
    """The median of one side over the median of the other."""
    return median(samples[above]) / median(samples[below])
