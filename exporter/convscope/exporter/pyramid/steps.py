"""Groups the levels of a network by how often the resolution was halved."""

import math
from dataclasses import dataclass

from convscope.exporter.pyramid.levels import NetworkLevel, NetworkPyramid

__all__ = ["Step", "Steps", "steps_of"]


@dataclass(frozen=True, slots=True)
class Step:
    """The levels of a network whose sides are about the same fraction of the input's.

    Without padding, each convolution makes a tensor a little smaller, so that a network has
    more levels than steps.

    Args:
        levels: The levels, the largest first.
    """

    levels: tuple[NetworkLevel, ...]

    @property
    def title(self) -> str:
        """The sizes of the positions, and the channels of the widest tensor."""
        first, *rest = (level.sizes for level in self.levels)
        if len(set(first)) == 1 and len(first) == 2 and rest:
            sizes = f"{first[0]}² – {rest[-1][0]}²"
        else:
            sizes = " × ".join(map(str, first))
        return f"{sizes} × {self.channels:,}"

    @property
    def channels(self) -> int:
        """The channels of the widest tensor."""
        return max(level.channels for level in self.levels)

    @property
    def multiply_adds(self) -> int:
        """The multiply-adds of all levels."""
        return sum(level.multiply_adds for level in self.levels)

    @property
    def parameters(self) -> int:
        """The weights of all levels."""
        return sum(level.parameters for level in self.levels)


Steps = dict[float, Step]


def steps_of(pyramid: NetworkPyramid) -> Steps:
    """Return the steps of a network by the binary logarithm of the reduction.

    What is 1 × 1 has the key infinity.
    """
    grouped: dict[float, list[NetworkLevel]] = {}
    for level in pyramid.levels:
        reduction = round(math.log2(max(pyramid.input[1:]) / max(level.sizes)))
        grouped.setdefault(math.inf if max(level.sizes) == 1 else reduction, []).append(level)
    return {key: Step(tuple(levels)) for key, levels in grouped.items()}
