"""What is computed to explain the results of a request.

Heat comes from the graph, in the run of the inputs themselves. Occlusion takes more rows, the
inputs with a gray square each, which are made when their batch runs and wait without pixels
until then. They are run like further inputs, so batches, deadlines and cancellation apply.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from convscope.server.errors import ServingError
from convscope.server.observability.stages import Attributes, StageSeconds

__all__ = [
    "ExplanationPlan",
    "Occluded",
    "OccludedResult",
    "OcclusionGrid",
    "trace_attributes",
]

Floats = NDArray[np.float32]


class OcclusionGrid(NamedTuple):
    """The squares that are occluded, one around the center of each cell.

    Args:
        cells: The cells along each side of the input.
        window: The side of a square, in cells.
    """

    cells: int
    window: float

    @property
    def size(self) -> int:
        """The number of squares."""
        return self.cells**2


@dataclass(frozen=True, slots=True)
class Occluded:
    """An image with a square of one color.

    Args:
        image: The image, uint8 [height, width, channels].
        grid: The squares.
        cell: Which of them, row by row.
        color: The color, uint8 [channels].
    """

    image: NDArray[np.uint8]
    grid: OcclusionGrid
    cell: int
    color: NDArray[np.uint8]

    def pixels(self) -> NDArray[np.uint8]:
        """Return the image with the square, a new array."""
        row, column = divmod(self.cell, self.grid.cells)
        pixels = self.image.copy()
        pixels[self._span(row, len(pixels)), self._span(column, pixels.shape[1])] = self.color
        return pixels

    def _span(self, index: int, length: int) -> slice:
        center = (index + 0.5) * length / self.grid.cells
        half = self.grid.window * length / self.grid.cells / 2
        return slice(max(round(center - half), 0), round(center + half))


class OccludedResult(NamedTuple):
    """What the network returned for an image with a square.

    Args:
        logits: float32 [classes].
        seconds: Its share of the time of its batch.
    """

    logits: Floats
    seconds: float


@dataclass(slots=True, eq=False)
class ExplanationPlan:
    """What is computed for each input of a request, and what was computed.

    Args:
        classes: The classes whose heat is computed: an index, or -1 for the best class, -2 for
            the second etc. int64 [inputs, T], or [1, T] for the same ones of all inputs.
        tensor: Whether the tensor whose positions the heat has is returned.
        grids: The grids of occlusion.
        color: The color of the squares, uint8 [channels].
        methods: The names of the methods of each input's explanations, for metrics and traces.
    """

    classes: NDArray[np.int64] = field(default_factory=lambda: np.zeros((1, 0), np.int64))
    tensor: bool = False
    grids: tuple[OcclusionGrid, ...] = ()
    color: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))
    methods: tuple[str, ...] = ()
    _logits: dict[tuple[OcclusionGrid, int], Floats] = field(default_factory=dict, init=False)

    @property
    def needs_session(self) -> bool:
        """Whether the session with explanations runs the inputs."""
        return self.classes.size > 0 or self.tensor

    def classes_of(self, indices: Sequence[int]) -> NDArray[np.int64]:
        """Return the classes of some inputs, [inputs, T], or [1, T] if they are the same."""
        return self.classes if len(self.classes) == 1 else self.classes[indices]

    @property
    def occluded_per_input(self) -> int:
        """How many further rows are run for each input."""
        return sum(grid.size for grid in self.grids)

    def occluded_logits(self, grid: OcclusionGrid, index: int) -> Floats:
        """Return the logits of an input with each square of a grid, float32 [squares, classes]."""
        return self._logits[grid, index]

    def add_occluded(self, prepared: list[Any]) -> list[int]:
        """Append the occluded rows of all prepared inputs; return the indices of those that run.

        An input that has an error has rows too, so that their positions follow from its index.
        """
        rows: list[int] = []
        inputs = list(prepared)
        for grid in self.grids:
            for item in inputs:
                if isinstance(item, ServingError):
                    prepared += [item] * grid.size
                    continue
                rows.extend(range(len(prepared), len(prepared) + grid.size))
                prepared += [Occluded(item, grid, cell, self.color) for cell in range(grid.size)]
        return rows

    def take_occluded(self, results: list[Any], seconds: Sequence[StageSeconds]) -> list[Any]:
        """Keep the results of the occluded rows; return those of the inputs.

        An input of which an occluded row has an error has that error.

        Args:
            results: The results of all rows, or their errors.
            seconds: The stages of each input, to which the times of its occluded rows are added.
        """
        count = len(seconds)
        found = results[:count]
        for grid, index, rows in self._rows(results, count):
            if isinstance(found[index], ServingError):
                continue
            if (error := next((r for r in rows if isinstance(r, ServingError)), None)) is not None:
                found[index] = error
                continue
            self._logits[grid, index] = np.stack([row.logits for row in rows])
            seconds[index].infer += sum(row.seconds for row in rows)
        return found

    def _rows(
        self, results: list[Any], count: int
    ) -> Iterator[tuple[OcclusionGrid, int, list[Any]]]:
        """Yield the results of the rows of each grid and input."""
        start = count
        for grid in self.grids:
            for index in range(count):
                yield grid, index, results[start : start + grid.size]
                start += grid.size


def trace_attributes(plan: ExplanationPlan | None, inputs: int) -> Attributes:
    """Return what the spans of a request state of its explanations."""
    if plan is None:
        return {}
    methods = ", ".join(dict.fromkeys(plan.methods))
    attributes: dict[str, str | int] = {
        "explanations": len(plan.methods) * inputs,
        "explanation_methods": methods,
    }
    if plan.grids:
        attributes["occluded_images"] = plan.occluded_per_input * inputs
    return attributes
