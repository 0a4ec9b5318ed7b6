"""The options of `classify` and `classify_many`, checked and in one place."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from convscope.client._inputs.checks import (
    INT32_MAX,
    INT64_MAX,
    Metadata,
    check_integer,
    check_name,
)
from convscope.client._inputs.explain import ClassLike, ExplainLike, to_explain
from convscope.client.errors import InvalidInputError
from convscope.client.types import FeatureMapSelection, Priority

__all__ = ["ClassifyManyOptions", "ClassifyOptions", "RequestOptions", "Selector"]

_PRIORITIES = ("interactive", "bulk")


class ClassifyOptions(TypedDict, total=False):
    """The keyword arguments of `classify`, for type checkers; see `RequestOptions`."""

    version: int | None
    alias: str | None
    top_k: int
    min_probability: float
    feature_maps: Iterable[str | FeatureMapSelection]
    explain: ExplainLike
    against: ClassLike | None
    priority: Priority
    routing_key: str


class ClassifyManyOptions(ClassifyOptions, total=False):
    """The keyword arguments of `classify_many` except `return_errors`, for type checkers."""

    model: str | None
    timeout_seconds: float | None
    metadata: Metadata
    window: int
    progress: bool


@dataclass(frozen=True)
class Selector:
    """A model, and the version or the alias that a request names.

    Raises:
        InvalidInputError: An argument has a wrong type or range.
    """

    model: str
    version: int | None = None
    alias: str | None = None

    def __post_init__(self) -> None:
        check_name("model", self.model)
        if self.version is not None and self.alias is not None:
            raise InvalidInputError(
                f"version {self.version} and alias {self.alias!r} are both given; give one, or "
                "neither for the latest version"
            )
        if self.version is not None:
            version = check_integer("version", self.version, 1, INT64_MAX)
            object.__setattr__(self, "version", version)
        if self.alias is not None:
            check_name("alias", self.alias)


@dataclass(frozen=True)
class RequestOptions(Selector):
    """All of a request except its images. `Client.classify` describes each option.

    Raises:
        InvalidInputError: An argument has a wrong type or range.
    """

    top_k: int = 5
    min_probability: float = 0.0
    feature_maps: Iterable[str | FeatureMapSelection] = ()
    explain: ExplainLike = None
    against: ClassLike | None = None
    priority: Priority = "interactive"
    routing_key: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name("routing_key", self.routing_key)
        if self.priority not in _PRIORITIES:
            raise InvalidInputError(
                f"priority is {self.priority!r}; there are: {', '.join(map(repr, _PRIORITIES))}"
            )
        checked = {
            "top_k": check_integer("top_k", self.top_k, 1, INT32_MAX),
            "min_probability": _check_probability(self.min_probability),
            "feature_maps": tuple(_check_feature_maps(self.feature_maps)),
            # With the contrast that `against` selects.
            "explain": to_explain(self.explain, self.against) or None,
            "against": None,
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)


def _check_probability(value: float) -> float:
    if not (isinstance(value, int | float | np.floating) and 0 <= value <= 1):
        raise InvalidInputError(f"min_probability is {value!r}; it must be between 0 and 1")
    return float(value)


def _check_feature_maps(
    feature_maps: Iterable[str | FeatureMapSelection],
) -> Iterable[str | FeatureMapSelection]:
    # A bare string would be read as one name for each of its letters.
    if isinstance(feature_maps, str | FeatureMapSelection):
        feature_maps = (feature_maps,)
    if not isinstance(feature_maps, Iterable):
        raise InvalidInputError(
            f"feature_maps is {feature_maps!r}; give a list of names, such as ['conv1']"
        )
    for item in feature_maps:
        if not isinstance(item, str | FeatureMapSelection):
            raise InvalidInputError(
                f"a feature map can't be {item!r}; give its name, or a FeatureMapSelection"
            )
        yield item
