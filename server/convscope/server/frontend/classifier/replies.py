"""Converts results to trees of ClassifierService's messages."""

import numpy as np
from numpy.typing import NDArray

from convscope.server.errors import ServingError
from convscope.server.frontend.classifier.explanation_replies import write_explanations
from convscope.server.frontend.classifier.quantization import write_tensor
from convscope.server.frontend.classifier.requests import ReplyPlan
from convscope.server.inference.ranking import rank
from convscope.server.inference.requests import InferenceResult
from convscope.server.runtime.versions import Crop
from convscope.v1 import inference_pb2 as pb

__all__ = ["error_message", "write_crop", "write_prediction"]


def write_prediction(
    prediction: pb.Prediction, result: InferenceResult, plan: ReplyPlan, position: int = 0
) -> None:
    """Write the classes, feature maps and explanations of one input into an empty message.

    Args:
        prediction: The message.
        result: The result of the input.
        plan: What the request selects.
        position: Where the input is in the request.
    """
    labels, add = plan.labels, prediction.classes.add
    ranked = zip(result.classes[: plan.top_k], result.scores, strict=False)
    for index, probability in ranked:
        if probability < plan.min_probability:
            break
        add(index=index, label=labels[index], probability=probability)
    for selection in plan.selections:
        _write_feature_map(
            prediction.feature_maps.add(), selection, result.feature_map(selection.name)
        )
    if plan.explanations is not None:
        write_explanations(prediction, result, plan.explanations, position)


def write_crop(message: pb.ImageCrop, crop: Crop) -> None:
    """Write which part of an image the network saw into an empty message."""
    message.left, message.top, message.right, message.bottom = crop[:4]
    message.image_width, message.image_height = crop.width, crop.height


def error_message(error: ServingError) -> pb.ClassifyError:
    """Convert an error."""
    return pb.ClassifyError(code=error.code.value[0], message=error.message)


def _write_feature_map(
    message: pb.FeatureMap, selection: pb.FeatureMapSelection, array: NDArray[np.float32]
) -> None:
    """Write the selected part of one feature map, [channels, height, width]."""
    kind = selection.WhichOneof("channels")
    if kind == "mean" and selection.mean:
        array = array.mean(axis=0, keepdims=True, dtype=np.float32)
    else:
        channels = _channels(selection, array)
        message.channels.extend(channels)
        if kind in ("strongest", "indices"):
            array = array[channels]
    message.name = selection.name
    message.scale, message.offset = write_tensor(
        message.tensor, array, selection.dtype, selection.name
    )


def _channels(selection: pb.FeatureMapSelection, array: NDArray[np.float32]) -> list[int]:
    kind = selection.WhichOneof("channels")
    if kind == "indices":
        return list(selection.indices.values)
    if kind == "strongest":
        (strongest,), _ = rank(array.mean(axis=(1, 2))[np.newaxis], selection.strongest)
        return strongest
    return list(range(len(array)))
