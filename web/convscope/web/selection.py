"""The query parameters of a classification as arguments of the client."""

from collections.abc import Sequence
from typing import Any, TypedDict

from convscope.client import (
    ClassLike,
    Explain,
    FeatureMapSelection,
    InvalidInputError,
    ModelInfo,
    Rank,
)
from convscope.web.errors import invalid
from convscope.web.query import ClassifyQuery
from convscope.web.stages import is_last_of_stage

__all__ = ["Selector", "needs_model", "options", "selector"]

ALL, STAGES = "all", "stages"
# Hundreds of pictures for each map would be slow to make, and nobody looks at all of them.
STRONGEST = 16
_MAX_DIGITS = 18


class Selector(TypedDict):
    """The version of a request; neither means the default version."""

    version: int | None
    alias: str | None


def selector(version: str | None) -> Selector:
    """Return the version that a parameter names, by number or by alias."""
    if not version:
        return {"version": None, "alias": None}
    if _is_number(version):
        return {"version": int(version), "alias": None}
    return {"version": None, "alias": version}


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
    if not all(map(_is_number, words)):
        raise invalid(f"channels is {text[:80]!r}; give indices separated by commas, such as 0,5")
    return tuple(map(int, words))


def _explain(query: ClassifyQuery) -> list[Explain]:
    if not query.explain:
        if query.against is not None or query.method is not None:
            raise invalid("against and method are options of explain; name a class, such as %231")
        return []
    against = None if query.against is None else class_like(query.against)
    if "" in query.explain:
        raise invalid("explain is empty; a rank, such as #1, is %231 in a URL")
    return [
        Explain(class_like(text), against=against, method=query.method or "grad-cam")
        for text in query.explain
    ]


def class_like(text: str) -> ClassLike:
    """Return the class that a parameter names: an index, a rank such as #1, or a label."""
    if text.startswith("#"):
        position = text[1:]
        if not _is_number(position):
            raise invalid(f"no rank {text[:20]!r}; #1 is the most probable class")
        return Rank(int(position))
    return int(text) if _is_number(text) else text


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS
