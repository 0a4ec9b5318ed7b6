"""The query parameters of a classification: their types, and what the OpenAPI document has."""

from functools import lru_cache
from typing import Any, Literal
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from convscope.web.errors import invalid, validation_message

__all__ = ["ClassifyQuery", "parameters", "parse_query"]

Method = Literal["grad-cam", "cam", "eigen-cam", "occlusion"]


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
