"""Images to requests, and replies to what became of each image."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from convscope.client._channel import MAX_REQUEST_BYTES
from convscope.client._images import encode_input
from convscope.client._question import Question
from convscope.client._translate import error_from_status
from convscope.client.errors import ConvscopeError, InternalError, InvalidInputError
from convscope.client.types import (
    Classification,
    ClassScore,
    FeatureMap,
    ImageLike,
    StageSeconds,
)
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import manifest_pb2 as mpb

__all__ = [
    "EncodedImage",
    "Outcome",
    "answer_or_raise",
    "decode_results",
    "encode_image",
    "encode_request",
]

Outcome: TypeAlias = Classification | ConvscopeError

# What an input needs beside itself in a request: its field's tag, and its length.
_FRAME_BYTES = 5
_WIRE_DTYPES: dict[int, np.dtype[Any]] = {
    mpb.DATA_TYPE_FLOAT32: np.dtype("<f4"),
    mpb.DATA_TYPE_FLOAT16: np.dtype("<f2"),
    mpb.DATA_TYPE_UINT8: np.dtype("u1"),
}


@dataclass(slots=True)
class EncodedImage:
    """An image as the wire takes it, and what it adds to a request."""

    input: pb.Input
    size_bytes: int


def encode_image(question: Question, image: ImageLike) -> EncodedImage:
    """Make an image ready to be sent with a question.

    Raises:
        InvalidInputError: The image can't be sent.
    """
    message = encode_input(image)
    size_bytes = message.ByteSize() + _FRAME_BYTES
    if (request_bytes := size_bytes + len(question.key)) > MAX_REQUEST_BYTES:
        raise InvalidInputError(
            f"the request has {request_bytes:,} bytes; at most {MAX_REQUEST_BYTES:,} are taken; "
            "scale the image down"
        )
    return EncodedImage(message, size_bytes)


def encode_request(question: Question, images: Sequence[EncodedImage]) -> pb.ClassifyRequest:
    """Put images into a copy of a question."""
    request = pb.ClassifyRequest()
    request.CopyFrom(question.template)
    request.inputs.extend([image.input for image in images])
    return request


def decode_results(response: pb.ClassifyResponse, count: int) -> list[Outcome]:
    """Read the answers to a request with `count` images.

    Raises:
        InternalError: They are not that many, or can't be read.
    """
    results = response.results
    if len(results) != count:
        raise InternalError(
            f"the server's reply has {len(results)} results for {count} "
            f"{'image' if count == 1 else 'images'}; client and server may be of different versions"
        )
    served_by = response.model, response.version, response.provider
    return [_decode_result(result, *served_by) for result in results]


def answer_or_raise(outcome: Outcome) -> Classification:
    """Give an answer, or raise the error that there is in its place."""
    if isinstance(outcome, ConvscopeError):
        raise outcome
    return outcome


def _decode_result(result: pb.InputResult, model: str, version: int, provider: str) -> Outcome:
    if result.HasField("error"):
        return error_from_status(result.error.code, result.error.message)
    prediction, times = result.prediction, result.stage_times
    maps = prediction.feature_maps
    return Classification(
        model,
        version,
        provider,
        tuple([ClassScore(c.index, c.label, c.probability) for c in prediction.classes]),
        {m.name: _decode_feature_map(m, model, version) for m in maps} if maps else {},
        StageSeconds(
            times.decode_seconds, times.queue_seconds, times.infer_seconds, times.encode_seconds
        ),
    )


def _decode_feature_map(message: pb.FeatureMap, model: str, version: int) -> FeatureMap:
    array = _decode_array(message)
    if message.tensor.dtype == mpb.DATA_TYPE_UINT8:
        array = array * np.float32(message.scale) + np.float32(message.offset)
    return FeatureMap(message.name, array, tuple(message.channels), model, version)


def _decode_array(message: pb.FeatureMap) -> NDArray[np.float32]:
    """Read a feature map's elements, [channels, height, width], into memory of their own."""
    tensor = message.tensor
    dtype, shape, data = _WIRE_DTYPES.get(tensor.dtype), tuple(tensor.shape), tensor.data
    sound = len(shape) == 3 and min(shape) > 0
    if dtype is None or not sound or len(data) != math.prod(shape) * dtype.itemsize:
        raise InternalError(
            f"the feature map {message.name!r} of the server's reply can't be read: "
            f"{len(data):,} bytes of dtype {tensor.dtype} for {list(shape)}; "
            "client and server may be of different versions"
        )
    return np.frombuffer(data, dtype).reshape(shape).astype(np.float32)
