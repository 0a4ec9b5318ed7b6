"""Converts explanations to messages."""

import numpy as np
from numpy.typing import NDArray

from convscope.server.frontend.classifier.explanation_plans import (
    PlannedExplanation,
    PlannedExplanations,
)
from convscope.server.frontend.classifier.quantization import write_tensor
from convscope.server.inference.heat import eigen_cam
from convscope.server.inference.requests import InferenceResult
from convscope.server.runtime.model import Floats
from convscope.v1 import inference_pb2 as pb

__all__ = ["write_explanations"]


def write_explanations(
    prediction: pb.Prediction, result: InferenceResult, plan: PlannedExplanations, index: int
) -> None:
    """Write the explanations of one input into its message.

    Args:
        prediction: The message.
        result: The result of the input.
        plan: The explanations that the request selects.
        index: The position of the input in the request.
    """
    for one in plan.selected:
        _write(prediction.explanations.add(), one, result, plan, index)


def _write(
    message: pb.Explanation,
    one: PlannedExplanation,
    result: InferenceResult,
    plan: PlannedExplanations,
    index: int,
) -> None:
    classes, heats, remainders = _terms(one, result, plan, index)
    logits = _logits(result)
    heat, logit = heats[0], float(logits[classes[0]])
    _write_class(message.target, classes[0], result, plan)
    if one.against is not None:
        # The same class, by its index and by its rank, is in two columns, which are rounded
        # differently. A picture would show that as heat.
        other = 0 if classes[0] == classes[1] else 1
        heat, logit = heat - heats[other], logit - float(logits[classes[1]])
        remainders = [remainders[0] - remainders[other]] if remainders else []
        _write_class(message.against, classes[1], result, plan)
    message.method = one.method
    message.tensor = plan.tensor if one.grid is None else ""
    message.scale, message.offset = write_tensor(message.heat, heat, one.data_type, "the heat")
    message.logit = logit
    if remainders:
        message.remainder = remainders[0]


def _terms(
    one: PlannedExplanation, result: InferenceResult, plan: PlannedExplanations, index: int
) -> tuple[list[int], list[Floats], list[float]]:
    """Return the classes of an explanation, the heat of each, and the remainder of each.

    A method whose heat is no part of the logit has no remainders.
    """
    computed, heat, logits = plan.computed, result.output.heat, _logits(result)
    if one.grid is not None:
        classes = [_resolve(choice, result) for choice in one.choices]
        occluded = computed.occluded_logits(one.grid, index)  # [squares, classes]
        cells = one.grid.cells
        falls = [(logits[c] - occluded[:, c]).reshape(cells, cells) for c in classes]
        return classes, falls, []
    if heat is None:
        raise RuntimeError("the heat was not computed")
    if one.method == pb.EXPLANATION_METHOD_EIGEN_CAM:
        if heat.tensor is None:
            raise RuntimeError("the tensor was not computed")
        return [_resolve(one.target, result)], [eigen_cam(heat.tensor[result.row])], []
    columns = [plan.columns[choice] for choice in one.choices]
    classes = heat.classes[result.row, columns].tolist()
    heats = [heat.values[result.row, column] for column in columns]
    sums = [float(values.sum(dtype=np.float64)) for values in heats]
    return classes, heats, [float(logits[c]) - s for c, s in zip(classes, sums, strict=True)]


def _resolve(choice: int, result: InferenceResult) -> int:
    """Return the index of a class that is chosen by index or by rank."""
    return choice if choice >= 0 else result.classes[-choice - 1]


def _logits(result: InferenceResult) -> NDArray[np.float32]:
    if result.output.logits is None:
        raise RuntimeError("the logits were not computed")
    row: NDArray[np.float32] = result.output.logits[result.row]
    return row


def _write_class(
    message: pb.ClassScore, index: int, result: InferenceResult, plan: PlannedExplanations
) -> None:
    message.index, message.label = index, plan.labels[index]
    message.probability = float(result.probabilities[index])
