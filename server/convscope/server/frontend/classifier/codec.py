"""Messages to numpy and back."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convscope.server.errors import InvalidInputError
from convscope.server.frontend.reply_limits import ReplyLimits
from convscope.server.inference.ranking import rank
from convscope.server.inference.requests import (
    EncodedImage,
    InferenceResult,
    Input,
    Pixels,
    ReadyTensor,
)
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import manifest_pb2 as mpb

__all__ = [
    "MAX_DIMENSIONS",
    "ReplyPlan",
    "check_finite",
    "check_selections",
    "decode_input",
    "plan_reply",
    "write_prediction",
]

DEFAULT_TOP_K = 5
MAX_DIMENSIONS = 8

_DTYPES: dict[int, np.dtype[np.generic]] = {
    mpb.DATA_TYPE_UINT8: np.dtype(np.uint8),
    mpb.DATA_TYPE_FLOAT16: np.dtype("<f2"),
    mpb.DATA_TYPE_FLOAT32: np.dtype("<f4"),
}
_PIXEL_CHANNELS = (1, 3, 4)
# At most, of one class without its name, and of one result without classes and feature maps.
_CLASS_BYTES = 20
_RESULT_BYTES = 80


@dataclass(frozen=True, slots=True)
class ReplyPlan:
    """What a request wants to hear of each input, checked against the model."""

    labels: Sequence[str]
    top_k: int
    min_probability: float
    selections: Sequence[pb.FeatureMapSelection]

    @property
    def feature_maps(self) -> tuple[str, ...]:
        """The names of the wanted feature maps."""
        return tuple(selection.name for selection in self.selections)


def plan_reply(
    request: pb.ClassifyRequest,
    manifest: mpb.ModelManifest,
    labels: Sequence[str],
    label_bytes: Sequence[int],
    limits: ReplyLimits,
) -> ReplyPlan:
    """Check what a request wants, and that the reply will not be too large.

    Args:
        request: What is asked.
        manifest: Of the version that is to answer.
        labels: The manifest's, as a tuple: a protobuf field is slow to look into.
        label_bytes: The most that the names of so many classes can take.
        limits: Of one reply.

    Raises:
        InvalidInputError: The top-k, the minimum probability or a selection
            can't be, or the reply could exceed its limits.
    """
    top_k = request.top_k if request.HasField("top_k") else DEFAULT_TOP_K
    if top_k < 1:
        raise InvalidInputError(f"top_k is {top_k}; ask for 1 or more classes")
    if not 0 <= request.min_probability <= 1:
        raise InvalidInputError(
            f"min_probability is {request.min_probability:g}; it lies between 0 and 1"
        )
    inputs, map_bytes = len(request.inputs), 0
    if request.feature_maps:
        map_bytes = check_selections(
            request.feature_maps, inputs, manifest, limits.max_feature_map_bytes
        )
    top_k = min(top_k, len(labels))
    if request.min_probability and manifest.activation == mpb.ACTIVATION_SOFTMAX:
        # Together they have a probability of 1, but for rounding.
        top_k = min(top_k, int(1 / request.min_probability) + 1)
    limits.check(map_bytes + inputs * (_RESULT_BYTES + top_k * _CLASS_BYTES + label_bytes[top_k]))
    return ReplyPlan(labels, top_k, request.min_probability, request.feature_maps)


def decode_input(message: pb.Input, dtype: int, shape: tuple[int, ...]) -> Input:
    """Turn one input of a request into what the engine takes.

    Args:
        message: The input.
        dtype: The type of the graph's input.
        shape: Its shape, without the batch dimension.

    Raises:
        InvalidInputError: It is empty, or its type, shape and data disagree
            with each other or with the model.
    """
    kind = message.WhichOneof("content")
    if kind == "encoded_image":
        return EncodedImage(message.encoded_image)
    if kind == "pixels":
        return Pixels(_decode_pixels(message.pixels))
    if kind == "tensor":
        return ReadyTensor(_decode_tensor(message.tensor, _DTYPES[dtype], shape))
    raise InvalidInputError("the input has no content; set one of encoded_image, pixels and tensor")


def write_prediction(prediction: pb.Prediction, answer: InferenceResult, plan: ReplyPlan) -> None:
    """Write the classes and feature maps of one input into an empty message."""
    labels, add = plan.labels, prediction.classes.add
    ranked = zip(answer.classes[: plan.top_k], answer.scores, strict=False)
    for index, probability in ranked:
        if probability < plan.min_probability:
            break
        add(index=index, label=labels[index], probability=probability)
    for selection in plan.selections:
        _write_feature_map(
            prediction.feature_maps.add(), selection, answer.feature_maps[selection.name]
        )


def _dtype(tensor: pb.Tensor) -> np.dtype[np.generic]:
    dtype = _DTYPES.get(tensor.dtype)
    if dtype is None:
        raise InvalidInputError("the tensor's dtype is not set; it is UINT8, FLOAT16 or FLOAT32")
    return dtype


def _array(tensor: pb.Tensor) -> NDArray[np.generic]:
    """View a tensor's bytes as an array, without a copy."""
    # First of all: whatever is done with a shape of a million dimensions takes long.
    if len(tensor.shape) > MAX_DIMENSIONS:
        raise InvalidInputError(
            f"the tensor has {len(tensor.shape):,} dimensions; at most {MAX_DIMENSIONS} are taken"
        )
    dtype, shape = _dtype(tensor), tuple(tensor.shape)
    needed = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 1 or needed != len(tensor.data):
        raise InvalidInputError(
            f"a {dtype.name} tensor {list(shape)} has {max(needed, 0):,} bytes, and "
            f"{len(tensor.data):,} were sent; shape and data must agree"
        )
    return np.frombuffer(tensor.data, dtype).reshape(shape)


