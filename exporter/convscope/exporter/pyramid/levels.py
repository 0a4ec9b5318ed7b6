"""The pyramid of a network: what it computes at each resolution, from the input to 1 × 1."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from convscope.exporter.errors import NetworkError

__all__ = ["Event", "NetworkLevel", "NetworkPyramid", "levels_of"]

Sizes = tuple[int, ...]
_MAX_UNKNOWN = 0.1


@dataclass(frozen=True, slots=True)
class NetworkLevel:
    """Everything that a network computes at one resolution.

    Args:
        sizes: The sizes of the positions, such as height and width; all 1 for what follows
            global pooling, or the first dense layer.
        channels: Those of the widest tensor at this resolution.
        multiply_adds: The multiply-adds, for one input, of the layers whose output has this
            resolution.
        parameters: The weights of these layers.
    """

    sizes: Sizes
    channels: int
    multiply_adds: int = 0
    parameters: int = 0


@dataclass(frozen=True, slots=True)
class NetworkPyramid:
    """A network as the list of its levels.

    Args:
        name: The network's name.
        input: The input's channels and sizes.
        classes: The number of classes; 0 for a bank of filters.
        levels: The levels, from the input's resolution down.
    """

    name: str
    input: Sizes
    classes: int
    levels: tuple[NetworkLevel, ...]

    @property
    def multiply_adds(self) -> int:
        """The multiply-adds of the whole network for one input."""
        return sum(level.multiply_adds for level in self.levels)

    @property
    def parameters(self) -> int:
        """The weights of the whole network."""
        return sum(level.parameters for level in self.levels)

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain values, with the totals."""
        totals = {"multiply_adds": self.multiply_adds, "parameters": self.parameters}
        return asdict(self) | totals


@dataclass(frozen=True, slots=True)
class Event:
    """A step of a run that computes something or uses weights.

    Args:
        sizes: The sizes of the output's positions; empty for a matrix product, whose rows may
            be positions, and for weights.
        rows: The number of positions; 0 for weights, which belong to the step before.
        channels: The output's channels.
        multiply_adds: The multiply-adds.
        parameters: The weights.
    """

    sizes: Sizes = ()
    rows: int = 0
    channels: int = 0
    multiply_adds: int = 0
    parameters: int = 0


def levels_of(name: str, shape: Sequence[int], events: Sequence[Event]) -> tuple[NetworkLevel, ...]:
    """Group the steps of a run by resolution.

    A step without positions, such as squeeze-and-excitation, belongs to the level in the
    middle of which it runs. Only what follows the last tensor with positions is 1 × 1.

    Args:
        name: The network's name, for the error.
        shape: The input's channels and sizes.
        events: The steps in the order in which they ran.

    Raises:
        NetworkError: The resolution of too many matrix products is unknown, as in transformers.
    """
    channels, *sizes = shape
    current = tuple(sizes)
    one = (1,) * len(current)
    last = max((i for i, event in enumerate(events) if _has_positions(event)), default=-1)
    levels = {current: [channels, 0, 0]}
    unknown = 0
    for index, event in enumerate(events):
        if _has_positions(event):
            current = event.sizes or current
            unknown += event.multiply_adds if event.rows != math.prod(current) else 0
        elif index > last and event.rows:
            current = one
        total = levels.setdefault(current, [0, 0, 0])
        is_inside = event.rows == 1 and current != one
        total[0] = max(total[0], 0 if is_inside else event.channels)
        total[1] += event.multiply_adds
        total[2] += event.parameters
    share = unknown / max(sum(event.multiply_adds for event in events), 1)
    if share > _MAX_UNKNOWN:
        raise NetworkError(
            f"{share:.0%} of the multiply-adds of {name} are matrix products whose resolution "
            "isn't known, such as those of attention; only convolutional networks have a pyramid"
        )
    return _in_order(NetworkLevel(sizes, *total) for sizes, total in levels.items())


def _has_positions(event: Event) -> bool:
    return event.rows > 1


def _in_order(levels: Iterable[NetworkLevel]) -> tuple[NetworkLevel, ...]:
    return tuple(sorted(levels, key=lambda level: math.prod(level.sizes), reverse=True))
