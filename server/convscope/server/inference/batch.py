"""Runs a batch: groups its items by session, runs each group once, and ranks the classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convscope.server.inference.finite import NonFiniteRows
from convscope.server.inference.ranking import entropy_ratios, rank
from convscope.server.runtime.model import Model, ModelOutput

__all__ = ["BatchItem", "BatchOutput", "run_batch"]

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class BatchItem:
    """A few inputs with the same requested outputs.

    Args:
        inputs: The graph's input, [n, ...].
        feature_maps: The names of the requested feature maps.
        top_k: How many classes are requested.
        logits: Whether the logits are requested.
        untracked: Whether its results are left out of the metrics.
    """

    inputs: NDArray[np.generic]
    feature_maps: tuple[str, ...] = ()
    top_k: int = 0
    logits: bool = False
    untracked: bool = False


@dataclass(frozen=True, slots=True)
class BatchOutput:
    """The results of one item.

    Args:
        probabilities: float32 [n, classes]; without classes, [n, 0].
        feature_maps: For each requested name, float32 [n, channels, height, width].
        classes: For each input the indices of the best classes, the best first;
            at least one, if the model has classes.
        scores: The probabilities of these classes.
        entropy_ratios: How undecided each input is, 0 to 1. Empty unless the
            probabilities of an input have a sum of 1, or if the whole batch is
            untracked.
        logits: float32 [n, classes] if any item of the batch requested them.
        non_finite: The positions of the inputs whose results contain NaN or
            infinity; their other results have no meaning.
    """

    probabilities: Floats
    feature_maps: Mapping[str, Floats]
    classes: Sequence[Sequence[int]] = ()
    scores: Sequence[Sequence[float]] = ()
    entropy_ratios: Sequence[float] = ()
    logits: Floats | None = None
    non_finite: Sequence[int] = ()


def run_batch(
    model: Model, batch: Sequence[BatchItem], *, concurrent: bool = False
) -> list[BatchOutput | Exception]:
    """Run a batch; each kind of session runs once, whatever the batch mixes.

    Args:
        model: The model.
        batch: What is run.
        concurrent: Whether other batches run at the same time, or are about to.

    Returns:
        For each item its output, or the error of the session that it needs. The
        items of the other session are not affected.
    """
    plain = [index for index, item in enumerate(batch) if not item.feature_maps]
    if len(plain) in (0, len(batch)):
        return _run_group(model, batch, concurrent)
    full = [index for index, item in enumerate(batch) if item.feature_maps]
    outputs: dict[int, BatchOutput | Exception] = {}
    for indices in (plain, full):
        group = _run_group(model, [batch[i] for i in indices], concurrent)
        outputs.update(zip(indices, group, strict=True))
    return [outputs[index] for index in range(len(batch))]


def _run_group(
    model: Model, items: Sequence[BatchItem], concurrent: bool
) -> list[BatchOutput | Exception]:
    """Run items that need the same session."""
    try:
        output = model.run(
            _concatenate(items),
            feature_maps=_feature_maps(items) if items[0].feature_maps else (),
            logits=any(item.logits for item in items),
            concurrent=concurrent,
        )
        return list(_split(items, output, model.sums_to_one))
    except Exception as error:  # noqa: BLE001 - each caller receives it
        return [error] * len(items)


def _feature_maps(items: Sequence[BatchItem]) -> list[str]:
    return sorted({name for item in items for name in item.feature_maps})


def _concatenate(items: Sequence[BatchItem]) -> NDArray[np.generic]:
    if len(items) == 1:
        return items[0].inputs
    return np.concatenate([item.inputs for item in items])


def _split(items: Sequence[BatchItem], output: ModelOutput, sums_to_one: bool) -> list[BatchOutput]:
    """Rank the classes of all rows, and split the rows by item, without copying any array.

    Args:
        items: What was run.
        output: The arrays of all items, one after the other.
        sums_to_one: Whether each row of probabilities has a sum of 1.
    """
    probabilities, logits = output.probabilities, output.logits
    non_finite = NonFiniteRows(output)
    classes, scores = rank(probabilities, max(1, *(item.top_k for item in items)))
    tracked = sums_to_one and not all(item.untracked for item in items)
    entropies = entropy_ratios(probabilities) if tracked else ()
    outputs, start = [], 0
    for item in items:
        rows = slice(start, start + len(item.inputs))
        outputs.append(
            BatchOutput(
                probabilities[rows],
                {name: output.feature_maps[name][rows] for name in item.feature_maps},
                classes[rows],
                scores[rows],
                entropies[rows],
                None if logits is None else logits[rows],
                non_finite.among(rows, item.feature_maps, logits=item.logits),
            )
        )
        start = rows.stop
    return outputs
