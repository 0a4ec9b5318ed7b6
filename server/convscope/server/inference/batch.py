"""Runs a batch: groups its parts by session, runs each group once, and ranks the classes."""

from collections.abc import Sequence
from time import perf_counter
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from convscope.server.errors import NonFiniteError, ServingError
from convscope.server.inference.explained_runs import explained_classes, run_occluded
from convscope.server.inference.finite import NonFiniteRows
from convscope.server.inference.queue import Entry
from convscope.server.inference.ranking import entropy_ratios, rank
from convscope.server.inference.requests import InferenceRequest, InferenceResult
from convscope.server.observability.stages import Attributes
from convscope.server.runtime.model import Model, ModelOutput

__all__ = ["Part", "Results", "explained_attributes", "run_batch"]

Results = list[InferenceResult | ServingError]

# `np.concatenate` releases the interpreter's lock for each array. The event loop may then hold it
# for a whole turn, and the run waits. `join` keeps the lock, for a few milliseconds at this size.
MAX_LOCKED_BYTES = 4 * 2**20


class Part(Entry[InferenceRequest]):
    """A few inputs of a request, which run in the same batch.

    Args:
        request: The request.
        indices: Their positions in the request, which have a prepared input.
    """

    __slots__ = ("indices",)

    def __init__(self, request: InferenceRequest, indices: Sequence[int]) -> None:
        super().__init__(request, len(indices))
        self.indices = indices


def run_batch(
    model: Model, parts: Sequence[Part], *, concurrent: bool = False
) -> list[Results | Exception]:
    """Run a batch; each kind of session runs once, whatever the batch mixes.

    Args:
        model: The model.
        parts: What is run.
        concurrent: Whether other batches run at the same time, or are about to.

    Returns:
        For each part the results of its inputs, or the error of the session that it
        needs. The parts of the other session are not affected.
    """
    special = [p for p in parts if p.request.feature_maps or p.request.explanation]
    if not special:
        return _run_group(model, parts, _PLAIN, concurrent)
    groups: dict[_Kind, list[int]] = {}
    for index, part in enumerate(parts):
        groups.setdefault(_kind(part), []).append(index)
    outputs: dict[int, Results | Exception] = {}
    for kind, indices in groups.items():
        group = _run_group(model, [parts[i] for i in indices], kind, concurrent)
        outputs.update(zip(indices, group, strict=True))
    return [outputs[index] for index in range(len(parts))]


def explained_attributes(parts: Sequence[Part]) -> Attributes:
    """Return what the span of a batch states of its explanations."""
    sizes = {"explained_images": 0, "occluded_images": 0}
    for part in parts:
        kind = _kind(part)
        sizes["explained_images"] += part.size * kind.heat
        sizes["occluded_images"] += part.size * kind.occluded
    return {name: size for name, size in sizes.items() if size}


class _Kind(NamedTuple):
    """What the parts of a run have in common."""

    feature_maps: bool
    heat: bool
    occluded: bool


_PLAIN = _Kind(feature_maps=False, heat=False, occluded=False)


def _kind(part: Part) -> _Kind:
    request = part.request
    explanation, has_maps = request.explanation, bool(request.feature_maps)
    if explanation is None:
        return _Kind(has_maps, heat=False, occluded=False)
    if part.indices[0] >= len(request.inputs):
        return _Kind(feature_maps=False, heat=False, occluded=True)
    return _Kind(has_maps, explanation.needs_session, occluded=False)


def _run_group(
    model: Model, parts: Sequence[Part], kind: _Kind, concurrent: bool
) -> list[Results | Exception]:
    """Run parts of one kind."""
    began = perf_counter()
    try:
        if kind.occluded:
            return list(run_occluded(model, parts, concurrent=concurrent))
        inputs, names = _concatenate(parts), _feature_maps(parts) if kind.feature_maps else ()
        if kind.heat:
            classes, tensor = explained_classes(parts)
            output = model.explain(inputs, classes, tensor=tensor, feature_maps=names)
        else:
            output = model.run(
                inputs,
                feature_maps=names,
                logits=any(part.request.logits for part in parts),
                concurrent=concurrent,
            )
        return list(_split(model, parts, output, began))
    except Exception as error:  # noqa: BLE001 - each request receives it
        return [error] * len(parts)


def _feature_maps(parts: Sequence[Part]) -> list[str]:
    return sorted({name for part in parts for name in part.request.feature_maps})


def _concatenate(parts: Sequence[Part]) -> NDArray[np.generic]:
    """Return all inputs as one array, [n, ...]."""
    arrays: list[Any] = [part.request.prepared[index] for part in parts for index in part.indices]
    if len(arrays) == 1:
        return cast("NDArray[np.generic]", arrays[0][np.newaxis])
    if len(arrays) * arrays[0].nbytes > MAX_LOCKED_BYTES:
        rows = np.concatenate(arrays)  # along their first dimension, which saves a view of each
    else:
        rows = np.frombuffer(b"".join(arrays), arrays[0].dtype)
    return rows.reshape(len(arrays), *arrays[0].shape)


def _split(
    model: Model, parts: Sequence[Part], output: ModelOutput, began: float
) -> Sequence[Results]:
    """Rank the classes of all rows, and assign the rows to the inputs, without copying any array.

    Args:
        model: What was run.
        parts: Whose inputs were run.
        output: The arrays of all inputs, one after the other.
        began: The `time.perf_counter()` at which the run began.
    """
    probabilities = output.probabilities
    non_finite = NonFiniteRows(output)
    classes, scores = rank(probabilities, max(1, *(part.request.top_k for part in parts)))
    tracked = model.sums_to_one and not all(part.request.untracked for part in parts)
    entropies = entropy_ratios(probabilities) if tracked else [None] * len(probabilities)
    seconds = perf_counter() - began
    all_results, row = [], 0
    for part in parts:
        request, start = part.request, row
        queued = began - part.queued_at
        results: Results = []
        for index in part.indices:
            times = request.seconds[index]
            times.queue += queued
            times.infer = seconds
            results.append(
                InferenceResult(classes[row], scores[row], entropies[row], output, row, times)
            )
            row += 1
        rows = slice(start, row)
        for position in non_finite.among(rows, request.feature_maps, logits=request.logits):
            results[position] = NonFiniteError(model.manifest.model, model.manifest.version)
        all_results.append(results)
    return all_results
