"""Replies as the result of each image."""

import math
from math import isfinite
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from convscope.client._translate import error_from_status
from convscope.client.errors import ConvscopeError, InternalError
from convscope.client.types import Classification, ClassScore, FeatureMap, StageSeconds
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import manifest_pb2 as mpb

__all__ = ["Outcome", "decode_results", "result_or_raise"]

Outcome: TypeAlias = Classification | ConvscopeError
"""The result of one image, or the error that takes its place."""

_WIRE_DTYPES: dict[int, np.dtype[Any]] = {
    mpb.DATA_TYPE_FLOAT32: np.dtype("<f4"),
    mpb.DATA_TYPE_FLOAT16: np.dtype("<f2"),
    mpb.DATA_TYPE_UINT8: np.dtype("u1"),
}


def decode_results(response: pb.ClassifyResponse, count: int) -> list[Outcome]:
    """Return the outcomes of a request with `count` images.

    Raises:
        InternalError: Their number is another, or one can't be read.
    """
    results = response.results
    if len(results) != count:
        raise InternalError(
            f"the server's reply has {len(results)} results for {count} "
            f"{'image' if count == 1 else 'images'}; client and server may be of different versions"
        )
    served_by = response.model, response.version, response.provider
    return [_decode_result(result, *served_by) for result in results]


def result_or_raise(outcome: Outcome) -> Classification:
    """Return a result, or raise the error in its place."""
    if isinstance(outcome, ConvscopeError):
        raise outcome
    return outcome


def _decode_result(result: pb.InputResult, model: str, version: int, provider: str) -> Outcome:
    if result.HasField("error"):
        return error_from_status(result.error.code, result.error.message)
    prediction, times = result.prediction, result.stage_times
    if not all(isfinite(score.probability) for score in prediction.classes):
        return InternalError(
            f"{model} v{version} returned a probability that isn't finite, which is no result"
        )
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
    """Return a copy of a feature map's elements, float32 [channels, height, width]."""
    tensor = message.tensor
    dtype, shape, data = _WIRE_DTYPES.get(tensor.dtype), tuple(tensor.shape), tensor.data
    is_valid = len(shape) == 3 and min(shape) > 0
    if dtype is None or not is_valid or len(data) != math.prod(shape) * dtype.itemsize:
        raise InternalError(
            f"the feature map {message.name!r} of the server's reply can't be read: "
            f"{len(data):,} bytes of dtype {tensor.dtype} for {list(shape)}; "
            "client and server may be of different versions"
        )
    return np.frombuffer(data, dtype).reshape(shape).astype(np.float32)
