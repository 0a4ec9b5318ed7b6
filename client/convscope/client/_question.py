"""What is asked of an image: all of a request but its images."""

import operator
from dataclasses import dataclass

import numpy as np

from convscope.client.errors import InvalidInputError
from convscope.client.types import FeatureMapSelection, Priority
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import manifest_pb2 as mpb

__all__ = ["Question", "encode_get_model", "encode_question"]

INT32_MAX = 2**31 - 1
INT64_MAX = 2**63 - 1
_SELECTION_DTYPES = {
    "float32": mpb.DATA_TYPE_FLOAT32,
    "float16": mpb.DATA_TYPE_FLOAT16,
    "uint8": mpb.DATA_TYPE_UINT8,
}
_PRIORITIES = {"interactive": pb.PRIORITY_INTERACTIVE, "bulk": pb.PRIORITY_BULK}


@dataclass(frozen=True, slots=True)
class Question:
    """All of a request but its images.

    Args:
        template: The request, to be copied.
        key: The same for questions that may share a request.
        has_feature_maps: Whether its answers may be large.
        is_bulk: Whether nobody waits for its answers.
    """

    template: pb.ClassifyRequest
    key: bytes
    has_feature_maps: bool
    is_bulk: bool


def encode_question(
    model: str,
    version: int | None,
    alias: str | None,
    top_k: int,
    min_probability: float,
    feature_maps: tuple[str | FeatureMapSelection, ...],
    priority: Priority,
    routing_key: str,
) -> Question:
    """Make a request that lacks only its images.

    Raises:
        InvalidInputError: An argument is of a wrong type or range.
    """
    template = pb.ClassifyRequest(
        model=_name("model", model),
        top_k=_integer("top_k", top_k, 1, INT32_MAX),
        min_probability=_probability(min_probability),
        priority=_priority(priority),
        routing_key=_name("routing_key", routing_key),
    )
    _select(template, version, alias)
    template.feature_maps.extend(map(_encode_selection, feature_maps))
    key = template.SerializeToString(deterministic=True)
    is_bulk = template.priority == pb.PRIORITY_BULK
    return Question(template, key, bool(template.feature_maps), is_bulk)


def encode_get_model(name: str, version: int | None, alias: str | None) -> pb.GetModelRequest:
    """Ask for one version.

    Raises:
        InvalidInputError: An argument is of a wrong type or range.
    """
    request = pb.GetModelRequest(model=_name("name", name))
    _select(request, version, alias)
    return request


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


def _priority(value: Priority) -> pb.Priority.ValueType:
    if not isinstance(value, str) or value not in _PRIORITIES:
        raise InvalidInputError(
            f"priority is {value!r}; there are: {', '.join(map(repr, _PRIORITIES))}"
        )
    return _PRIORITIES[value]


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
