"""Interleaved samples of the sides of a comparison, and the figures computed from them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from statistics import median
from typing import Any

from bench.errors import BenchError

__all__ = [
    "GENERATOR_CORES",
    "QUIET_SHARE",
    "Figure",
    "Sample",
    "Samples",
    "figure",
    "interleave",
    "scaled",
]

# A pair counts only if other programs used at most this share of the machine in each window.
QUIET_SHARE = 0.1
# The largest number of pairs that are discarded for one figure.
DISCARDS = 3
# A load generator that uses more of a core may be the bottleneck.
GENERATOR_CORES = 0.9


@dataclass(frozen=True, slots=True)
class Sample:
    """One side of a pair, measured in one window.

    Args:
        value: What was measured, such as calls per second.
        others: The share of the machine that other programs used in the window.
        cpu_us: The CPU time per call, in microseconds, of the server's process tree.
        generator_cores: How many cores the load generator kept busy.
    """

    value: float
    others: float
    cpu_us: float | None = None
    generator_cores: float | None = None


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of the table.

    Args:
        value: The median over the pairs.
        low: The smallest value of a pair.
        high: The largest value of a pair.
        cpu_us: The median CPU time per call of each side, in microseconds.
        busy_generators: The sides whose load generator may have been the bottleneck, with the
            number of cores that it used.
    """

    value: float
    low: float | None = None
    high: float | None = None
    cpu_us: Mapping[str, float] = field(default_factory=dict)
    busy_generators: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Samples:
    """Pairs, which have one sample of each side.

    Args:
        pairs: The samples by side.
        discarded: The share of others in each discarded pair.
    """

    pairs: Sequence[Mapping[str, Sample]]
    discarded: Sequence[float] = ()

    def ratio(
        self, above: str, below: str, value: Callable[[Sample], float | None] | None = None
    ) -> Figure:
        """Return the ratio of one side to another; by default that of their values.

        Raises:
            BenchError: A sample has no value.
        """
        of = value or (lambda sample: sample.value)
        parts = [(of(pair[above]), of(pair[below])) for pair in self.pairs]
        ratios = [a / b for a, b in parts if a is not None and b]
        if len(ratios) < len(parts):
            raise BenchError(f"nothing was measured for {above} or {below}")
        return self._figure(ratios, (above, below))

    def level(self, side: str) -> Figure:
        """Return the value of one side."""
        return self._figure(self.values(side), (side,))

    def values(self, side: str) -> list[float]:
        """Return the values of one side."""
        return [pair[side].value for pair in self.pairs]

    def details(self) -> dict[str, Any]:
        """Return every sample by side, for the JSON file."""
        columns: dict[str, Any] = {
            side: {
                each.name: [getattr(pair[side], each.name) for pair in self.pairs]
                for each in fields(Sample)
            }
            for side in self.pairs[0]
        }
        return {**columns, "discarded_pairs": list(self.discarded)}

    def _figure(self, values: Sequence[float], sides: Iterable[str]) -> Figure:
        cpu: dict[str, float] = {}
        generators: dict[str, float] = {}
        for side in sides:
            if found := _present(pair[side].cpu_us for pair in self.pairs):
                cpu[side] = median(found)
            cores = _present(pair[side].generator_cores for pair in self.pairs)
            if cores and median(cores) > GENERATOR_CORES:
                generators[side] = median(cores)
        return figure(values, cpu, generators)


def figure(
    values: Sequence[float],
    cpu_us: Mapping[str, float] | None = None,
    busy_generators: Mapping[str, float] | None = None,
) -> Figure:
    """Return the median of the values and their spread."""
    low, high = (min(values), max(values)) if len(values) > 1 else (None, None)
    return Figure(median(values), low, high, cpu_us or {}, busy_generators or {})


def scaled(sample: Sample, factor: float) -> Sample:
    """Return a sample with its value in another unit."""
    return replace(sample, value=factor * sample.value)


def interleave(
    repetitions: int, sides: Mapping[str, Callable[[], Sample]], *, quiet_share: float = QUIET_SHARE
) -> Samples:
    """Measure A B A B …, so that a slow phase of the machine affects both sides of a pair.

    A pair is discarded and measured again if other programs used too much of the machine.

    Raises:
        BenchError: Other programs used too much of the machine again and again.
    """
    pairs: list[Mapping[str, Sample]] = []
    discarded: list[float] = []
    while len(pairs) < repetitions:
        pair = {name: measure() for name, measure in sides.items()}
        others = max(sample.others for sample in pair.values())
        if others <= quiet_share:
            pairs.append(pair)
            continue
        discarded.append(others)
        if len(discarded) > DISCARDS:
            raise BenchError(f"other programs used {median(discarded):.0%} of the machine")
    return Samples(pairs, discarded)


def _present(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]
