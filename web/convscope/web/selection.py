"""The query parameters of a classification as arguments of the client."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, TypedDict
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from convscope.client import (
    ClassLike,
    Explain,
    FeatureMapSelection,
    InvalidInputError,
    ModelInfo,
    Rank,
)
from convscope.web.errors import invalid, validation_message
from convscope.web.stages import is_last_of_stage

__all__ = ["ClassifyQuery", "Selector", "selector"]

ALL, STAGES = "all", "stages"
# Hundreds of pictures for each map would be slow to make, and nobody looks at all of them.
STRONGEST = 16
_MAX_DIGITS = 18

Method = Literal["grad-cam", "cam", "eigen-cam", "occlusion"]


class Selector(TypedDict):
    """The version of a request; neither means the default version."""

    version: int | None
    alias: str | None


def selector(version: str | None) -> Selector:
    """Return the version that a parameter names, by number or by alias."""
    if not version:
        return {"version": None, "alias": None}
    if version.isascii() and version.isdecimal() and len(version) <= _MAX_DIGITS:
        return {"version": int(version), "alias": None}
    return {"version": None, "alias": version}


class ClassifyQuery(BaseModel):
    """The query parameters of a classification.

    Ranges are checked where gRPC's are, so that the messages are the same.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str | None = Field(
        None, description="A version number or an alias; by default the default version."
    )
    top_k: int = Field(
        5, description="How many classes, the best first.", json_schema_extra={"minimum": 1}
    )
    min_probability: float = Field(
        0.0,
        description="Leave out classes below this.",
        json_schema_extra={"minimum": 0, "maximum": 1},
    )
    feature_maps: tuple[str, ...] = Field(
        (),
        description="Feature maps to return: their names, `stages` for the last one of each "
        "resolution, or `all`. May be repeated, or separated by commas.",
        examples=[["stages"]],
    )
    channels: str | None = Field(
        None,
        description="Return only these channels, by index and separated by commas.",
        examples=["0,5,7"],
    )
    strongest: int | None = Field(
        None,
        description="Return at most n channels, those with the largest mean; by default 16 for "
        "PNG and all for npy.",
        json_schema_extra={"minimum": 1},
    )
    feature_map_format: Literal["png", "npy"] = Field(
        "png", description="Pictures for people, or float32 arrays for programs."
    )
    explain: tuple[str, ...] = Field(
        (),
        description="Classes to explain: an index, a label, or a rank such as `#1` (encoded "
        "as %231). May be repeated.",
        examples=[["#1"]],
    )
    against: str | None = Field(None, description="A class to contrast each explained class with.")
    method: Method | None = Field(None, description="How to explain; by default grad-cam.")
    timeout: float | None = Field(
        None, description="How many seconds the request may take.", allow_inf_nan=False
    )
    priority: Literal["interactive", "bulk"] = Field(
        "interactive", description="Whether the request may wait for interactive ones."
    )
    routing_key: str = Field(
        "", description="During a canary, the same key gets the same version.", max_length=1024
    )


_REPEATED = ("feature_maps", "explain")


def parse_query(query_string: bytes) -> ClassifyQuery:
    """Return the parameters of a request.

    Raises:
        HttpError: A parameter is unknown or invalid.
    """
    return _parse_cached(query_string) if len(query_string) < 512 else _parse(query_string)


def _parse(query_string: bytes) -> ClassifyQuery:
    values: dict[str, Any] = {name: [] for name in _REPEATED}
    for name, value in parse_qsl(query_string.decode("latin-1"), keep_blank_values=True):
        if name in _REPEATED:
            values[name].append(value)
        else:
            values[name] = value
    unknown = values.keys() - ClassifyQuery.model_fields.keys()
    if unknown:
        known = ", ".join(ClassifyQuery.model_fields)
        raise invalid(f"no parameter {min(unknown)[:80]!r}; there are: {known}")
    try:
        return ClassifyQuery.model_validate(values)
    except ValidationError as error:
        raise invalid(validation_message(error.errors())) from error


# Parsing takes longer than the rest of a small request, and most requests have equal parameters.
_parse_cached = lru_cache(256)(_parse)


