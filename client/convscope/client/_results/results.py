"""Replies as the result of each image."""

import math
from collections.abc import Sequence
from math import isfinite
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from convscope.client._connection.translate import error_from_status
from convscope.client._inputs.methods import method_name
from convscope.client._results.construction import constructor
from convscope.client._results.names import FeatureMaps
from convscope.client._results.sent_image import CallFacts, SentImage
from convscope.client._results.source import Source
from convscope.client.errors import ConvscopeError, InternalError
from convscope.client.types import (
    Classification,
    ClassScore,
    Explanation,
    FeatureMap,
    ImageCrop,
    StageSeconds,
)
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import manifest_pb2 as mpb

__all__ = ["Outcome", "decode_results", "result_or_raise"]

Outcome: TypeAlias = Classification | ConvscopeError
"""The result of one image, or the error that takes its place."""

_new_result = constructor(Classification)
_new_score = constructor(ClassScore)
_new_seconds = constructor(StageSeconds)

_WIRE_DTYPES: dict[int, np.dtype[Any]] = {
    mpb.DATA_TYPE_FLOAT32: np.dtype("<f4"),
    mpb.DATA_TYPE_FLOAT16: np.dtype("<f2"),
    mpb.DATA_TYPE_UINT8: np.dtype("u1"),
}


def decode_results(
    response: pb.ClassifyResponse, images: Sequence[SentImage], facts: CallFacts
) -> list[Outcome]:
    """Return the outcomes of a request with these images.

    Raises:
        InternalError: Their number is another, or one can't be read.
    """
    # Slices are lists; a loop over a repeated field ends with an error that is raised and caught.
    results, count = response.results[:], len(images)
    if len(results) != count:
        raise InternalError(
            f"the server's reply has {len(results)} results for {count} "
            f"{'image' if count == 1 else 'images'}; client and server may be of different versions"
        )
    served_by = response.model, response.version, response.provider
    return [
        _decode_result(result, image, facts, *served_by)
        for result, image in zip(results, images, strict=True)
    ]


def result_or_raise(outcome: Outcome) -> Classification:
    """Return a result, or raise the error in its place."""
    if isinstance(outcome, ConvscopeError):
        raise outcome
    return outcome


def _decode_result(
    result: pb.InputResult,
    image: SentImage,
    facts: CallFacts,
    model: str,
    version: int,
    provider: str,
) -> Outcome:
    if result.HasField("error"):
        return error_from_status(result.error.code, result.error.message)
    prediction, times = result.prediction, result.stage_times
    classes = tuple([_decode_score(score) for score in prediction.classes[:]])
    if not isfinite(sum([score.probability for score in classes])):
        return InternalError(
            f"{model} v{version} returned a probability that isn't finite, which is no result"
        )
    crop: ImageCrop | None = None
    maps = FeatureMaps()
    explanations: tuple[Explanation, ...] = ()
    if facts.has_arrays:
        crop = _decode_crop(prediction.crop, image) if prediction.HasField("crop") else None
        origin = crop, model, version, image.source
        maps.update((m.name, _decode_feature_map(m, *origin)) for m in prediction.feature_maps)
        explanations = tuple(_decode_explanation(e, *origin) for e in prediction.explanations)
    return _new_result(
        model,
        version,
        provider,
        classes,
        maps,
        _new_seconds(
            times.decode_seconds, times.queue_seconds, times.infer_seconds, times.encode_seconds
        ),
        explanations,
        crop,
        image.name,
        facts.request_id,
        facts.seconds,
        image.sent_size,
        image.source,
    )


def _decode_score(message: pb.ClassScore) -> ClassScore:
    return _new_score(message.index, message.label, message.probability)


def _decode_crop(message: pb.ImageCrop, image: SentImage) -> ImageCrop:
    crop = ImageCrop(
        message.left,
        message.top,
        message.right,
        message.bottom,
        message.image_width,
        message.image_height,
    )
    return crop if image.size is None else crop.at(*image.size)


def _decode_feature_map(
    message: pb.FeatureMap,
    crop: ImageCrop | None,
    model: str,
    version: int,
    source: Source | None,
) -> FeatureMap:
    array = _decode_array(message.tensor, message, f"feature map {message.name!r}")
    if array.ndim != 3:
        raise _unreadable(message.tensor, f"feature map {message.name!r}")
    return FeatureMap(message.name, array, tuple(message.channels), model, version, crop, source)


def _decode_explanation(
    message: pb.Explanation,
    crop: ImageCrop | None,
    model: str,
    version: int,
    source: Source | None,
) -> Explanation:
    return Explanation(
        target=_decode_score(message.target),
        against=_decode_score(message.against) if message.HasField("against") else None,
        method=method_name(message.method),
        array=_decode_array(message.heat, message, f"heat of {message.target.label!r}"),
        logit=message.logit,
        remainder=message.remainder if message.HasField("remainder") else None,
        tensor=message.tensor,
        crop=crop,
        model=model,
        version=version,
        source=source,
    )


def _decode_array(
    tensor: pb.Tensor, scaled: pb.FeatureMap | pb.Explanation, name: str
) -> NDArray[np.float32]:
    """Return the values of a tensor's elements, a float32 array of its own memory."""
    dtype, shape, data = _WIRE_DTYPES.get(tensor.dtype), tuple(tensor.shape), tensor.data
    is_valid = bool(shape) and min(shape) > 0
    if dtype is None or not is_valid or len(data) != math.prod(shape) * dtype.itemsize:
        raise _unreadable(tensor, name)
    array = np.frombuffer(data, dtype).reshape(shape).astype(np.float32)
    if tensor.dtype == mpb.DATA_TYPE_UINT8:
        array = array * np.float32(scaled.scale) + np.float32(scaled.offset)
    return array


def _unreadable(tensor: pb.Tensor, name: str) -> InternalError:
    return InternalError(
        f"the {name} of the server's reply can't be read: {len(tensor.data):,} bytes of dtype "
        f"{tensor.dtype} for {list(tensor.shape)}; client and server may be of different versions"
    )
