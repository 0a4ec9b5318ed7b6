"""Converts the messages of ClassifierService to inputs, and checks what a request selects."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convscope.server.errors import InvalidInputError, ServingError
from convscope.server.frontend.classifier.explanation_plans import PlannedExplanations
from convscope.server.frontend.feature_maps import check_selections
from convscope.server.frontend.reply_limits import ReplyLimits
from convscope.server.frontend.tensors import DTYPES, MAX_DIMENSIONS, check_finite
from convscope.server.inference.requests import EncodedImage, Input, Pixels, ReadyTensor
from convscope.server.runtime.versions import Crop, LoadedVersion
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import manifest_pb2 as mpb

__all__ = ["ReplyPlan", "decode_input", "decode_inputs", "plan_reply", "whole_crops"]

DEFAULT_TOP_K = 5
_NO_CONTENTS: Mapping[int, memoryview] = {}

_PIXEL_CHANNELS = (1, 3, 4)
# The largest sizes of one class without its name, and of one result without classes and
# feature maps.
_CLASS_BYTES = 20
_RESULT_BYTES = 120


@dataclass(slots=True)
class ReplyPlan:
    """What a request selects for each input, checked against the model."""

    labels: Sequence[str]
    top_k: int
    min_probability: float
    selections: Sequence[pb.FeatureMapSelection]
    explanations: PlannedExplanations | None = None

    @property
    def feature_maps(self) -> tuple[str, ...]:
        """The names of the selected feature maps."""
        return tuple(selection.name for selection in self.selections)


def plan_reply(
    request: pb.ClassifyRequest,
    manifest: mpb.ModelManifest,
    labels: Sequence[str],
    label_bytes: Sequence[int],
    limits: ReplyLimits,
    explanations: PlannedExplanations | None = None,
) -> ReplyPlan:
    """Check what a request selects, and that the reply will not be too large.

    Args:
        request: The request.
        manifest: The manifest of the version that runs it.
        labels: The manifest's labels as a tuple, because reading a protobuf field is slow.
        label_bytes: The largest size that the names of so many classes can have.
        limits: The limits of one reply.
        explanations: The explanations that it selects.

    Raises:
        InvalidInputError: The top-k, the minimum probability or a selection is
            invalid, or the reply could exceed its limits.
    """
    top_k = request.top_k if request.HasField("top_k") else DEFAULT_TOP_K
    if top_k < 1:
        raise InvalidInputError(f"top_k is {top_k}; ask for 1 or more classes")
    if not 0 <= request.min_probability <= 1:
        raise InvalidInputError(
            f"min_probability is {request.min_probability:g}; it must be between 0 and 1"
        )
    inputs, array_bytes, maps = len(request.inputs), 0, request.feature_maps
    if explanations is not None:
        array_bytes = inputs * explanations.reply_bytes
    if maps:
        array_bytes += check_selections(maps, inputs, manifest, limits.max_feature_map_bytes)
    top_k = min(top_k, len(labels))
    if request.min_probability and manifest.activation == mpb.ACTIVATION_SOFTMAX:
        # The probabilities have a sum of 1, except for rounding.
        top_k = min(top_k, int(1 / request.min_probability) + 1)
    limits.check(array_bytes + inputs * (_RESULT_BYTES + top_k * _CLASS_BYTES + label_bytes[top_k]))
    return ReplyPlan(labels, top_k, request.min_probability, _copies(maps), explanations)


def whole_crops(inputs: Sequence[Input | ServingError], version: LoadedVersion) -> dict[int, Crop]:
    """Return the crop of each input that is neither resized nor cropped: all of it."""
    if version.manifest.input.kind != mpb.INPUT_KIND_IMAGE:
        return {}
    height, width, _ = version.input_shape
    whole = Crop(0, 0, width, height, width, height)
    return {index: whole for index, one in enumerate(inputs) if isinstance(one, ReadyTensor)}


def _copies(selections: Sequence[pb.FeatureMapSelection]) -> Sequence[pb.FeatureMapSelection]:
    """Copy selections: a part of a message would keep all of it in memory."""
    if not selections:
        return ()
    return [pb.FeatureMapSelection.FromString(each.SerializeToString()) for each in selections]


def decode_inputs(
    messages: Sequence[pb.Input],
    dtype: int,
    shape: tuple[int, ...],
    contents: Mapping[int, memoryview] = _NO_CONTENTS,
) -> list[Input | ServingError]:
    """Convert the inputs of a request; in the place of an invalid one is its error.

    Args:
        messages: The inputs.
        dtype: The type of the graph's input.
        shape: Its shape, without the batch dimension.
        contents: The bytes of inputs that are empty in their messages, by their index.
    """
    expected = DTYPES[dtype]
    inputs: list[Input | ServingError] = []
    for index, message in enumerate(messages):
        try:
            inputs.append(decode_input(message, expected, shape, contents.get(index)))
        except InvalidInputError as error:
            inputs.append(error)
    return inputs


def decode_input(
    message: pb.Input,
    dtype: np.dtype[np.generic],
    shape: tuple[int, ...],
    content: memoryview | None = None,
) -> Input:
    """Convert one input of a request.

    Args:
        message: The input.
        dtype: The type of the graph's input.
        shape: Its shape, without the batch dimension.
        content: Its bytes, if they are not in the message.

    Raises:
        InvalidInputError: It is empty, or its type, shape and data disagree
            with each other or with the model.
    """
    kind = message.WhichOneof("content")
    if kind == "tensor":
        return ReadyTensor(_decode_tensor(message.tensor, dtype, shape, content))
    if kind == "encoded_image":
        return EncodedImage(message.encoded_image if content is None else content)
    if kind == "pixels":
        return Pixels(_decode_pixels(message.pixels, content))
    raise InvalidInputError("the input has no content; set one of encoded_image, pixels and tensor")


def _decode_pixels(tensor: pb.Tensor, content: memoryview | None) -> NDArray[np.uint8]:
    array = _array(tensor, content)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] not in _PIXEL_CHANNELS:
        raise InvalidInputError(
            f"the pixels are {array.dtype.name} {list(array.shape)}; send uint8 "
            "[height, width, channels] with 1, 3 or 4 channels"
        )
    return array.view(np.uint8)


def _decode_tensor(
    tensor: pb.Tensor,
    expected: np.dtype[np.generic],
    shape: tuple[int, ...],
    content: memoryview | None,
) -> NDArray[np.generic]:
    array = _array(tensor, content)
    if array.dtype != expected or array.shape != shape:
        raise InvalidInputError(
            f"the tensor is {array.dtype.name} {list(array.shape)}; this model takes "
            f"{expected.name} {list(shape)}"
        )
    if expected.kind == "f":
        check_finite(array)
    return array


def _array(tensor: pb.Tensor, content: memoryview | None) -> NDArray[np.generic]:
    """View a tensor's bytes as an array, without a copy if they are aligned."""
    # A slice is a list, which takes a fraction of the time of a tuple of the field.
    shape = tensor.shape[: MAX_DIMENSIONS + 1]
    data = tensor.data if content is None else content
    if len(shape) > MAX_DIMENSIONS:
        raise InvalidInputError(
            f"the tensor has {len(tensor.shape):,} dimensions; "
            f"at most {MAX_DIMENSIONS} are accepted"
        )
    dtype = DTYPES.get(tensor.dtype)
    if dtype is None:
        raise InvalidInputError("the tensor's dtype is not set; it is UINT8, FLOAT16 or FLOAT32")
    needed = math.prod(shape) * dtype.itemsize
    if needed != len(data) or not shape or min(shape) < 1:
        raise InvalidInputError(
            f"a {dtype.name} tensor {shape} has {max(needed, 0):,} bytes, and "
            f"{len(data):,} were sent; shape and data must agree"
        )
    array = np.ndarray(shape, dtype, data)
    return array if array.flags.aligned else array.copy()