def _decode_pixels(tensor: pb.Tensor) -> NDArray[np.uint8]:
    array = _array(tensor)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] not in _PIXEL_CHANNELS:
        raise InvalidInputError(
            f"the pixels are {array.dtype.name} {list(array.shape)}; send uint8 "
            "[height, width, channels] with 1, 3 or 4 channels"
        )
    return array.view(np.uint8)


def _decode_tensor(
    tensor: pb.Tensor, expected: np.dtype[np.generic], shape: tuple[int, ...]
) -> NDArray[np.generic]:
    array = _array(tensor)
    if array.dtype != expected or array.shape != shape:
        raise InvalidInputError(
            f"the tensor is {array.dtype.name} {list(array.shape)}; this model takes "
            f"{expected.name} {list(shape)}"
        )
    if expected.kind == "f":
        check_finite(array)
    return array


def check_finite(array: NDArray[np.generic]) -> None:
    """Check the numbers of a floating-point tensor.

    Raises:
        InvalidInputError: One of them is none.
    """
    if not np.isfinite(array).all():
        raise InvalidInputError("the tensor holds NaN or infinite values; send finite ones")


def check_selections(
    selections: Sequence[pb.FeatureMapSelection],
    inputs: int,
    manifest: mpb.ModelManifest,
    max_bytes: int,
) -> int:
    """Check the feature maps that a request wants, and that they will not be too large.

    Args:
        selections: What is wanted of each input.
        inputs: How many inputs.
        manifest: Of the version that is to answer.
        max_bytes: Of one reply.

    Returns:
        How many bytes they will be.

    Raises:
        InvalidInputError: A selection can't be, or they would exceed `max_bytes`.
    """
    specs = {spec.name: spec for spec in manifest.feature_maps}
    seen: set[str] = set()
    size = 0
    for selection in selections:
        spec = specs.get(selection.name)
        if spec is None:
            raise InvalidInputError(
                f"no feature map {selection.name[:80]!r} in {manifest.model} "
                f"v{manifest.version}; it has: {', '.join(specs) or 'none'}"
            )
        if selection.name in seen:
            raise InvalidInputError(f"the feature map {selection.name!r} is asked for twice")
        seen.add(selection.name)
        channels = _channel_count(selection, spec)
        size += channels * spec.height * spec.width * _map_dtype(selection).itemsize
    size *= inputs
    if size > max_bytes:
        raise InvalidInputError(
            f"the feature maps would take {size:,} bytes; at most {max_bytes:,} are sent in one "
            "reply; ask for fewer images, fewer channels, or uint8"
        )
    return size


def _channel_count(selection: pb.FeatureMapSelection, spec: mpb.FeatureMapSpec) -> int:
    kind = selection.WhichOneof("channels")
    if kind == "mean" and selection.mean:
        return 1
    if kind == "strongest":
        if not 1 <= selection.strongest <= spec.channels:
            raise InvalidInputError(
                f"strongest is {selection.strongest}; {spec.name} has {spec.channels} channels"
            )
        return selection.strongest
    if kind == "indices":
        indices = selection.indices.values
        if len(indices) > spec.channels:
            raise InvalidInputError(
                f"{len(indices):,} channels are asked for; {spec.name} has {spec.channels}"
            )
        wrong = [index for index in indices if not 0 <= index < spec.channels]
        if wrong or not indices:
            raise InvalidInputError(
                f"channel {wrong[0] if wrong else 'list is empty'}; {spec.name} has the channels "
                f"0 to {spec.channels - 1}"
            )
        return len(indices)
    return spec.channels


def _map_dtype(selection: pb.FeatureMapSelection) -> np.dtype[np.generic]:
    dtype = _DTYPES.get(selection.dtype or mpb.DATA_TYPE_FLOAT32)
    if dtype is None:
        raise InvalidInputError(
            f"no dtype {selection.dtype} for a feature map; it is UINT8, FLOAT16 or FLOAT32"
        )
    return dtype


def _write_feature_map(
    message: pb.FeatureMap, selection: pb.FeatureMapSelection, array: NDArray[np.float32]
) -> None:
    """Cut one feature map, [channels, height, width], to the selection, and write it."""
    kind = selection.WhichOneof("channels")
    if kind == "mean" and selection.mean:
        array = array.mean(axis=0, keepdims=True, dtype=np.float32)
    else:
        channels = _channels(selection, array)
        message.channels.extend(channels)
        if kind in ("strongest", "indices"):
            array = array[channels]
    values, message.scale, message.offset = _quantise(array, _map_dtype(selection))
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


def _quantise(
    array: NDArray[np.float32], dtype: np.dtype[np.generic]
) -> tuple[NDArray[np.generic], float, float]:
    """Bring values to the wire's type; the value of an element is offset + scale * element."""
    if dtype != np.uint8:
        return array.astype(dtype, copy=False), 1.0, 0.0
    low, high = float(array.min()), float(array.max())
    scale = (high - low) / 255 or 1.0
    return np.rint((array - low) / scale).astype(np.uint8), scale, low
