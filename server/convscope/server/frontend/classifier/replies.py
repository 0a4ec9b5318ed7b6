"""Converts results to trees of ClassifierService's messages."""

import numpy as np
from numpy.typing import NDArray

from convscope.server.errors import InvalidInputError, ServingError
from convscope.server.frontend.classifier.requests import ReplyPlan
from convscope.server.frontend.feature_maps import feature_map_dtype
from convscope.server.inference.ranking import rank
from convscope.server.inference.requests import InferenceResult
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import manifest_pb2 as mpb

__all__ = ["error_message", "write_prediction"]


def write_prediction(prediction: pb.Prediction, result: InferenceResult, plan: ReplyPlan) -> None:
    """Write the classes and feature maps of one input into an empty message."""
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
    values, message.scale, message.offset = _quantize(
        array, feature_map_dtype(selection), selection.name
    )
    message.name = selection.name
    message.tensor.dtype = selection.dtype or mpb.DATA_TYPE_FLOAT32
    message.tensor.shape.extend(values.shape)
    message.tensor.data = values.tobytes()


def _channels(selection: pb.FeatureMapSelection, array: NDArray[np.float32]) -> list[int]:
    kind = selection.WhichOneof("channels")
    if kind == "indices":
        return list(selection.indices.values)
    if kind == "strongest":
        (strongest,), _ = rank(array.mean(axis=(1, 2))[np.newaxis], selection.strongest)
        return strongest
    return list(range(len(array)))


def _quantize(
    array: NDArray[np.float32], dtype: np.dtype[np.generic], name: str
) -> tuple[NDArray[np.generic], float, float]:
    """Convert values to the type of the message, where a value is offset + scale * element.

    Args:
        array: The values, all finite.
        dtype: The type of the elements.
        name: The name of the feature map.

    Returns:
        The elements, the scale and the offset.

    Raises:
        InvalidInputError: A value is too large for the type.
    """
    if dtype == np.float32:
        return array, 1.0, 0.0
    if dtype == np.float16:
        with np.errstate(over="ignore"):
            halves = array.astype(dtype)
        if not np.isfinite(halves).all():
            raise InvalidInputError(
                f"{name} has the value {array.flat[np.abs(array).argmax()]:g}, and float16 ends at "
                "65504; select it as float32 or uint8"
            )
        return halves, 1.0, 0.0
    low, high = float(array.min()), float(array.max())
    scale = (high - low) / 255 or 1.0
    return np.rint((array - low) / scale).astype(np.uint8), scale, low
