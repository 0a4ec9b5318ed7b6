"""Python to messages and back. Reading an image's path is the only input or output."""

import math
import operator
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope.client._channel import MAX_REQUEST_BYTES
from convscope.client._images import encode_input
from convscope.client._translate import error_from_status
from convscope.client.errors import InternalError, InvalidInputError
from convscope.client.types import (
    Classification,
    ClassScore,
    FeatureMap,
    FeatureMapSelection,
    ImageLike,
    StageSeconds,
)
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import manifest_pb2 as mpb

__all__ = [
    "decode_classification",
    "encode_classify",
    "encode_get_model",
    "encode_question",
]

INT32_MAX = 2**31 - 1
INT64_MAX = 2**63 - 1
_SELECTION_DTYPES = {
    "float32": mpb.DATA_TYPE_FLOAT32,
    "float16": mpb.DATA_TYPE_FLOAT16,
    "uint8": mpb.DATA_TYPE_UINT8,
}
_WIRE_DTYPES: dict[int, np.dtype[Any]] = {
    mpb.DATA_TYPE_FLOAT32: np.dtype("<f4"),
    mpb.DATA_TYPE_FLOAT16: np.dtype("<f2"),
    mpb.DATA_TYPE_UINT8: np.dtype("u1"),
}


def encode_question(
    *,
    model: str,
    version: int | None,
    alias: str | None,
    top_k: int,
    min_probability: float,
    feature_maps: Iterable[str | FeatureMapSelection],
) -> pb.ClassifyRequest:
    """Make a request that lacks only its image.

    Raises:
        InvalidInputError: An argument is of a wrong type or range.
    """
    question = pb.ClassifyRequest(
        model=_name("model", model),
        top_k=_integer("top_k", top_k, 1, INT32_MAX),
        min_probability=_probability(min_probability),
    )
    _select(question, version, alias)
    # A bare string would be read as one name for each of its letters.
    if isinstance(feature_maps, str | FeatureMapSelection):
        feature_maps = [feature_maps]
    question.feature_maps.extend(map(_encode_selection, feature_maps))
    return question


def encode_classify(question: pb.ClassifyRequest, image: ImageLike) -> pb.ClassifyRequest:
    """Put an image into a copy of a question.

    Raises:
        InvalidInputError: The image can't be sent.
    """
    request = pb.ClassifyRequest()
    request.CopyFrom(question)
    request.inputs.append(encode_input(image))
    if (size_bytes := request.ByteSize()) > MAX_REQUEST_BYTES:
        raise InvalidInputError(
            f"the request has {size_bytes:,} bytes; at most {MAX_REQUEST_BYTES:,} are taken; "
            "scale the image down"
        )
    return request


def encode_get_model(name: str, version: int | None, alias: str | None) -> pb.GetModelRequest:
    """Ask for one version.

    Raises:
        InvalidInputError: An argument is of a wrong type or range.
    """
    request = pb.GetModelRequest(model=_name("name", name))
    _select(request, version, alias)
    return request


def decode_classification(response: pb.ClassifyResponse) -> Classification:
    """Read the answer to a request with one image.

    Raises:
        ConvscopeError: The image could not be answered.
    """
    if len(response.results) != 1:
        raise InternalError(
            f"the server's reply has {len(response.results)} results for one image; "
            "client and server may be of different versions"
        )
    (result,) = response.results
    if result.WhichOneof("outcome") == "error":
        raise error_from_status(result.error.code, result.error.message)
    times = result.stage_times
    return Classification(
        model=response.model,
        version=response.version,
        provider=response.provider,
        classes=tuple(
            ClassScore(c.index, c.label, c.probability) for c in result.prediction.classes
        ),
        feature_maps={
            message.name: _decode_feature_map(message, response)
            for message in result.prediction.feature_maps
        },
        stage_seconds=StageSeconds(
            times.decode_seconds, times.queue_seconds, times.infer_seconds, times.encode_seconds
        ),
    )


def _name(argument: str, value: str) -> str:
    if not isinstance(value, str):
        raise InvalidInputError(f"{argument} is {value!r}; give a name, a str")
    return value


def _integer(argument: str, value: int, low: int, high: int) -> int:
    try:
        number = operator.index(value)
    except TypeError as error:
        raise InvalidInputError(f"{argument} is {value!r}; give an integer") from error
    if not low <= number <= high:
        raise InvalidInputError(f"{argument} is {number}; it lies between {low} and {high:,}")
    return number


def _probability(value: float) -> float:
    if not (isinstance(value, int | float | np.floating) and 0 <= value <= 1):
        raise InvalidInputError(f"min_probability is {value!r}; it lies between 0 and 1")
    return float(value)


def _select(
    request: pb.ClassifyRequest | pb.GetModelRequest, version: int | None, alias: str | None
) -> None:
    if version is not None and alias is not None:
        raise InvalidInputError(
            f"version {version} and alias {alias!r} are both given; give one, or neither for the "
            "latest version"
        )
    if version is not None:
        request.version = _integer("version", version, 1, INT64_MAX)
    if alias is not None:
        request.alias = _name("alias", alias)


def _encode_selection(item: str | FeatureMapSelection) -> pb.FeatureMapSelection:
    if isinstance(item, str):
        return pb.FeatureMapSelection(name=item)
    if not isinstance(item, FeatureMapSelection):
        raise InvalidInputError(
            f"a feature map can't be {item!r}; give its name, or a FeatureMapSelection"
        )
    message = pb.FeatureMapSelection(name=item.name, dtype=_SELECTION_DTYPES[item.dtype])
    if item.channels is not None:
        message.indices.SetInParent()  # an empty list must not become "all of them"
        message.indices.values.extend(_integer("channel", c, 0, INT32_MAX) for c in item.channels)
    elif item.strongest is not None:
        message.strongest = _integer("strongest", item.strongest, 1, INT32_MAX)
    elif item.mean:
        message.mean = True
    return message


def _decode_feature_map(message: pb.FeatureMap, response: pb.ClassifyResponse) -> FeatureMap:
    array = _decode_array(message)
    if message.tensor.dtype == mpb.DATA_TYPE_UINT8:
        array = array * np.float32(message.scale) + np.float32(message.offset)
    return FeatureMap(
        message.name, array, tuple(message.channels), response.model, response.version
    )


def _decode_array(message: pb.FeatureMap) -> NDArray[np.float32]:
    """Read a feature map's elements, [channels, height, width], into memory of their own."""
    tensor = message.tensor
    dtype, shape = _WIRE_DTYPES.get(tensor.dtype), tuple(tensor.shape)
    sound = len(shape) == 3 and min(shape) > 0
    if dtype is None or not sound or len(tensor.data) != math.prod(shape) * dtype.itemsize:
        raise InternalError(
            f"the feature map {message.name!r} of the server's reply can't be read: "
            f"{len(tensor.data):,} bytes of dtype {tensor.dtype} for {list(shape)}; "
            "client and server may be of different versions"
        )
    return np.frombuffer(tensor.data, dtype).reshape(shape).astype(np.float32)
