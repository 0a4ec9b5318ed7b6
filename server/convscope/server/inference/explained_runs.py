"""The runs of explanations: the classes that a batch asks for, and batches of occluded images."""

from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from convscope.server.errors import NonFiniteError, ServingError
from convscope.server.inference.explanations import Occluded, OccludedResult
from convscope.server.inference.finite import NonFiniteRows
from convscope.server.runtime.explained import BEST
from convscope.server.runtime.model import Model

if TYPE_CHECKING:
    from convscope.server.inference.batch import Part

__all__ = ["explained_classes", "run_occluded"]


def explained_classes(parts: "Sequence[Part]") -> tuple[NDArray[np.int64], bool]:
    """Return the classes that a batch explains, and whether a part of it needs the tensor.

    Args:
        parts: The parts of the batch, whose requests have explanations.

    Returns:
        int64 [n, T]; rows with fewer classes than others repeat their first one, so that the
        classes of other requests can't make their heat infinite.
    """
    plans = [part.request.explanation for part in parts]
    widest = max(plan.classes.shape[1] for plan in plans if plan is not None)
    classes = np.full((sum(part.size for part in parts), max(1, widest)), BEST, np.int64)
    row = 0
    for part, plan in zip(parts, plans, strict=True):
        if plan is not None:
            own = plan.classes_of(part.indices)
            rows = classes[row : row + part.size]
            rows[:, : own.shape[1]] = own
            rows[:, own.shape[1] :] = own[:, :1] if own.size else BEST
        row += part.size
    return classes, any(plan is not None and plan.tensor for plan in plans)


def run_occluded(model: Model, parts: "Sequence[Part]", *, concurrent: bool) -> Iterator[list[Any]]:
    """Run the occluded rows of a batch; yield an OccludedResult or an error for each, by part."""
    began = perf_counter()
    rows = [part.request.prepared[index] for part in parts for index in part.indices]
    images = np.stack([row.pixels() for row in rows if isinstance(row, Occluded)])
    output = model.run(images, logits=True, concurrent=concurrent)
    if output.logits is None:
        raise RuntimeError("a classifier returned no logits")
    non_finite = NonFiniteRows(output)
    seconds = (perf_counter() - began) / len(rows)
    start = 0
    for part in parts:
        stop = start + part.size
        results: list[OccludedResult | ServingError] = [
            OccludedResult(logits, seconds) for logits in output.logits[start:stop]
        ]
        for position in non_finite.among(slice(start, stop), (), logits=True):
            results[position] = NonFiniteError(model.manifest.model, model.manifest.version)
        yield results
        start = stop