def parameters() -> list[dict[str, Any]]:
    """Return the parameters for the OpenAPI document."""
    schema = ClassifyQuery.model_json_schema()
    described: list[dict[str, Any]] = []
    for name, field in schema["properties"].items():
        text = field.pop("description")
        described.append({"name": name, "in": "query", "description": text, "schema": field})
    return described


def needs_model(query: ClassifyQuery) -> bool:
    """Report whether the arguments depend on the description of the model."""
    names = split(query.feature_maps)
    is_narrowed = _strongest(query) is not None
    return bool(names) and (is_narrowed or any(name in (ALL, STAGES) for name in names))


def options(query: ClassifyQuery, info: ModelInfo | None) -> dict[str, Any]:
    """Return the arguments of `AsyncClient.classify`, without the image and the model.

    Raises:
        HttpError: A parameter is invalid.
    """
    chosen = selector(query.version)
    if info is not None:  # a canary must not replace the version that was described
        chosen = {"version": info.version, "alias": None}
    try:
        explain = _explain(query)
        feature_maps = _feature_maps(query, info)
    except InvalidInputError as error:
        raise invalid(error.message) from error
    return {
        **chosen,
        "top_k": query.top_k,
        "min_probability": query.min_probability,
        "feature_maps": feature_maps,
        "explain": explain or None,
        "priority": query.priority,
        "routing_key": query.routing_key,
    }


def split(names: Sequence[str]) -> list[str]:
    """Split names at commas, and remove duplicates."""
    found = (name.strip() for item in names for name in item.split(","))
    return list(dict.fromkeys(filter(None, found)))


def _feature_maps(query: ClassifyQuery, info: ModelInfo | None) -> tuple[FeatureMapSelection, ...]:
    names = split(query.feature_maps)
    channels = None if query.channels is None else _channels(query.channels)
    if not names:
        if channels is not None or query.strongest is not None:
            raise invalid("channels and strongest narrow feature maps; name some in feature_maps")
        return ()
    if info is not None:
        names = [name for item in names for name in _expand(item, info)]
    most = {spec.name: spec.channels for spec in info.feature_maps} if info is not None else {}
    strongest = _strongest(query)
    return tuple(
        FeatureMapSelection(
            name,
            channels=channels,
            strongest=None if strongest is None else min(strongest, most.get(name, strongest)),
        )
        for name in dict.fromkeys(names)
    )


def _strongest(query: ClassifyQuery) -> int | None:
    """Return how many channels of each feature map a request selects by their strength."""
    is_default = query.strongest is None and query.channels is None
    if is_default and query.feature_map_format == "png":
        return STRONGEST
    return query.strongest


def _expand(name: str, info: ModelInfo) -> list[str]:
    known = [spec.name for spec in info.feature_maps]
    if name in known or name not in (ALL, STAGES):
        return [name]
    if not known:
        raise invalid(f"{info.model} v{info.version} has no feature maps")
    last = is_last_of_stage(info.feature_maps)
    return (
        known if name == ALL else [n for n, is_stage in zip(known, last, strict=True) if is_stage]
    )


def _channels(text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdecimal() for word in words):
        raise invalid(f"channels is {text[:80]!r}; give indices separated by commas, such as 0,5")
    return tuple(map(int, words))


def _explain(query: ClassifyQuery) -> list[Explain]:
    if not query.explain:
        if query.against is not None or query.method is not None:
            raise invalid("against and method are options of explain; name a class, such as %231")
        return []
    against = None if query.against is None else class_like(query.against)
    return [
        Explain(class_like(text), against=against, method=query.method or "grad-cam")
        for text in query.explain
    ]


def class_like(text: str) -> ClassLike:
    """Return the class that a parameter names: an index, a rank such as #1, or a label."""
    if text.startswith("#"):
        position = text[1:]
        if not (position.isascii() and position.isdecimal()):
            raise invalid(f"no rank {text[:20]!r}; #1 is the most probable class")
        return Rank(int(position))
    return int(text) if text.isascii() and text.isdecimal() else text
