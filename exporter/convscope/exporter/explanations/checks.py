"""The gates of an explanation: a graph whose heat is wrong isn't published with it."""

from collections.abc import Callable

import numpy as np
import onnx
from numpy.typing import NDArray

from convscope.exporter.errors import ExplanationError
from convscope.exporter.explanations.attach import Explanation
from convscope.exporter.explanations.cut_tensors import CutTensor
from convscope.exporter.explanations.running import HeadRunner, HeatRun, HeatRunner

__all__ = [
    "DIFFERENCE_TOLERANCE",
    "HeatReference",
    "check_batches",
    "check_differences",
    "check_reference",
    "check_sum",
    "check_values",
]

# Of the largest magnitude; 1e-5 is usual.
TOLERANCE = 1e-3
# Of a derivative, by central differences: kinks of the network cost accuracy.
DIFFERENCE_TOLERANCE = 1e-2
_STEP = 3e-3
_DIRECTIONS = 4

Values = NDArray[np.float32]
HeatReference = Callable[[Values, NDArray[np.int64], int], Values | None]
"""Returns the heat that a reference computes, [N, T, positions...], or None if it can't.

It receives the values of the cut tensor, [N, ...], the classes, [N, T], and the axis of the
channels.
"""


def check_values(run: HeatRun, cut: CutTensor) -> None:
    """Check that the heat is finite, not zero, and the weighted sum of the channels.

    Raises:
        ExplanationError: It isn't.
    """
    if not np.isfinite(run.heat).all():
        raise ExplanationError("the heat of a golden input is NaN or infinite")
    if not run.heat[:, 0].any():
        raise ExplanationError("the heat of the best class is zero for every golden input")
    channels_first = np.moveaxis(run.tensor, cut.channel_axis, 1)
    expected = np.einsum("ntc,nc...->nt...", run.weights, channels_first)
    _check_close(run.heat, expected, "the weighted sum of the channels")


def check_batches(runner: HeatRunner, inputs: NDArray[np.generic], together: HeatRun) -> None:
    """Check that neither the batch nor the number of targets changes the heat of an input.

    Args:
        runner: Runs the graph.
        inputs: Inputs, [n, ...].
        together: Their explanation in one batch, the best class first.

    Raises:
        ExplanationError: The heat differs.
    """
    alone = runner.run(inputs[:1], [-1])
    _check_close(alone.heat, together.heat[:1, :1], f"its own value in a batch of {len(inputs)}")


def check_reference(run: HeatRun, expected: Values) -> float:
    """Compare the heat with that of a reference, which is PyTorch's autograd.

    Returns:
        The largest difference, relative to the largest magnitude.

    Raises:
        ExplanationError: It differs.
    """
    return _check_close(run.heat, expected, "PyTorch's")


def check_sum(run: HeatRun, *, linear: bool) -> None:
    """Check that the logit of a class is the sum of its heat plus a constant, in a linear head.

    Args:
        run: The explanation of the same class for several inputs, as the last target.
        linear: Whether the head is linear.

    Raises:
        ExplanationError: It isn't.
    """
    if not linear:
        return
    index = int(run.classes[0, -1])
    sums = run.heat[:, -1].reshape(len(run.heat), -1).sum(axis=1)
    constants = run.logits[:, index] - sums
    magnitude = max(float(np.abs(run.logits).max()), float(np.abs(sums).max()))
    if not np.ptp(constants) <= TOLERANCE * magnitude:
        raise ExplanationError(
            "the logit isn't the sum of the heat plus a constant, although the head is linear"
        )


def check_differences(
    model: onnx.ModelProto, explanation: Explanation, inputs: NDArray[np.generic], run: HeatRun
) -> float:
    """Compare the channel weights with central differences through the head.

    Each direction has the sign of the weights, so that the changes add up.

    Returns:
        The median of the relative differences.

    Raises:
        ExplanationError: It is too large.
    """
    cut, head = explanation.cut, HeadRunner(model, explanation)
    random = np.random.default_rng(0)
    found = []
    for target in range(run.classes.shape[1]):
        weights = run.weights[:, target].astype(np.float64)  # [N, channels]
        for _ in range(_DIRECTIONS):
            step = np.abs(random.normal(size=weights.shape)) * np.sign(weights)
            step *= _STEP * np.abs(run.tensor).mean()
            change = _logit_change(head, run, inputs, step, target, cut)
            expected = 2 * np.prod(cut.positions) * (step * weights).sum(axis=1)
            live = expected != 0
            found.extend(np.abs(change - expected)[live] / np.abs(expected[live]))
    difference = float(np.median(found)) if found else np.inf
    if not difference <= DIFFERENCE_TOLERANCE:
        raise ExplanationError(
            f"the derivative differs from central differences by {difference:.1e}; at most "
            f"{DIFFERENCE_TOLERANCE:.0e} is allowed"
        )
    return difference


def _logit_change(
    head: HeadRunner,
    run: HeatRun,
    inputs: NDArray[np.generic],
    step: NDArray[np.float64],
    target: int,
    cut: CutTensor,
) -> NDArray[np.float64]:
    """Return how the explained logits change from one step below to one step above."""
    shape = [len(step), *(1 for _ in cut.shape)]
    shape[cut.channel_axis] = cut.channels
    moved = step.reshape(shape).astype(np.float32)
    rows = np.arange(len(step))
    above, below = (
        head.logits(values, inputs)[rows, run.classes[:, target]].astype(np.float64)
        for values in (run.tensor + moved, run.tensor - moved)
    )
    return np.asarray(above - below)


def _check_close(found: Values, expected: Values, reference: str) -> float:
    magnitude = float(np.abs(expected).max()) or 1.0
    difference = float(np.abs(found - expected).max()) / magnitude
    if not difference <= TOLERANCE:
        raise ExplanationError(
            f"the heat differs from {reference} by {difference:.1e} of the largest magnitude; at "
            f"most {TOLERANCE:.0e} is allowed"
        )
    return difference
